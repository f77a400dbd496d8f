"""What holds for every test."""

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
