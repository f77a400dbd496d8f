"""The dashboard: of the form that Grafana reads, nothing double, nothing on top of another."""

from itertools import combinations
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Source(Strict):
    type: Literal["prometheus"]
    uid: Literal["${datasource}"]


class Place(Strict):
    x: int = Field(ge=0, le=23)
    y: int = Field(ge=0)
    w: int = Field(ge=1, le=24)
    h: int = Field(ge=1)


class Step(Strict):
    color: str
    value: float | None


class Thresholds(Strict):
    mode: Literal["absolute"]
    steps: list[Step] = Field(min_length=2)


class Defaults(Strict):
    unit: Literal[
        "short", "cps", "s", "bytes", "percentunit", "none", "watt", "joule", "kelvin", "massg", "currencyEUR"
    ]
    thresholds: Thresholds | None = None


class FieldConfig(Strict):
    defaults: Defaults
    overrides: list[Any] = Field(max_length=0)


class Target(Strict):
    refId: str = Field(pattern="^[A-Z]$")  # noqa: N815 - Grafana's name
    expr: str = Field(min_length=1)
    legendFormat: str = Field(min_length=1)  # noqa: N815


class Row(Strict):
    id: int
    type: Literal["row"]
    title: str = Field(min_length=1)
    collapsed: bool
    gridPos: Place  # noqa: N815
    panels: list[Any]


class Panel(Strict):
    id: int
    type: Literal["timeseries", "stat"]
    title: str = Field(min_length=1)
    description: str = ""
    datasource: Source
    gridPos: Place  # noqa: N815
    fieldConfig: FieldConfig  # noqa: N815
    targets: list[Target] = Field(min_length=1)
    options: dict[str, Any] = {}


class Annotation(Strict):
    name: str
    datasource: Source
    enable: bool
    iconColor: str  # noqa: N815
    expr: str
    titleFormat: str  # noqa: N815


class Variable(Strict):
    name: Literal["datasource"]
    label: str
    type: Literal["datasource"]
    query: Literal["prometheus"]
    current: dict[str, Any]


class Variables(Strict):
    list: list[Variable]


class Annotations(Strict):
    list: list[Annotation]


class Dashboard(Strict):
    uid: str = Field(max_length=40)
    title: str
    tags: list[str]
    schemaVersion: int = Field(ge=36)  # noqa: N815 - since then data sources are objects
    version: int
    editable: bool
    timezone: str
    refresh: str
    time: dict[str, str]
    templating: Variables
    annotations: Annotations
    panels: list[Row | Panel]


def test_it_has_the_form_that_grafana_reads(shipped):
    TypeAdapter(Dashboard).validate_python(shipped.dashboard)


def test_panels_have_numbers_and_titles_of_their_own_and_letters_per_target(shipped):
    panels = shipped.dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(letters)) == len(letters), panel["title"]


def test_no_panel_lies_on_another_or_leaves_the_page(shipped):
    cells = [(p["title"], p["gridPos"]) for p in shipped.dashboard["panels"]]
    assert [title for title, at in cells if at["x"] + at["w"] > 24] == []
    for (one, a), (other, b) in combinations(cells, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, f"{one} and {other}"
