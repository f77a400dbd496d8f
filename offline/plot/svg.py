"""A scene as SVG: text that browsers, word processors and editors open, without a drawing library."""

from collections.abc import Iterator
from html import escape

from uem.offline.plot.scene import Scene, Shape, Stroke, Text

_FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"


def svg(scene: Scene) -> str:
    """The whole file."""
    return "\n".join(_lines(scene)) + "\n"


def _lines(scene: Scene) -> Iterator[str]:
    size = f'width="{scene.width:g}" height="{scene.height:.0f}" viewBox="0 0 {scene.width:g} {scene.height:.0f}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{_FONT}">'
    yield '<rect width="100%" height="100%" fill="#ffffff"/>'
    yield '<g fill="none" stroke-linecap="round">'
    yield from (_stroke(stroke) for stroke in scene.strokes)
    yield '</g>\n<g stroke-linejoin="round">'
    yield from (_shape(shape) for shape in scene.shapes)
    yield "</g>"
    yield from (_text(text) for text in scene.texts)
    yield "</svg>"


def _stroke(stroke: Stroke) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in stroke.points)
    dash = f' stroke-dasharray="{2.2 * stroke.width:.1f} {2.0 * stroke.width:.1f}"' if stroke.dashed else ""
    cap = ' stroke-linecap="butt"' if stroke.dashed else ""
    drawn = f'<polyline points="{points}" stroke="{stroke.colour}" stroke-width="{stroke.width:.1f}"{dash}{cap}'
    return f"{drawn}><title>{escape(stroke.tip)}</title></polyline>" if stroke.tip else f"{drawn}/>"


def _shape(shape: Shape) -> str:
    look = f'fill="{shape.fill}" stroke="{shape.edge}" stroke-width="1"'
    if shape.radius > 0:
        (x, y), name = shape.points[0], "circle"
        drawn = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{shape.radius:g}" {look}'
    else:
        points, name = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points), "polygon"
        drawn = f'<polygon points="{points}" {look}'
    return f"{drawn}><title>{escape(shape.tip)}</title></{name}>" if shape.tip else f"{drawn}/>"


def _text(text: Text) -> str:
    weight = ' font-weight="bold"' if text.bold else ""
    anchor = f' text-anchor="{text.anchor}"' if text.anchor != "start" else ""
    place = f'x="{text.x:.1f}" y="{text.y:.1f}" font-size="{text.size:g}" fill="{text.colour}"'
    return f"<text {place}{anchor}{weight}>{escape(text.text)}</text>"
