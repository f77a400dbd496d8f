"""The plant that the OPC UA benchmarks watch: a thousand numbers, and certificates that trust each other."""

from pathlib import Path

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.twin_core.measurements import Tag
from uem.twin_core.plant.territory import TagBinding

TAGS = 1000
URI = "urn:uem:bench"
BINDINGS = [
    TagBinding(
        tag=Tag(name=f"tag/{i}", unit="1"), plant="bench", browse_path=f"T{i}", namespace_uri=URI, display_unit="1"
    )
    for i in range(TAGS)
]


def stores(folder: Path) -> tuple[CertificateStore, CertificateStore]:
    """Certificates of server and client, which trust each other."""
    server, client = CertificateStore(folder, "server"), CertificateStore(folder, "client")
    server.ensure()
    client.ensure()
    server.trust(client.certificate)
    client.trust(server.certificate)
    return server, client
