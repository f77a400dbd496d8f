import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
IS_LONG = os.environ.get("UEM_FAULTS") == "long"


def _module(name):
    spec = importlib.util.spec_from_file_location(f"uem_tests_faults_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def numbered():
    """The module numbered.py."""
    return _module("numbered")


@pytest.fixture(scope="session")
def live_plant():
    """live_plant(folder, pki, monkeypatch): a context manager, see live_plant.py."""
    return _module("live_plant").live_plant


@pytest.fixture(scope="session")
def times_long():
    """times_long(short, long): how often something is tried; `UEM_FAULTS=long` asks for the long form."""
    return lambda short, long: long if IS_LONG else short


@pytest.fixture(scope="session")
def recorded_files(tmp_path_factory):
    """The library recorded_files.c, compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("recorded") / "recorded_files.so"
    source = HERE / "recorded_files.c"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


@pytest.fixture
def numbered_process(recorded_files):
    """numbered_process(folder, log): starts numbered_process.py with its files recorded."""
    running = []

    def start(folder, log=None):
        environment = os.environ | {"LD_PRELOAD": str(recorded_files), "RECORDED_FOLDER": str(folder)}
        if log is not None:
            environment["RECORDED_LOG"] = str(log)
        command = [sys.executable, str(HERE / "numbered_process.py"), str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()
