"""A scene as PNG (or what else matplotlib writes), for those who have matplotlib."""

from pathlib import Path

from uem.offline.plot.scene import Scene
from uem.twin_core.errors import InvalidInput

_DOTS_PER_INCH = 100.0


def save(scene: Scene, path: Path) -> None:
    """Write the scene; InvalidInput without matplotlib or where the file cannot be written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure
        from matplotlib.patches import Circle, Polygon
    except ImportError:
        raise InvalidInput(
            f"--out {path}: {path.suffix or 'this format'} needs matplotlib: pip install 'uem[plot]'; .svg does not"
        ) from None
    figure = Figure(figsize=(scene.width / _DOTS_PER_INCH, scene.height / _DOTS_PER_INCH), dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0.0, scene.width)
    axes.set_ylim(scene.height, 0.0)
    axes.axis("off")
    points_per_pixel = 72.0 / _DOTS_PER_INCH
    for dashed in (True, False):
        strokes = [s for s in scene.strokes if s.dashed is dashed]
        lines = LineCollection(
            [list(s.points) for s in strokes],
            colors=[s.colour for s in strokes],
            linewidths=[s.width * points_per_pixel for s in strokes],
            linestyles=[(0, (2.2, 2.0))] if dashed else "solid",
            capstyle="butt" if dashed else "round",
        )
        axes.add_collection(lines)
    for shape in scene.shapes:
        look = {"facecolor": shape.fill, "edgecolor": shape.edge, "linewidth": points_per_pixel, "zorder": 3}
        if shape.radius > 0:
            axes.add_patch(Circle(shape.points[0], shape.radius, **look))
        else:
            axes.add_patch(Polygon(list(shape.points), closed=True, **look))
    anchors = {"start": "left", "middle": "center", "end": "right"}
    for text in scene.texts:
        axes.text(
            text.x,
            text.y,
            text.text,
            fontsize=text.size * points_per_pixel,
            ha=anchors[text.anchor],
            va="baseline",
            color=text.colour,
            weight="bold" if text.bold else "normal",
            zorder=4,
        )
    try:
        figure.savefig(path, dpi=2 * _DOTS_PER_INCH)
    except (OSError, ValueError) as error:  # ValueError: a format that it does not know
        raise InvalidInput(f"--out {path}: {getattr(error, 'strerror', None) or error}") from None
