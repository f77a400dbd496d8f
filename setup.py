"""Build of the compiled kernels; everything else about the package stands in pyproject.toml.

The folders at the top of the repository are mapped into one import package: `twin_core/thermal/pipes.pyx`
is `uem.twin_core.thermal.pipes`. `UEM_DEBUG=1` compiles with bounds, overflow and wraparound checks on.
"""

import os
import platform
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
# Parts of the package and the folders they live in. `uem.v1` is where protoc's own import lines look.
PARTS = ["twin_core", "hardware_adapters", "services", "clients", "territories", "offline", "examples", "monitoring"]
COMPILED = ["twin_core", "hardware_adapters", "protos"]  # have kernels
DEBUG = os.environ.get("UEM_DEBUG") == "1"
# Compilers at once; each takes some hundred megabytes.
JOBS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
# Compiled for each of these kinds of processor (lanes with as many numbers as their vectors hold); all have the first.
BY_LEVEL = [Path("twin_core/thermal/lane_step.pyx"), Path("twin_core/thermal/pipe_step.pyx")]
BASE_LEVEL = "v2"
X86 = platform.machine().lower() in {"x86_64", "amd64"}
LEVELS = {BASE_LEVEL: 2, "v3": 4, "v4": 8} if X86 else {BASE_LEVEL: 2}


def package_dirs() -> dict[str, str]:
    """Map every import package to its folder."""
    found = {"uem": "uem", "uem.v1": "protos/uem/v1"}
    for part in PARTS:
        for folder, _, files in os.walk(ROOT / part):
            relative = Path(folder).relative_to(ROOT).as_posix()
            # A folder of data counts too, else setuptools warns of each file that it packs from there.
            is_data = relative.startswith(("examples", "clients/console/static")) and "__pycache__" not in folder
            if "__init__.py" in files or is_data:
                found["uem." + relative.replace("/", ".")] = relative
    return found


def namespace_links() -> str:
    """Show Cython and mypy the folders under their import names; a relative `cimport` fails without them."""
    names = ROOT / "build" / "ns" / "uem"
    names.mkdir(parents=True, exist_ok=True)
    targets = {part: ROOT / part for part in PARTS} | {"v1": ROOT / "protos" / "uem" / "v1"}
    targets["__init__.py"] = ROOT / "uem" / "__init__.py"
    for name, target in targets.items():
        link = names / name
        if link.is_symlink() and link.resolve() != target.resolve():
            link.unlink()
        if not link.exists():
            link.symlink_to(os.path.relpath(target, names))
    return str(names.parent)


def extensions() -> list[Extension]:
    """One extension per kernel, named as it is imported; some once per kind of processor."""
    paths = [path for part in COMPILED for path in sorted((ROOT / part).rglob("*.pyx"))]
    sources = [path.relative_to(ROOT) for path in paths]
    if not sources:
        raise SystemExit(
            f"setup.py: no .pyx file under {', '.join(COMPILED)}: this source tree is incomplete, nothing was built"
        )
    found = [extension(source) for source in sources if source not in BY_LEVEL]
    for source in BY_LEVEL:
        for level, lanes in LEVELS.items():
            # Cython names a module by its file, so every copy has one of its own.
            copy = Path("build") / "lanes" / f"{source.stem}_{level}.pyx"
            (ROOT / copy).parent.mkdir(parents=True, exist_ok=True)
            if not (ROOT / copy).is_symlink():
                (ROOT / copy).unlink(missing_ok=True)  # a tree that was copied may have a file there, soon an old one
                (ROOT / copy).symlink_to(os.path.relpath(ROOT / source, (ROOT / copy).parent))
            march = [] if DEBUG or not X86 else [f"-march=x86-64-{level}"]
            found.append(extension(copy, name=source.with_name(copy.name), flags=march, lanes=lanes))
    return found


def extension(source: Path, name: Path | None = None, flags: Sequence[str] = (), lanes: int = 1) -> Extension:
    """The extension of `source`, named by the path `name` if it is compiled more than once."""
    # Additions that are contracted differ from processor to processor. UEM_CFLAGS is for instrumented builds, such as
    # "-fsanitize=address".
    usual = ["-O0", "-g"] if DEBUG else ["-O3", "-fno-math-errno", "-ffp-contract=off"]
    module = (name or source).with_suffix("").as_posix().removeprefix("protos/uem/").replace("/", ".")
    return Extension(
        f"uem.{module}",
        [source.as_posix()],
        include_dirs=[numpy.get_include(), "twin_core/thermal"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), ("UEM_LANES", str(lanes))],
        extra_compile_args=[*usual, *flags, *os.environ.get("UEM_CFLAGS", "").split()],
        depends=["twin_core/thermal/lanes.h"],
    )


signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it; else the compilers that wait would still be started
setup(
    packages=sorted(package_dirs()),
    package_dir=package_dirs(),
    options={"build_ext": {"parallel": JOBS}},
    ext_modules=cythonize(
        extensions(),
        include_path=[namespace_links()],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": DEBUG,
            "initializedcheck": DEBUG,
            "cdivision": not DEBUG,
            "overflowcheck": DEBUG,
            "embedsignature": True,
            "freethreading_compatible": False,
        },
    ),
)
