"""Who may import whom (docs/decisions/002-rooms-and-imports.md): the imports of every file are held against a table."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "uem",
    "twin_core",
    "protos",
    "hardware_adapters",
    "services",
    "clients",
    "territories",
    "offline",
    "examples",
    "monitoring",
)

# Inside the core: downward only.
CORE_ORDER = [
    ("errors",),
    ("units", "measurements"),
    ("plant", "alarms"),
    ("thermal", "production"),
    ("coupled", "indicators"),
    ("estimation",),
    ("state", "knowledge"),
    ("follow",),
    ("forecast",),
    ("twin",),
]
CORE_LEVEL = {name: level for level, names in enumerate(CORE_ORDER) for name in names}

# part -> prefixes below `uem.` that it may import (its own part is checked separately)
MAY = {
    "uem": ("territories", "offline"),
    "twin_core": (),
    "protos": (),
    "examples": (),
    "monitoring": (),
    "territories": ("twin_core", "examples"),
    "offline": ("twin_core", "territories"),
    "hardware_adapters": (
        "twin_core.measurements",
        "twin_core.alarms",
        "twin_core.units",
        "twin_core.errors",
        "twin_core.plant",
        "territories",
    ),
    "services": ("twin_core", "v1", "territories"),
    "clients": ("v1",),
}
EXTRA = {
    "hardware_adapters/report.py": ("v1",),
    "hardware_adapters/uplink.py": ("v1",),
}
# Packages that one file imports only when they are there.
OPTIONAL = {
    "hardware_adapters/parquet.py": {"pyarrow"},
    "hardware_adapters/mbus/records.py": {"meterbus"},
    "hardware_adapters/modbus/client.py": {"pymodbus"},
    "hardware_adapters/modbus/writing.py": {"pymodbus"},
    "hardware_adapters/simulator/modbus.py": {"pymodbus"},
    "hardware_adapters/mqtt/client.py": {"aiomqtt"},
    "hardware_adapters/simulator/mqtt.py": {"aiomqtt"},
    "territories/importers/pandapipes.py": {"pandapipes"},
    "territories/importers/epanet.py": {"wntr"},
    "offline/plot/picture.py": {"matplotlib"},
    "offline/run.py": {"pandas"},
    "clients/cli/parquet.py": {"pyarrow"},
    "examples/consumer/dispatch.py": {"numpy"},
}
THIRD_PARTY = {
    "uem": set(),
    "twin_core": {"numpy", "libc", "cython", "cpython"},
    "protos": {"google", "grpc", "grpc_tools", "numpy", "cython", "libc", "cpython"},
    "examples": set(),
    "monitoring": set(),
    "territories": {"pydantic"},
    "offline": {"numpy", "rich"},
    "hardware_adapters": {
        "numpy",
        "cython",
        "libc",
        "cpython",
        "asyncua",
        "cryptography",
        "grpc",
        "google",
        "prometheus_client",
    },
    "services": {
        "numpy",
        "grpc",
        "google",
        "prometheus_client",
        "grpc_health",
        "grpc_reflection",
        "grpc_status",
    },
    "clients": {"grpc", "google", "rich", "numpy", "grpc_status", "grpc_health", "starlette", "uvicorn"},
}


# What services have in common. A service may know of another only the protocol behind which a database can be put.
WIRING = {"standalone", "wiring"}
SHARED_SERVICES = {path.stem for path in (ROOT / "services").glob("*.py")} - WIRING
STORE = "uem.services.history.store"

CYTHON = (".pyx", ".pxd")
CYTHON_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?(c?import)[ \t]+(\([^)]*\)|[^\n]+)", re.MULTILINE)


def sources():
    for part in PARTS:
        for suffix in (".py", ".pyi", *CYTHON):
            for path in sorted((ROOT / part).rglob(f"*{suffix}")):
                if "_pb2" not in path.name:
                    yield part, path


def key_of(path):
    return path.relative_to(ROOT).as_posix()


def module_name(key):
    parts = list(Path(key).with_suffix("").parts)
    if parts[:3] == ["protos", "uem", "v1"]:
        parts = ["v1", *parts[3:]]
    elif parts[0] == "uem":
        parts = parts[1:]
    if parts and parts[-1] == "__init__":
        parts.pop()
    return ".".join(["uem", *parts])


def is_module(name):
    """Whether a dotted name is a file or folder of ours."""
    pieces = name.split(".")[1:]
    path = ROOT.joinpath(*(["protos", "uem", "v1", *pieces[1:]] if pieces[:1] == ["v1"] else pieces))
    return path.is_dir() or any(path.with_suffix(suffix).is_file() for suffix in (".py", ".pyx", ".pxd"))


def statements(key, text, type_checking):
    """(module after `from` or None, [(name, whether it has an `as`)]) of every import of a file."""
    if key.endswith(CYTHON):
        bare = re.sub(r"#[^\n]*", "", text).replace("\\\n", " ")
        for module, _, names in CYTHON_IMPORT.findall(bare):
            pieces = [name.split() for name in names.strip("() \n").split(",") if name.strip()]
            yield module or None, [(piece[0], "as" in piece) for piece in pieces]
        return
    tree = ast.parse(text)
    skipped = set()
    if not type_checking:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
                skipped.update(id(inner) for inner in ast.walk(node))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield None, [(alias.name, alias.asname is not None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [(alias.name, False) for alias in node.names]


def imports(key, text, type_checking=True, packages=False):
    """Modules that a file imports, as absolute names; what comes out of `uem` itself is named too (uem.__version__).

    `import uem` and `import uem.part` give the file the name of everything, so they count as `uem`. With `packages`
    the package that a module is taken from is told as well.
    """
    for module, names in statements(key, text, type_checking):
        assert module is None or not module.startswith("."), f"{key}: relative import; write the whole name"
        for name, renamed in names:
            if module is None:
                yield "uem" if name.split(".")[0] == "uem" and not renamed else name
                continue
            whole = f"{module}.{name}"
            inner = module == "uem" or (module.startswith("uem.") and is_module(whole))
            yield whole if inner else module
            if packages:
                yield module


def below(name, prefixes):
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def outside_the_table(part, key, text):
    """Imports that the table does not allow."""
    allowed = MAY[part] + EXTRA.get(key, ()) + ("v1" if part == "protos" else part, "__version__")
    if key.startswith("hardware_adapters/simulator/"):
        allowed += ("twin_core",)
    if key.startswith("hardware_adapters/scada/"):
        allowed += ("clients.python", "clients.records", "clients.errors")
    if key.startswith("examples/consumer/"):
        allowed += ("clients.python", "clients.display")
    allowed_third = sys.stdlib_module_names | {"__future__"} | THIRD_PARTY[part] | OPTIONAL.get(key, set())
    for name in imports(key, text):
        top, _, rest = name.partition(".")
        if not (below(rest, allowed) if top == "uem" else top in allowed_third):
            yield f"{key} imports {name}"


def other_services(part, key, text):
    """Imports of a service by another one."""
    own = Path(key).parts[1].removesuffix(".py")
    if part != "services" or own in WIRING:
        return
    for name in imports(key, text):
        if name != STORE and below(name, ["uem.services"]):
            pieces = name.split(".")
            if len(pieces) == 2 or (pieces[2] != own and pieces[2] not in SHARED_SERVICES):
                yield f"{key} imports {name}"


def upward_in_the_core(part, key, text):
    """Imports within the core that do not go downward."""
    pieces = module_name(key).split(".")
    if part != "twin_core" or len(pieces) < 3:
        return
    for name in imports(key, text):
        if below(name, ["uem.twin_core"]):
            other = name.split(".")
            if len(other) == 2 or (other[2] != pieces[2] and CORE_LEVEL[other[2]] >= CORE_LEVEL[pieces[2]]):
                yield f"{key} imports {name}"


def bare_names(part, key, text):
    """Imports of parts without `uem.` before them, and of what is not part of the package."""
    bare = {*PARTS, "tests", "benchmarks"} - {"uem"}
    return (f"{key} imports {name}" for name in imports(key, text) if name.split(".")[0] in bare)


RULES = (outside_the_table, other_services, upward_in_the_core, bare_names)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("part", PARTS)
def test_each_part_keeps_to_the_rules(part, rule):
    wrong = [
        text for its, path in sources() if its == part for text in rule(part, key_of(path), path.read_text("utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("hardware_adapters/spool.py", "from uem import twin_core"),
        ("hardware_adapters/spool.py", "from uem.twin_core import twin"),
        ("hardware_adapters/spool.py", "import uem\nuem.simulate"),
        ("hardware_adapters/spool.py", "import uem.twin_core.measurements\nuem.simulate"),
        ("hardware_adapters/spool.py", "from uem import simulate"),
        ("hardware_adapters/gateway.py", "from uem.v1 import common_pb2"),
        ("hardware_adapters/gateway.py", "from uem.clients.python import Client"),
        ("hardware_adapters/scada/main.py", "from uem.clients.cli.main import main"),
        ("clients/errors.py", "import uem\nuem.load"),
        ("clients/errors.py", "from uem import load"),
        ("clients/errors.py", "def late():\n    from uem.services.history import store"),
        ("clients/errors.py", "import pandas"),
        ("services/standalone.py", "from uem.hardware_adapters.spool import Spool"),
        ("services/standalone.py", "import uem.hardware_adapters.spool as spool"),
        ("services/prediction/servicer.py", "from uem.services.history.sqlite import SqliteStore"),
        ("services/prediction/servicer.py", "from uem.services.history import sqlite"),
        ("services/prediction/servicer.py", "from uem.services import history"),
        ("services/prediction/servicer.py", "import uem.services as services"),
        ("services/prediction/servicer.py", "from uem.services.standalone import main"),
        ("services/metrics.py", "from uem.services.twin.worker import Worker"),
        ("twin_core/units.py", "from uem.twin_core.twin import make_twin"),
        ("twin_core/units.py", "from uem.twin_core import twin"),
        ("twin_core/units.py", "import uem.twin_core as core"),
        ("twin_core/plant/factory.py", "from uem.twin_core.production.plan import FactoryPlan"),
        ("twin_core/thermal/pipes.pyx", "from uem.twin_core.forecast cimport bands"),
        ("twin_core/thermal/pipes.pyx", "from uem.twin_core.forecast.bands cimport (\n    a,\n    b,\n)"),
        ("twin_core/thermal/pipes.pxd", "cimport uem.twin_core.twin as twin"),
        ("twin_core/thermal/pipes.pyx", "    from uem.twin_core.estimation import residuals  # late"),
        ("twin_core/thermal/pipes.pyx", "from uem.services.history.store import Store"),
        ("twin_core/thermal/pipes.pyx", "import scipy"),
        ("twin_core/thermal/pipes.pxd", "from twin_core.thermal cimport water"),
        ("offline/series.py", "import twin_core.units"),
    ],
)
def test_the_rules_refuse(key, text):
    part = key.partition("/")[0]
    assert any(found for rule in RULES for found in rule(part, key, text))


@pytest.mark.parametrize("text", ["from . import units", "from .units import unit", "from .units cimport unit"])
def test_relative_imports_are_refused(text):
    key = "twin_core/state.pyx" if "cimport" in text else "twin_core/state.py"
    with pytest.raises(AssertionError, match="write the whole name"):
        list(imports(key, text))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("hardware_adapters/metrics.py", "from uem import __version__"),
        ("hardware_adapters/spool.py", "from uem.twin_core import measurements, units"),
        ("hardware_adapters/simulator/server.py", "from uem.twin_core.twin import make_twin"),
        ("hardware_adapters/scada/main.py", "from uem.clients.python import Client"),
        ("services/prediction/servicer.py", "from uem.services.history import store"),
        ("services/wiring.py", "from uem.services.history.sqlite import SqliteStore"),
        ("twin_core/thermal/graph.pyx", "from uem.twin_core.thermal.pipes cimport (\n    a,  # why\n    b as c,\n)"),
        ("twin_core/thermal/graph.pyx", "cimport numpy as cnp\nimport numpy as np\nfrom libc.math cimport exp"),
    ],
)
def test_the_rules_allow(key, text):
    assert [found for rule in RULES for found in rule(key.partition("/")[0], key, text)] == []


def test_there_is_no_import_cycle():
    paths = [path for _, path in sources() if path.suffix != ".pyi"]
    graph = {module_name(key_of(path)): set() for path in paths}
    for path in paths:
        name = module_name(key_of(path))
        found = imports(key_of(path), path.read_text("utf-8"), type_checking=False, packages=True)
        graph[name] |= {other for other in found if other in graph and other != name}
    done, trail = set(), []

    def visit(name):
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name in done:
            return
        trail.append(name)
        for other in sorted(graph[name]):
            visit(other)
        trail.pop()
        done.add(name)

    for name in sorted(graph):
        visit(name)
    assert done == set(graph)
