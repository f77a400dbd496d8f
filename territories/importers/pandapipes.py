"""pandapipes nets: pressures, flows and steady heat, with or without a return line."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from uem.territories.importers.draft import (
    GRAVITY_M_S2,
    WATER_KG_M3,
    Draft,
    are_degrees,
    clean,
    projection,
    rounded,
)
from uem.territories.importers.extras import needs
from uem.twin_core.errors import InvalidInput
from uem.twin_core.units import ZERO_CELSIUS_K

_PA_PER_BAR = 1e5
_NO_LOSS_MK_W = 1e6  # what a file without a heat loss says
_WALL_MM = 3.0  # where outer diameters are not told
_CARRIED = {
    "junction",
    "pipe",
    "valve",
    "pump",
    "ext_grid",
    "sink",
    "source",
    "mass_storage",
    "circ_pump_pressure",
    "circ_pump_mass",
    "heat_consumer",
    "heat_exchanger",
    "flow_control",
    "press_control",
}
_NOT_PARTS = ("res_", "_", "controller")


def read(path: Path) -> Draft:
    """The network of a file that pandapipes wrote (`pandapipes.to_json`).

    Raises:
        InvalidInput: pandapipes is not there, cannot read the file, or the net carries gas.
    """
    pandapipes = needs("pandapipes", "pandapipes")
    try:
        net = pandapipes.from_json(str(path))
        tables = net.junction, net.pipe
    except Exception as error:  # pandapipes raises what its reader stumbles over
        raise InvalidInput(f"{path}: pandapipes net cannot be read: {error}") from None
    assert tables is not None
    return draft(net, path.stem)


def draft(net: Any, name: str = "") -> Draft:
    """The network of a pandapipes net, such as one that was made in a notebook."""
    called = name or str(getattr(net, "name", "") or "network")
    if getattr(net.fluid, "is_gas", False):
        raise InvalidInput(f"{called}: the net carries {net.fluid.name}, a gas; only water can be imported")
    return _Import(net, Draft(clean(called) or "network", f"{called}, from pandapipes")).draft()


class _Import:
    def __init__(self, net: Any, made: Draft) -> None:
        self.net = net
        self.made = made
        self.node: dict[int, str] = {}
        self.row: dict[str, dict[str, Any]] = {}  # of a node, by name

    def draft(self) -> Draft:
        self._junctions()
        self._pipes()
        for what in ("valves", "pumps", "feeds", "flows", "circulation", "consumers", "controls"):
            getattr(self, f"_{what}")()
        if self.net.fluid.name != "water":
            self.made.info("fluid", f"{self.net.fluid.name} is taken as water")
        for key, table in self.net.items():
            is_part = hasattr(table, "columns") and not key.startswith(_NOT_PARTS) and not key.endswith("_geodata")
            if is_part and key not in _CARRIED and len(table):
                self.made.lost(key, f"{len(table)} of them: there is no such part")
        if len(self.net.get("controller", ())):
            self.made.lost("controller", f"{len(self.net.controller)} controllers")
        return self.made

    def _rows(self, kind: str) -> Any:
        """Rows in service as (index, row); the others are told."""
        table = self.net.get(kind)
        if table is None:
            return
        for index, row in table.iterrows():
            if "in_service" in row and not row["in_service"]:
                self.made.lost(f"{kind} {index}", "out of service")
            else:
                yield index, row

    def _name(self, kind: str, index: int, row: Any) -> str:
        given = row.get("name")
        return self.made.unique(kind, given if isinstance(given, str) and given else f"{kind}-{index}")

    def _junctions(self) -> None:
        place = self._positions()
        for index, row in self._rows("junction"):
            name = self.node[index] = self._name("node", index, row)
            found: dict[str, Any] = {"name": name}
            if index in place:
                found |= {"x_m": rounded(place[index][0], 10), "y_m": rounded(place[index][1], 10)}
            if row["height_m"]:
                found["elevation_m"] = rounded(row["height_m"])
            self.made.nodes.append(found)
            self.row[name] = found

    def _positions(self) -> dict[int, tuple[float, float]]:
        table = self.net.get("junction_geodata")
        if table is None or not len(table):
            return {}
        found = {i: (float(row["x"]), float(row["y"])) for i, row in table.iterrows()}
        found = {i: point for i, point in found.items() if all(map(math.isfinite, point))}
        if len(found) < len(self.net.junction):
            self.made.info("junction", f"{len(self.net.junction) - len(found)} without a position")
        if are_degrees(list(found.values())):
            flat = projection(list(found.values()))
            found = {i: flat(*point) for i, point in found.items()}
        return found

    def _ends(self, kind: str, index: int, start: int, end: int) -> tuple[str, str] | None:
        if start in self.node and end in self.node:
            return self.node[start], self.node[end]
        self.made.lost(f"{kind} {index}", "at a junction that is out of service")
        return None

    def _pipes(self) -> None:
        ambient = Counter(float(row["text_k"]) for _, row in self.net.pipe.iterrows() if "text_k" in row)
        known = [temp for temp, _ in ambient.most_common() if math.isfinite(temp)]
        if known:
            self.made.ambient_c = rounded(known[0] - ZERO_CELSIUS_K)
        if len(known) > 1:
            self.made.lost("pipe", f"{len(known)} ambient temperatures; all pipes have {self.made.ambient_c:g} degC")
        self.pipe: dict[int, dict[str, Any]] = {}
        bare = assumed = 0
        for index, row in self._rows("pipe"):
            ends = self._ends("pipe", index, int(row["from_junction"]), int(row["to_junction"]))
            if ends is None:
                continue
            length = max(float(row["length_km"]) * 1e3, 0.01)
            if length * 1e-3 > float(row["length_km"]) * (1 + 1e-9):
                self.made.info(f"pipe {index}", f"length {row['length_km'] * 1e3:g} m is taken as {length:g} m")
            inner = float(row["inner_diameter_mm"])
            outer = float(row.get("outer_diameter_mm", math.nan))
            if not outer > inner:
                outer, assumed = inner + 2.0 * _WALL_MM, assumed + 1
            u = float(row["u_w_per_m2k"])
            # pandapipes relates its u to the outer diameter, where it knows one.
            given = float(row.get("outer_diameter_mm", math.nan))
            around_m = math.pi * (given if given > 0 else inner) * 1e-3
            loss = 1.0 / (u * around_m) if u > 0 else _NO_LOSS_MK_W
            bare += not u > 0
            keys = {
                "inner_diameter_mm": rounded(inner),
                "outer_diameter_mm": rounded(outer),
                "loss_resistance_mk_w": rounded(loss, 9),
                "roughness_mm": rounded(float(row["k_mm"])),
            }
            found = {
                "name": self._name("pipe", index, row),
                "start": ends[0],
                "end": ends[1],
                "length_m": rounded(length, 10),
                "pipe_class": self.made.pipe_class(f"d{inner:.0f}", keys),
            }
            if row["loss_coefficient"]:
                found["loss_coefficient"] = rounded(float(row["loss_coefficient"]))
            if row.get("qext_w"):
                self.made.lost(f"pipe {index}", f"heat of {row['qext_w']:g} W from outside")
            self.made.pipes.append(found)
            self.pipe[index] = found
        if bare:
            self.made.info("pipe", f"{bare} without heat loss (u_w_per_m2k 0)")
        if assumed:
            self.made.info("pipe", f"{assumed} without a wall: steel of {_WALL_MM:g} mm")

    def _valves(self) -> None:
        for index, row in self._rows("valve"):
            diameter = row.get("inner_diameter_mm", math.nan)
            kind, here, there = row.get("et", "ju"), int(row["junction"]), int(row["element"])
            name = self._name("valve", index, row)
            if kind == "ju":
                ends = self._ends("valve", index, here, there)
            elif kind == "pi" and there in self.pipe and here in self.node:
                ends = self._at_pipe_end(self.node[here], self.pipe[there], name)
                diameter = diameter if diameter > 0 else self._diameter(self.pipe[there])
            else:
                ends = None
                self.made.lost(f"valve {index}", f"at element {kind} {there}")
            if ends is not None:
                row_made = {"name": name, "start": ends[0], "end": ends[1], "inner_diameter_mm": rounded(diameter)}
                self.made.valves.append(
                    row_made
                    | {
                        "loss_coefficient": rounded(float(row["loss_coefficient"])),
                        "opening": 1.0 if row["opened"] else 0.0,
                    }
                )

    def _at_pipe_end(self, node: str, pipe: dict[str, Any], valve: str) -> tuple[str, str]:
        """A new node between the end of a pipe and the junction: the valve's ends."""
        between = self.made.unique("node", f"{valve}-{pipe['name']}")
        copied = {k: v for k, v in self.row[node].items() if k in ("x_m", "y_m", "elevation_m")}
        self.row[between] = {"name": between} | copied
        self.made.nodes.append(self.row[between])
        side = "start" if pipe["start"] == node else "end"
        pipe[side] = between
        return node, between

    def _diameter(self, pipe: dict[str, Any]) -> float:
        return next(float(c["inner_diameter_mm"]) for c in self.made.pipe_classes if c["name"] == pipe["pipe_class"])

    def _pumps(self) -> None:
        for index, row in self._rows("pump"):
            ends = self._ends("pump", index, int(row["from_junction"]), int(row["to_junction"]))
            if ends is None:
                continue
            std_type = self.net.std_types["pump"][row["std_type"]]
            polynomial = [float(c) for c in std_type.reg_par]
            shutoff, curve, error = _parabola(polynomial)
            if error > 0.01 * shutoff:
                text = f"curve {row['std_type']} is fitted by a parabola, off by up to {error:.2g} m"
                self.made.info(f"pump {index}", text)
            self.made.pumps.append(
                {"name": self._name("pump", index, row), "start": ends[0], "end": ends[1]}
                | {"shutoff_head_m": rounded(shutoff), "curve_m_s2_kg2": rounded(curve)}
            )

    def _feeds(self) -> None:
        for index, row in self._rows("ext_grid"):
            if int(row["junction"]) not in self.node:
                self.made.lost(f"ext_grid {index}", "at a junction that is out of service")
                continue
            node = self.row[self.node[int(row["junction"])]]
            kind = str(row["type"])
            if "p" in kind:
                node |= {"kind": "source", "pressure_bar": rounded(float(row["p_bar"]), 9)}
            else:
                self.made.lost(f"ext_grid {index}", f"type {kind!r} holds no pressure")
            if "t" in kind and math.isfinite(row["t_k"]):
                node["supply_c"] = rounded(float(row["t_k"]) - ZERO_CELSIUS_K)

    def _flows(self) -> None:
        for kind, sign in (("sink", 1.0), ("source", -1.0), ("mass_storage", 1.0)):
            for index, row in self._rows(kind):
                if int(row["junction"]) not in self.node:
                    self.made.lost(f"{kind} {index}", "at a junction that is out of service")
                    continue
                node = self.row[self.node[int(row["junction"])]]
                flow = sign * float(row["mdot_kg_per_s"]) * float(row.get("scaling", 1.0))
                node["demand_kg_s"] = rounded(node.get("demand_kg_s", 0.0) + flow, 10)
                if node.get("kind", "junction") == "junction":
                    node["kind"] = "consumer"
                if kind == "source" and "supply_c" not in node:
                    node["supply_c"] = rounded(float(self.net.junction.at[int(row["junction"]), "tfluid_k"]) - 273.15)
                if kind == "mass_storage":
                    self.made.lost(f"mass_storage {index}", "its content; it takes its flow for ever")

    def _circulation(self) -> None:
        for kind in ("circ_pump_pressure", "circ_pump_mass"):
            for index, row in self._rows(kind):
                ends = self._ends(kind, index, int(row["return_junction"]), int(row["flow_junction"]))
                if ends is None:
                    continue
                name = self._name("unit", index, row)
                flow_node = self.row[ends[1]]
                flow_node["pressure_bar"] = rounded(float(row["p_flow_bar"]), 9)
                supply_c = rounded(float(row["t_flow_k"]) - ZERO_CELSIUS_K)
                source = {"name": name, "kind": "heat_source", "supply_temp_c": supply_c, "end": ends[1]}
                if kind == "circ_pump_mass":
                    flow = float(row["mdot_flow_kg_per_s"])
                    self._forced(name, ends, source, flow)
                    continue
                self._lifted(name, ends, source, float(row["plift_bar"]))

    def _lifted(self, name: str, ends: tuple[str, str], source: dict[str, Any], lift_bar: float) -> None:
        """A pump that holds the lift, and behind it an ideal source that takes no pressure to speak of."""
        between = self._node_like(ends[0], f"{name}-inlet")
        head = lift_bar * _PA_PER_BAR / (WATER_KG_M3 * GRAVITY_M_S2)
        self.made.pumps.append(
            {"name": self.made.unique("pump", f"{name}-pump"), "start": ends[0], "end": between}
            | {"control": "pressure", "pressure_rise_bar": rounded(lift_bar)}
            | {"shutoff_head_m": rounded(2.0 * head), "curve_m_s2_kg2": 0.0}
        )
        large = self._wanted_kg_s()
        self.made.units.append(
            source | {"start": between, "nominal_flow_kg_s": rounded(large), "nominal_pressure_drop_bar": 1e-6}
        )
        self.made.info(name, f"a pump that holds {lift_bar:g} bar and an ideal heat source")

    def _forced(self, name: str, ends: tuple[str, str], source: dict[str, Any], flow_kg_s: float) -> None:
        """A flow valve behind a pump that is always strong enough, and an ideal source."""
        first, second = self._node_like(ends[0], f"{name}-pumped"), self._node_like(ends[0], f"{name}-inlet")
        self.made.pumps.append(
            {"name": self.made.unique("pump", f"{name}-pump"), "start": ends[0], "end": first}
            | {"shutoff_head_m": 1000.0, "curve_m_s2_kg2": 0.0}
        )
        self.made.valves.append(
            {"name": self.made.unique("valve", f"{name}-flow"), "start": first, "end": second, "kind": "flow"}
            | {"inner_diameter_mm": 100.0, "flow_kg_s": rounded(flow_kg_s)}
        )
        self.made.units.append(
            source | {"start": second, "nominal_flow_kg_s": rounded(flow_kg_s), "nominal_pressure_drop_bar": 1e-6}
        )
        self.made.info(name, f"a strong pump, a valve that holds {flow_kg_s:g} kg/s and an ideal heat source")

    def _wanted_kg_s(self) -> float:
        table = self.net.get("heat_consumer")
        flows = table["controlled_mdot_kg_per_s"].dropna() if table is not None and len(table) else ()
        return max(float(sum(flows)), 1.0)

    def _node_like(self, node: str, wanted: str) -> str:
        name = self.made.unique("node", wanted)
        copied = {k: v for k, v in self.row[node].items() if k in ("x_m", "y_m", "elevation_m")}
        self.row[name] = {"name": name} | copied
        self.made.nodes.append(self.row[name])
        return name

    def _consumers(self) -> None:
        for index, row in self._rows("heat_consumer"):
            ends = self._ends("heat_consumer", index, int(row["from_junction"]), int(row["to_junction"]))
            if ends is None:
                continue
            keys = {
                "heat_kw": _positive(row["qext_w"], 1e-3),
                "flow_kg_s": _positive(row["controlled_mdot_kg_per_s"]),
                "temperature_drop_k": _positive(row["deltat_k"]),
                "return_temp_c": _positive(row["treturn_k"], 1.0, -ZERO_CELSIUS_K),
            }
            given = {key: value for key, value in keys.items() if value is not None}
            flow = given.get("flow_kg_s") or _flow_kg_s(given)
            # Heat consumers of pandapipes hold their flow against any pressure.
            self.made.units.append(
                {"name": self._name("unit", index, row), "kind": "heat_load", "start": ends[0], "end": ends[1]}
                | given
                | {"nominal_flow_kg_s": rounded(flow), "nominal_pressure_drop_bar": 1e-3}
            )
        for index, row in self._rows("heat_exchanger"):
            ends = self._ends("heat_exchanger", index, int(row["from_junction"]), int(row["to_junction"]))
            if ends is not None:
                name = self._name("unit", index, row)
                self.made.valves.append(
                    {"name": self.made.unique("valve", name), "start": ends[0], "end": ends[1]}
                    | {
                        "inner_diameter_mm": rounded(float(row["inner_diameter_mm"])),
                        "loss_coefficient": rounded(float(row["loss_coefficient"])),
                    }
                )
                self.made.lost(f"heat_exchanger {index}", f"its heat of {row['qext_w']:g} W; it is an open valve")

    def _controls(self) -> None:
        for index, row in self._rows("flow_control"):
            ends = self._ends("flow_control", index, int(row["from_junction"]), int(row["to_junction"]))
            if ends is None:
                continue
            found: dict[str, Any] = {"name": self._name("valve", index, row), "start": ends[0], "end": ends[1]}
            if row["control_active"]:
                found |= {"kind": "flow", "flow_kg_s": rounded(float(row["controlled_mdot_kg_per_s"]))}
            self.made.valves.append(found | {"inner_diameter_mm": 100.0})
            self.made.info(f"flow_control {index}", "a valve of 100 mm; it needs a pressure to hold its flow")
        for index, row in self._rows("press_control"):
            ends = self._ends("press_control", index, int(row["from_junction"]), int(row["to_junction"]))
            if ends is not None:
                name = self._name("valve", index, row)
                self.made.valves.append({"name": name, "start": ends[0], "end": ends[1], "inner_diameter_mm": 100.0})
                held = f"{row['controlled_p_bar']:g} bar"
                self.made.lost(f"press_control {index}", f"it holds no {held} any more; it is an open valve")


def _positive(value: float, scale: float = 1.0, offset: float = 0.0) -> float | None:
    return rounded(float(value) * scale + offset, 9) if math.isfinite(value) else None


def _flow_kg_s(given: dict[str, float]) -> float:
    drop = given.get("temperature_drop_k") or max(80.0 - given.get("return_temp_c", 50.0), 10.0)
    return max(given.get("heat_kw", 0.0) * 1e3 / (4184.0 * drop), 1e-3)


def _parabola(polynomial: list[float]) -> tuple[float, float, float]:
    """Shut-off head (m), fall with the square of the flow (kg/s) and largest error of a curve bar over m3/h."""

    def lift_m(kg_s: float) -> float:
        volume, bar = kg_s / WATER_KG_M3 * 3600.0, 0.0
        for coefficient in polynomial:
            bar = bar * volume + coefficient
        return bar * _PA_PER_BAR / (WATER_KG_M3 * GRAVITY_M_S2)

    most = 1e-3
    while lift_m(most) > 0.0 and most < 1e5:
        most *= 1.02
    flows = [most * k / 40 for k in range(40)]
    heads = [lift_m(q) for q in flows]
    n, s2, s4 = len(flows), sum(q**2 for q in flows), sum(q**4 for q in flows)
    h, h2 = sum(heads), sum(v * q**2 for v, q in zip(heads, flows, strict=True))
    curve = max((s2 * h - n * h2) / (n * s4 - s2**2), 0.0)
    shutoff = (h + curve * s2) / n
    return shutoff, curve, max(abs(shutoff - curve * q**2 - v) for q, v in zip(flows, heads, strict=True))
