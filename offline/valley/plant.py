"""The energy plant: what stands between the return and the supply of its network.

    plant-return -> heat pump -> suction -> incinerator, fumes of the graphite works -> hot header
                                 suction <-> cooler, tank <-> hot header
                                 hot header -> wood boilers -> gas boilers -> network pump -> plant

Water comes back through the heat pump, which warms it a little by the cooling water of the chemical site. What must
run pumps into the hot header; the tank takes what the town does not, and a cooler keeps it from coming back hot. The
boilers in the main stream warm what is not yet warm enough: first wood, then gas. So merit order needs no commands.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from uem.offline.valley.customers import HEAT_CAPACITY_KJ_KGK, RETURN_C, SUPPLY_C
from uem.offline.valley.sizing import diameter
from uem.offline.valley.streets import Position
from uem.territories.dimensions import STEEL

GRAPHITE_KW = 4000.0
WASTE_KG_S = 2.2  # of two lines
INSIDE = ("return-header", "suction", "tank-bottom", "hot-header", "wood-outlet", "boiler-outlet")
HELD_BAR = 4.0
STATION_BAR = 0.8  # what the pumps leave at the station that is hardest to reach
RESERVE = 1.25  # of the pumps' head on the design day
GRAVITY_M_S2, PUMPED_KG_M3 = 9.81, 955.0

Table = dict[str, Any]


class Plant(NamedTuple):
    """Tables of a territory file."""

    nodes: list[Table]
    pipes: list[Table]
    pumps: list[Table]
    units: list[Table]


def plant(
    prefix: str, at: Position, graphite_at: Position, flow_kg_s: float, lost_pa: float, critical: str, level_m: float
) -> Plant:
    """The plant at `at`, for a network that takes `flow_kg_s` and loses `lost_pa` to `critical` and back.

    Pumps look at that station; they hold a constant rise where it has no name.
    """
    nodes = _nodes(prefix, at, graphite_at, level_m)
    pipes = _pipes(prefix, at, graphite_at, flow_kg_s)
    units = _units(prefix, flow_kg_s)
    pump = _pump(prefix, flow_kg_s, lost_pa + 1e5 * STATION_BAR, units, critical)
    return Plant(nodes, pipes, [pump], units)


def _nodes(prefix: str, at: Position, graphite_at: Position, level_m: float) -> list[Table]:
    offsets = {
        "plant": (0.0, 0.0),
        "return-header": (-60.0, -70.0),
        "suction": (-110.0, -70.0),
        "tank-bottom": (-150.0, -45.0),
        "hot-header": (-110.0, 0.0),
        "wood-outlet": (-75.0, 0.0),
        "boiler-outlet": (-40.0, 0.0),
    }
    found = [
        {
            "name": prefix + name,
            "x_m": round(at[0] + dx, 1),
            "y_m": round(at[1] + dy, 1),
            "elevation_m": level_m,
            "pressure_bar": HELD_BAR if name == "suction" else None,
        }
        for name, (dx, dy) in offsets.items()
    ]
    x, y = graphite_at
    return [*found, {"name": f"{prefix}graphite", "x_m": x, "y_m": y, "elevation_m": level_m}]


def _pipes(prefix: str, at: Position, graphite_at: Position, flow_kg_s: float) -> list[Table]:
    header = diameter(flow_kg_s, 60.0)
    fumes_kg_s = 1.2 * GRAPHITE_KW / (HEAT_CAPACITY_KJ_KGK * (SUPPLY_C - 5.0 - RETURN_C))
    line = diameter(fumes_kg_s, 90.0)
    length_m = round(1.1 * (abs(graphite_at[0] - at[0] + 110.0) + abs(graphite_at[1] - at[1])) + 20.0, 1)
    ends = (
        ("header", "plant-return", "return-header", 95.0, header, 3.0),
        ("graphite-line", "graphite", "hot-header", length_m, line, 12.0),
        ("graphite-line-return", "suction", "graphite-return", length_m + 40.0, line, 12.0),
    )
    return [
        {
            "name": prefix + name,
            "start": prefix + start,
            "end": prefix + end,
            "length_m": length,
            "pipe_class": f"dn{dn}",
            "loss_coefficient": zeta,
        }
        for name, start, end, length, dn, zeta in ends
    ]


def _units(prefix: str, flow_kg_s: float) -> list[Table]:
    half = round(flow_kg_s / 2.0, 1)
    whole = round(flow_kg_s, 1)
    wood: Table = {
        "kind": "heat_only_boiler",
        "nominal_heat_kw": 8000.0,
        "minimum_heat_kw": 2000.0,
        "ramp_kw_min": 160.0,
        "fuel": "wood",
        "efficiency": [[0.25, 0.84], [0.6, 0.88], [1.0, 0.87]],
        "auxiliary_kw": 120.0,
    }
    gas: Table = {
        "kind": "heat_only_boiler",
        "nominal_heat_kw": 16000.0,
        "minimum_heat_kw": 1600.0,
        "ramp_kw_min": 3200.0,
        "fuel": "gas",
        "efficiency": [[0.1, 0.90], [0.5, 0.94], [1.0, 0.93]],
        "auxiliary_kw": 60.0,
    }
    through: Table = {"supply_temp_c": SUPPLY_C, "nominal_flow_kg_s": half, "nominal_pressure_drop_bar": 0.15}
    boilers = [("wood", wood, "hot-header", "wood-outlet"), ("gas", gas, "wood-outlet", "boiler-outlet")]
    found: list[Table] = [
        {
            "kind": "heat_pump",
            "name": "heat-pump",
            "start": "return-header",
            "end": "suction",
            "nominal_heat_kw": 4500.0,
            "minimum_heat_kw": 900.0,
            "ramp_kw_min": 300.0,
            "supply_temp_c": 78.0,
            "highest_temp_c": 90.0,
            "carnot_fraction": 0.5,
            "source_temp_c": 70.0,
            "source_flow_kg_s": 40.0,
            "lowest_source_temp_c": 38.0,
            "nominal_flow_kg_s": whole,
            "nominal_pressure_drop_bar": 0.1,
        },
        {
            "kind": "waste_incinerator",
            "name": "incinerator",
            "start": "suction",
            "end": "hot-header",
            "flow_control": "pumped",
            "nominal_waste_kg_s": WASTE_KG_S,
            "heating_value_j_kg": 10e6,
            "heat_efficiency": 0.48,
            "electric_efficiency": 0.16,
            "supply_temp_c": SUPPLY_C,
        },
        {
            "kind": "waste_heat_exchanger",
            "name": "graphite-fumes",
            "start": "graphite-return",
            "end": "graphite",
            "flow_control": "pumped",
            "ua_kw_k": 170.0,
            "nominal_water_flow_kg_s": round(GRAPHITE_KW / (HEAT_CAPACITY_KJ_KGK * 35.0), 1),
            "nominal_stream_flow_kg_s": 36.0,
            "stream_temp_c": 125.0,
            "lowest_stream_temp_c": 75.0,
            "supply_temp_c": SUPPLY_C - 5.0,
        },
        {
            "kind": "storage_tank",
            "name": "tank",
            "start": "tank-bottom",
            "end": "hot-header",
            "flow_control": "free",
            "nominal_flow_kg_s": whole,
            "nominal_pressure_drop_bar": 0.03,
            "volume_m3": 1500.0,
            "height_m": 18.0,
            "top_temp_c": 100.0,
            "bottom_temp_c": RETURN_C,
        },
        {
            "kind": "dump_cooler",
            "name": "dump-cooler",
            "start": "tank-bottom",
            "end": "suction",
            "nominal_heat_kw": 12000.0,
            "nominal_water_temp_c": SUPPLY_C,
            "nominal_flow_kg_s": whole,
            "nominal_pressure_drop_bar": 0.03,
            "outlet_temp_c": 60.0,
            "fan_kw": 180.0,
        },
        *(
            {**boiler, "name": f"{name}-{number}", "start": start, "end": end, **through}
            for name, boiler, start, end in boilers
            for number in (1, 2)
        ),
    ]
    return [_named(unit, prefix) for unit in found]


def _named(unit: Table, prefix: str) -> Table:
    """Name and ends with the prefix of their district, and first."""
    first = {key: prefix + unit[key] for key in ("name", "start", "end")}
    return {"kind": unit["kind"], **first, **{k: v for k, v in unit.items() if k not in ("kind", *first)}}


def _pump(prefix: str, flow_kg_s: float, lost_pa: float, units: list[Table], critical: str) -> Table:
    """Three equal pumps that suffice with a reserve; their curve falls by a quarter to the design flow."""
    inside_pa = sum(1e5 * unit["nominal_pressure_drop_bar"] for unit in units if unit["name"][len(prefix) :] in _SERIES)
    needed_pa = lost_pa + inside_pa + 0.2e5
    head_m = RESERVE * needed_pa / (PUMPED_KG_M3 * GRAVITY_M_S2)
    control: Table = {"control": "pressure", "pressure_rise_bar": round(1e-5 * needed_pa, 2)}
    if critical:
        control = {
            "control": "critical",
            "pressure_rise_bar": STATION_BAR,
            "critical_start": critical,
            "critical_end": f"{critical}-return",
        }
    return {
        "name": f"{prefix}pump",
        "start": f"{prefix}boiler-outlet",
        "end": f"{prefix}plant",
        "shutoff_head_m": round(4.0 / 3.0 * head_m, 1),
        "curve_m_s2_kg2": float(f"{head_m / 3.0 / (flow_kg_s / 3.0) ** 2:.4g}"),
        "parallel": 3,
        **control,
        "efficiency": 0.78,
    }


_SERIES = ("heat-pump", "tank", "dump-cooler", "wood-1", "gas-1")  # that the main stream goes through


def pipe_classes(used: Mapping[str, object] | set[str]) -> list[Table]:
    """Classes `dn...` that are used, narrow ones first."""
    return [{"name": f"dn{dn}", "dn": dn} for dn in STEEL if f"dn{dn}" in used]
