"""The plant that the OPC UA benchmarks watch: a thousand numbers or more, and certificates that trust each other."""

from pathlib import Path

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.twin_core.measurements import Tag
from uem.twin_core.plant.territory import TagBinding

TAGS = 1000
URI = "urn:uem:bench"


def binding(name: str, browse_path: str) -> TagBinding:
    """A number at a path below Objects."""
    tag = Tag(name=name, unit="1")
    return TagBinding(tag=tag, plant="bench", browse_path=browse_path, namespace_uri=URI, display_unit="1")


def bindings(count: int) -> list[TagBinding]:
    """As many of them, a hundred below each object."""
    return [binding(f"tag/{i}", f"G{i // 100}/T{i}") for i in range(count)]


BINDINGS = [binding(f"tag/{i}", f"T{i}") for i in range(TAGS)]


def stores(folder: Path) -> tuple[CertificateStore, CertificateStore]:
    """Certificates of server and client, which trust each other."""
    server, client = CertificateStore(folder, "server"), CertificateStore(folder, "client")
    server.ensure()
    client.ensure()
    server.trust(client.certificate)
    client.trust(server.certificate)
    return server, client
