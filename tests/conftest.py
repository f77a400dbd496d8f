"""What holds for every test."""

from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

# An example that is slow is not wrong: how long it takes depends on what else the machine does.
settings.register_profile("uem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("uem")


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
    return SimpleNamespace(path=pki, simulator=simulator, gateway=gateway)
