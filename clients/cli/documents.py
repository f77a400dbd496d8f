"""States, forecasts and histories as JSON documents: SI values with their units, display values beside them."""

from dataclasses import asdict
from typing import Any

from uem.clients import display
from uem.clients.cli.common import finite
from uem.clients.records import Alarm, Forecast, Gap, History, Method, Overview, Series, State, Status, TagInfo


def state(of: State) -> dict[str, Any]:
    """A state; every signal carries source, uncertainty, quality and age."""
    return {
        "asset": of.asset.name,
        "kind": str(of.asset.kind),
        "title": of.asset.title,
        "tick": of.tick,
        "plant_time": display.iso_time(of.plant_time_ns),
        "plant_time_ns": of.plant_time_ns,
        "published_time_ns": of.published_time_ns,
        "ledger_since": display.iso_time(of.ledger_since_ns) if of.ledger_since_ns else None,
        "ledger_since_ns": of.ledger_since_ns,
        "run_id": of.run_id,
        "missed": of.missed,
        "signals": [_signal(of, i) for i in range(len(of.asset.signals))],
    }


def _signal(of: State, i: int) -> dict[str, Any]:
    signal, value = of.asset.signals[i], float(of.value[i])
    return {
        "name": signal.name,
        "source": str(signal.source),
        "value": finite(value),
        "unit": signal.unit,
        "display_value": finite(display.shown(value, signal.display_unit)),
        "display_unit": signal.display_unit,
        "state_name": signal.state_names.get(round(value)) if finite(value) is not None else None,
        "standard_deviation": finite(float(of.standard_deviation[i])),
        "quality": int(of.quality[i]),
        "quality_name": display.quality_name(int(of.quality[i])),
        "age_s": finite(float(of.age_s[i])),
        "compared_with": signal.compared_with or None,
    }


def forecast(of: Forecast) -> dict[str, Any]:
    """A forecast with issue time, valid times and quantiles."""
    return {
        "asset": of.asset,
        "issue_time": display.iso_time(of.issue_time_ns),
        "issue_time_ns": of.issue_time_ns,
        "method": of.method,
        "quantile_level": of.quantile_level.tolist(),
        "series": [_series(series) for series in of.series],
    }


def _series(of: Series) -> dict[str, Any]:
    return {
        "signal": of.signal,
        "unit": of.unit,
        "display_unit": of.display_unit,
        "quality": of.quality,
        "quality_name": display.quality_name(of.quality),
        "residual_count": of.residual_count,
        "valid_time_ns": of.valid_time_ns.tolist(),
        "value": [finite(v) for v in of.value.tolist()],
        "quantile": [[finite(v) for v in row] for row in of.quantile.tolist()],
    }


def history(of: History, tag: TagInfo) -> dict[str, Any]:
    """The samples of a tag as columns."""
    return {
        "tag": of.tag,
        "unit": tag.unit,
        "display_unit": tag.display_unit,
        "source_time_ns": of.source_time_ns.tolist(),
        "value": [finite(v) for v in of.value.tolist()],
        "quality": of.quality.tolist(),
    }


def overview(of: Overview, tag: TagInfo, method: Method) -> dict[str, Any]:
    """Few samples of a tag as columns, and how they were chosen; resolution 0 means that they are all."""
    return history(of.history, tag) | {
        "method": str(method),
        "resolution_ns": of.resolution_ns,
        "sample_count": of.count,
        "line_start": of.line_start.tolist(),
    }


def alarm(of: Alarm) -> dict[str, Any]:
    """A report of an alarm."""
    return {
        "plant": of.plant,
        "condition": of.condition,
        "branch": of.branch,
        "source": of.source,
        "name": of.name,
        "message": of.message,
        "state": of.state,
        "severity": of.severity,
        "priority": of.priority,
        "time_ns": of.time_ns,
        "quality": of.quality,
    }


def gap(of: Gap) -> dict[str, Any]:
    """A gap; its ends are the times of the samples around it."""
    return {"tag": of.tag, "start_time_ns": of.start_ns, "end_time_ns": of.end_ns, "reason": of.reason}


def tag(of: TagInfo) -> dict[str, Any]:
    """What is known and stored of a tag."""
    return {
        "name": of.name,
        "unit": of.unit,
        "display_unit": of.display_unit,
        "low": finite(of.low),
        "high": finite(of.high),
        "count": of.count,
        "first_time": display.iso_time(of.first_time_ns) if of.count else None,
        "last_time": display.iso_time(of.last_time_ns) if of.count else None,
    }


def status(of: Status) -> dict[str, Any]:
    """A status as it is; times in ns UTC, spans in seconds."""
    document: dict[str, Any] = _finite(asdict(of))
    return document


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return finite(value) if isinstance(value, float) else value
