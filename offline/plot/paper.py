"""A drawing into a file: SVG by ourselves, every other format through matplotlib."""

from pathlib import Path

from uem.offline.plot import picture, scene, svg
from uem.offline.plot.scene import Values
from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.network import Network


def save(network: Network, values: Values, path: Path) -> Path:
    """Draw the network; InvalidInput where the file cannot be written."""
    drawn = scene.draw(network, values)
    if path.suffix.lower() != ".svg":
        picture.save(drawn, path)
        return path
    try:
        path.write_text(svg.svg(drawn), "utf-8")
    except OSError as error:
        raise InvalidInput(f"--out {path}: {error.strerror}") from None
    return path
