"""A plant of an independent OPC UA stack, and tags of it."""

import importlib.util
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.twin_core.measurements import Tag
from uem.twin_core.plant.territory import TagBinding


def _load(name):
    path = Path(__file__).parents[1] / "peers" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"uem_tests_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def node_certificates(tmp_path_factory):
    """Ours; the plant trusts it."""
    store = CertificateStore(tmp_path_factory.mktemp("gateway"), "gateway")
    store.ensure()
    return store


@pytest.fixture
def node_plant(tmp_path, node_certificates):
    """node_plant(**options): the plant as an asynchronous context manager."""
    return lambda **options: _load("node_server").NodeServer(tmp_path, node_certificates, **options)


@pytest.fixture(scope="module")
def lasting_plant(tmp_path_factory, node_certificates):
    """As node_plant, but it goes on until the end of the module: to start takes most of the time of a short test.

    For tests that leave nothing behind which another relies on.
    """
    running = {}

    @asynccontextmanager
    async def lasting(**options):
        which = json.dumps(options, sort_keys=True)
        if which not in running:
            folder = tmp_path_factory.mktemp("plant")
            running[which] = _load("node_server").NodeServer(folder, node_certificates, **options)
        if not running[which].is_running:
            await running[which].start()
        yield running[which]

    yield lasting
    for plant in running.values():
        plant.end()


@pytest.fixture
def node_tags():
    """node_tags(*names): bindings of variables of the plant; every change is sampled."""

    def made(*names, sampling_ms=0.0):
        return [
            TagBinding(
                tag=Tag(name=name, unit="1"),
                plant="plant",
                browse_path=f"Plant/{name}",
                namespace_uri="urn:uem:test:peer",
                display_unit="1",
                sampling_ms=sampling_ms,
            )
            for name in names
        ]

    return made


@pytest.fixture
def chaos():
    """chaos(endpoint): a line to it that breaks when told."""
    return _load("chaos").ChaosLine
