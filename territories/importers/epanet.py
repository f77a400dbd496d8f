"""EPANET INP files, read by wntr: the hydraulics of a water network at its first instant."""

from collections.abc import Iterator
from math import pi
from pathlib import Path
from typing import Any

from uem.territories.importers.draft import GRAVITY_M_S2, WATER_KG_M3, Draft, clean, rounded
from uem.territories.importers.extras import needs
from uem.twin_core.errors import InvalidInput

WATER_C = 20.0
# A source holds a pressure above atmosphere; a reservoir's surface is lifted out of this depth.
_DEPTH_M = 10.0
# Where another friction law is turned into a sand roughness, and a pump's power into a curve.
_USUAL_M_S = 1.0
_VISCOSITY_M2_S = 1.004e-6
_WIDEST_MM = 5000.0
_LOST_VALVES = {
    "PRV": "holds a pressure behind it",
    "PSV": "holds a pressure before it",
    "PBV": "takes a fixed pressure away",
    "GPV": "has a curve of head loss",
}


def read(path: Path) -> Draft:
    """The network of an INP file.

    Raises:
        InvalidInput: wntr is not there, or cannot read the file.
    """
    wntr = needs("wntr", "epanet")
    try:
        model = wntr.network.WaterNetworkModel(str(path))
    except Exception as error:  # wntr raises what its parser stumbles over
        raise InvalidInput(f"{path}: EPANET file cannot be read: {error}") from None
    return draft(model, path.stem)


def draft(model: Any, name: str) -> Draft:
    """The network of a wntr `WaterNetworkModel`."""
    made = Draft(clean(name) or "network", f"{name}, from EPANET", ambient_c=WATER_C)
    return _Import(model, made).draft()


class _Import:
    def __init__(self, model: Any, made: Draft) -> None:
        self.model = model
        self.made = made
        self.node: dict[str, str] = {}
        self.law = str(model.options.hydraulic.headloss).upper()

    def draft(self) -> Draft:
        for key, node in self.model.nodes():
            self.node[key] = self.made.unique("node", key)
            self.made.nodes.append({"name": self.node[key]} | self._node(key, node))
        for key, link in self.model.links():
            getattr(self, f"_{link.link_type.lower()}")(key, link)
        for element, text in self._left_behind():
            self.made.lost(element, text)
        if self.law in ("H-W", "C-M"):
            self.made.info("pipes", f"roughness for Darcy-Weisbach gives the {self.law} loss at {_USUAL_M_S:g} m/s")
        self.made.info("pipe_classes", "walls and heat losses are not in the file: steel, small losses")
        return self.made

    def _node(self, key: str, node: Any) -> dict[str, Any]:
        east, north = (rounded(float(c), 10) for c in node.coordinates)
        found: dict[str, Any] = {"x_m": east, "y_m": north}
        if (east, north) == (0.0, 0.0):
            found = {}
        if node.node_type == "Junction":
            options = self.model.options.hydraulic
            volume = sum(d.at(0.0) for d in node.demand_timeseries_list) * options.demand_multiplier
            if volume:
                found |= {"kind": "consumer", "demand_kg_s": rounded(volume * WATER_KG_M3, 8)}
            found["elevation_m"] = rounded(node.elevation, 8)
            if node.emitter_coefficient:
                self.made.lost(f"junction {key}", "emitter: a flow that depends on the pressure")
            return found
        head = node.head_timeseries.at(0.0) if node.node_type == "Reservoir" else node.elevation + node.init_level
        if node.node_type == "Tank":
            self.made.info(f"tank {key}", f"stays at its first level, {node.init_level:g} m")
        pressure = _DEPTH_M * WATER_KG_M3 * GRAVITY_M_S2 / 1e5
        return found | {
            "kind": "source",
            "elevation_m": rounded(head - _DEPTH_M, 8),
            "pressure_bar": rounded(pressure, 10),
            "supply_c": WATER_C,
        }

    def _pipe(self, key: str, pipe: Any) -> None:
        start, end = self.node[pipe.start_node_name], self.node[pipe.end_node_name]
        name = self.made.unique("pipe", key)
        if pipe.check_valve or str(pipe.initial_status) == "Closed":
            end_before, end = end, self._node_before(end, name)
            kind = {"kind": "check"} if pipe.check_valve else {"opening": 0.0}
            self.made.valves.append(
                {"name": self.made.unique("valve", f"{name}-valve"), "start": end, "end": end_before}
                | kind
                | {"inner_diameter_mm": rounded(pipe.diameter * 1e3)}
            )
            what = "check valve" if pipe.check_valve else "closed status"
            self.made.info(f"pipe {key}", f"its {what} is a valve at its end")
        length = max(pipe.length, 0.01)
        if length != pipe.length:
            self.made.info(f"pipe {key}", f"length {pipe.length:g} m is taken as {length:g} m")
        row = {"name": name, "start": start, "end": end, "length_m": rounded(length, 8)}
        row["pipe_class"] = self._class(pipe.diameter, pipe.roughness)
        if pipe.minor_loss:
            row["loss_coefficient"] = rounded(pipe.minor_loss)
        self.made.pipes.append(row)

    def _class(self, diameter_m: float, roughness: float) -> str:
        sand = _sand_roughness_m(self.law, roughness, diameter_m)
        inner = rounded(diameter_m * 1e3, 8)
        keys = {
            "inner_diameter_mm": inner,
            "outer_diameter_mm": rounded(inner * 1.05 + 2.0),
            "loss_resistance_mk_w": 2.0,
            "roughness_mm": rounded(sand * 1e3, 8),
        }
        return self.made.pipe_class(f"d{inner:.0f}", keys)

    def _node_before(self, node: str, pipe: str) -> str:
        """A node where the pipe now ends, at the place of the one it led to."""
        like = next(n for n in self.made.nodes if n["name"] == node)
        name = self.made.unique("node", f"{pipe}-valve")
        kept = {k: like[k] for k in ("x_m", "y_m", "elevation_m") if k in like}
        self.made.nodes.append({"name": name} | kept)
        return name

    def _pump(self, key: str, pump: Any) -> None:
        if pump.pump_type == "HEAD":
            a, b, c = pump.get_head_curve_coefficients()
            shutoff, curve = _quadratic(a, b, c)
            if abs(c - 2.0) > 1e-6:
                self.made.info(f"pump {key}", f"curve with exponent {c:.3g} is fitted by a parabola")
        else:
            flow = _USUAL_M_S * pi / 4.0 * self._pipe_beside(pump) ** 2
            head = pump.power / (WATER_KG_M3 * GRAVITY_M_S2 * flow)
            shutoff, curve = 4.0 / 3.0 * head, head / 3.0 / flow**2
            self.made.info(f"pump {key}", f"constant power is taken as a curve through {head:.3g} m at {flow:.3g} m3/s")
        speed = pump.base_speed * (pump.speed_timeseries.at(0.0) / (pump.base_speed or 1.0))
        self.made.pumps.append(
            {
                "name": self.made.unique("pump", key),
                "start": self.node[pump.start_node_name],
                "end": self.node[pump.end_node_name],
                "shutoff_head_m": rounded(shutoff, 8),
                "curve_m_s2_kg2": rounded(curve / WATER_KG_M3**2, 8),
                "speed": 0.0 if str(pump.initial_status) == "Closed" else rounded(speed),
            }
        )

    def _pipe_beside(self, pump: Any) -> float:
        beside = [
            self.model.get_link(link).diameter
            for node in (pump.start_node_name, pump.end_node_name)
            for link in self.model.get_links_for_node(node)
            if hasattr(self.model.get_link(link), "diameter")
        ]
        return max(beside, default=0.2)

    def _valve(self, key: str, valve: Any) -> None:
        row = {
            "name": self.made.unique("valve", key),
            "start": self.node[valve.start_node_name],
            "end": self.node[valve.end_node_name],
            "inner_diameter_mm": min(rounded(valve.diameter * 1e3), _WIDEST_MM),
        }
        if valve.diameter * 1e3 > _WIDEST_MM:
            self.made.info(f"valve {key}", f"diameter of {valve.diameter:g} m is taken as {_WIDEST_MM * 1e-3:g} m")
        zeta = valve.minor_loss
        closed = str(valve.initial_status) == "Closed"
        if valve.valve_type == "FCV":
            row |= {"kind": "flow", "flow_kg_s": rounded(valve.initial_setting * WATER_KG_M3, 8)}
        elif valve.valve_type == "TCV":
            zeta = valve.initial_setting
        else:
            self.made.lost(f"valve {key}", f"{valve.valve_type} {_LOST_VALVES[valve.valve_type]}; it is an open valve")
        self.made.valves.append(row | {"loss_coefficient": rounded(zeta), "opening": 0.0 if closed else 1.0})

    def _left_behind(self) -> Iterator[tuple[str, str]]:
        model = self.model
        patterned = [key for key, node in model.junctions() if any(d.pattern for d in node.demand_timeseries_list)]
        if patterned and model.num_patterns:
            yield "patterns", f"demands of {len(patterned)} junctions stay as in the first instant"
        if model.num_controls:
            yield "controls", f"{model.num_controls} controls and rules"
        if str(model.options.quality.parameter).upper() not in ("NONE", ""):
            yield "quality", f"water quality ({model.options.quality.parameter})"
        leaks = [key for key, node in model.junctions() if getattr(node, "_leak", False)]
        if leaks:
            yield "leaks", f"of {len(leaks)} junctions"


def _sand_roughness_m(law: str, coefficient: float, diameter_m: float) -> float:
    """The sand roughness that loses as much head as the file's law does at a usual velocity."""
    if law == "D-W":
        return coefficient
    flow = _USUAL_M_S * pi / 4.0 * diameter_m**2
    if law == "H-W":
        slope = 10.667 * flow**1.852 / (coefficient**1.852 * diameter_m**4.871)
    else:  # C-M
        slope = 10.29 * coefficient**2 * flow**2 / diameter_m**5.333
    friction = slope * diameter_m * 2.0 * GRAVITY_M_S2 / _USUAL_M_S**2
    # Colebrook, solved for the roughness.
    reynolds = _USUAL_M_S * diameter_m / _VISCOSITY_M2_S
    rough = 10.0 ** (-0.5 / friction**0.5) - 2.51 / (reynolds * friction**0.5)
    return float(min(max(3.7 * diameter_m * rough, 0.0), 0.05 * diameter_m))


def _quadratic(a: float, b: float, c: float) -> tuple[float, float]:
    """Shut-off head and fall with the square of the flow (m3/s) nearest to a - b q**c where the head is positive."""
    if abs(c - 2.0) <= 1e-6:
        return a, b
    most = (a / b) ** (1.0 / c)
    flows = [most * (k + 0.5) / 20 for k in range(20)]
    heads = [a - b * q**c for q in flows]
    n, s2, s4 = len(flows), sum(q**2 for q in flows), sum(q**4 for q in flows)
    h, h2 = sum(heads), sum(v * q**2 for v, q in zip(heads, flows, strict=True))
    curve = (s2 * h - n * h2) / (n * s4 - s2**2)
    return (h + curve * s2) / n, max(curve, 0.0)
