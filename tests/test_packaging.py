"""What a user installs holds all it needs: kernels, stubs, territories, licences; and nothing by a generic name."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Of the archive: one with a header of ours, one that others call, one with another import name.
COMPILED_ANEW = {"pipe_step_v2", "water", "wire"}

# The copy that is installed from the wheel is not what coverage is measured of.
PLAIN = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=1400, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kernels():
    """Those that this tree runs with, and their places in a wheel."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    found = [
        path for part in ("twin_core", "hardware_adapters", "protos") for path in (ROOT / part).rglob(f"*{suffix}")
    ]
    relative = {path: path.relative_to(ROOT).as_posix().removeprefix("protos/uem/") for path in found}
    return {path: f"uem/{place}" for path, place in relative.items()}


def pyx_of(kernel, source):
    """What it is made of, in another tree."""
    name = re.sub(r"_v\d$", "", kernel.name.partition(".")[0])
    return source / kernel.relative_to(ROOT).with_name(f"{name}.pyx")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(out), cwd=ROOT)
    (archive,) = out.glob("uem-*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    out, unpacked = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    # What was made of the same sources, younger than these, so that it is not made again.
    shutil.copytree(ROOT / "build" / "cython", source / "build" / "cython", copy_function=shutil.copyfile)
    compiled = source / "build" / f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    for kernel, packed in kernels().items():
        # Only what the archive has the source of: the wheel would take the others along.
        if kernel.name.split(".")[0] in COMPILED_ANEW or not pyx_of(kernel, source).is_file():
            continue
        there = compiled / packed
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kernel, there)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    # -O0 is enough to see that everything is there.
    run(*pip, "-w", str(out), str(source), env=PLAIN | {"UEM_CFLAGS": "-O0"})
    (archive,) = out.glob("uem-*.whl")
    return archive


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_source_archive_holds_every_kernel_stub_and_territory(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    parts = ("twin_core", "hardware_adapters", "protos", "services", "territories", "examples", "monitoring")
    tracked = run("git", "-c", "safe.directory=*", "ls-files", *parts, cwd=ROOT).split()
    missing = [name for name in tracked if name not in names]
    assert not missing


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_wheel_puts_one_name_into_site_packages_and_works_from_there(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"uem"}
    assert any(name.endswith("examples/pongau/territory.toml") for name in names)
    assert any("examples/pongau/LICENSES/" in name for name in names)
    assert "uem/v1/twin.proto" in names
    assert len(kernels()) > 20
    assert [packed for packed in kernels().values() if packed not in names] == []
    assert {f"uem/monitoring/{name}" for name in ("prometheus.yml", "alerts.yml", "dashboard.json")} <= set(names)
    program = (
        "import uem; territory = uem.load('pongau');"
        "from uem.twin_core.thermal import water;"
        "from uem.v1 import twin_pb2_grpc;"
        "print(uem.__file__, territory.name, water.__file__)"
    )
    printed = run(sys.executable, "-c", program, cwd=tmp_path, env=PLAIN | {"PYTHONPATH": str(tmp_path)})
    package, name, kernel = printed.split()
    assert Path(package).is_relative_to(tmp_path)
    assert Path(kernel).is_relative_to(tmp_path)
    assert name == "pongau"


@pytest.mark.parametrize("part", ["services", "protos", "hardware_adapters", "clients"])
def test_a_part_refuses_to_be_imported_under_its_bare_name(part):
    done = subprocess.run(
        [sys.executable, "-c", f"import {part}"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "ImportError: import uem." in done.stderr


def test_a_tree_without_kernels_is_not_built_in_silence(tmp_path):
    for name in ("setup.py", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "no .pyx file" in done.stderr


@pytest.mark.timeout(1500)
def test_setuptools_has_no_doubts_about_what_belongs_to_the_package(tmp_path):
    """Its warnings would be the first that a user of `make run` reads, and some year they become errors."""
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1400,
    )
    assert done.returncode == 0, done.stderr
    assert "would be ignored" not in done.stderr
    assert "no files found" not in done.stderr
    assert (tmp_path / "uem/examples/rigs/LICENSES/MIT-gershub.txt").is_file()
