"""What holds for every test."""

import socket
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

# An example that is slow is not wrong: how long it takes depends on what else the machine does.
settings.register_profile("uem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("uem")


def pytest_collection_modifyitems(items):
    """Files with slow tests first: a process that begins a long one last would keep the others waiting at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def reserved_port():
    """Gives ports at which nobody listens so far: held until the end, so that only who names one can listen there."""
    with ExitStack() as held:

        def reserve():
            ours = held.enter_context(socket.socket())
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # lets another that sets it listen
            ours.bind(("127.0.0.1", 0))
            return ours.getsockname()[1]

        yield reserve


@pytest.fixture(scope="session")
def shared_pki(tmp_path_factory):
    """Certificates of simulator and gateway that trust each other; making keys takes time, so once for all."""
    from uem.hardware_adapters.opcua.certificates import CertificateStore  # most tests need none

    pki = tmp_path_factory.mktemp("pki")
    simulator, gateway = CertificateStore(pki, "simulator"), CertificateStore(pki, "gateway")
    simulator.ensure()
    gateway.ensure()
    simulator.trust(gateway.certificate)
    gateway.trust(simulator.certificate)
    opened = CertificateStore(pki, "simulator", allow_insecure_loopback=True)
    return SimpleNamespace(path=pki, simulator=simulator, gateway=gateway, open=opened)
