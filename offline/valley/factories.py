"""Four factories of the valley, invented, with magnitudes of works as they stand there.

Graphite works (fumes of baking furnaces), a chemical site (cooling water of 70 degC), a machining shop (compressors
that load and unload) and a dairy (chillers). The first two give heat to the network; what the others give off is too
cold for it and leaves by their own coolers.
"""

from typing import Any

from uem.offline.valley.tags import tagged

Table = dict[str, Any]

DAY_H = 24.0


def shifts(days: int, begin_h: float, end_h: float) -> list[list[float]]:
    """The same hours on the first `days` days of a week."""
    return [[DAY_H * day + begin_h, DAY_H * day + end_h] for day in range(days)]


def factories(prefix: str, network: str) -> list[Table]:
    """All four, those that give heat to `network` first."""
    works = [graphite(prefix, network), chemicals(prefix, network), machining(prefix), dairy(prefix)]
    return [tagged(factory) for factory in works]


def _law(law: str, **told: float) -> Table:
    return {"law": law, **told}


def _failure(mean_h: float, repair_min: float, crew: str, **more: Any) -> Table:
    return {
        "to_fail": _law("exponential", mean_s=3600.0 * mean_h),
        "to_repair": _law("lognormal", mean_s=60.0 * repair_min, scv=1.0),
        "crews": [crew],
        **more,
    }


def graphite(prefix: str, network: str) -> Table:
    """Blocks are pressed day and night, baked in batches of two days and a half, machined in two shifts.

    The fumes of the furnaces, with the air that they draw, are at 155 degC behind the recuperators when the chamber is
    hot, and are cooled to 60 degC.
    """
    furnace: Table = {
        "recipe": [
            {"to_c": 950.0, "duration_s": 100_800.0},
            {"to_c": 980.0, "duration_s": 72_000.0, "hold": True},
            {"to_c": 700.0, "duration_s": 14_400.0, "cooling": False},
        ],
        "power_kw": 3000.0,
        "heating": "fuel",
        "efficiency": 0.97,
        "chamber_kj_per_k": 4000.0,
        "lining_kj_per_k": 30_000.0,
        "lining_w_per_k": 700.0,
        "wall_w_per_k": 120.0,
        "part_kj_per_k": 380.0,
        "part_w_per_k": 60.0,
        "load_s": 5400.0,
        "unload_s": 3600.0,
        "door_w_per_k": 900.0,
        "fumes_kg_per_mj": 0.40,
        "vent_kg_s": 6.2,
        "recuperated": 0.86,
        "standby_c": 550.0,
        "levels_c": [60.0],
    }
    furnaces = [
        {
            "name": f"furnace-{number}",
            "takes": ["green"],
            "gives": ["baked"],
            "batch": [30, 50],
            "furnace": furnace,
            "failures": [_failure(900.0, 300.0, "fitters", priority=2)],
            "power_kw": {"busy": 60.0, "starved": 25.0, "blocked": 25.0, "down": 5.0, "waiting_for_crew": 5.0},
        }
        for number in range(1, 9)
    ]
    return {
        "name": f"{prefix}graphite-works",
        "title": "Graphite works on the river",
        "calendars": [{"name": "two-shift", "shifts_h": shifts(5, 6.0, 22.0)}],
        "crews": [{"name": "fitters", "workers": 3}],
        "buffers": [
            {"name": "green", "capacity": 160, "initial": 60},
            {"name": "baked", "delay_s": 43_200.0, "initial": 150},  # they cool for half a day
        ],
        "machines": [
            {
                "name": "press",
                "cycle": _law("gamma", mean_s=570.0, scv=0.05),
                "gives": ["green"],
                "failures": [_failure(60.0, 60.0, "fitters", priority=1)],
                "power_kw": {"busy": 900.0, "blocked": 120.0, "down": 40.0, "waiting_for_crew": 40.0},
            },
            *furnaces,
            {
                "name": "lathes",
                "cycle": _law("gamma", mean_s=1000.0, scv=0.1),
                "slots": 5,
                "takes": ["baked"],
                "calendar": "two-shift",
                "scrap": 0.015,
                "failures": [_failure(40.0, 40.0, "fitters")],
                "power_kw": {
                    "busy": 45.0,
                    "starved": 9.0,
                    "blocked": 9.0,
                    "down": 3.0,
                    "waiting_for_crew": 3.0,
                    "off": 0.5,
                },
            },
        ],
        "heat": [
            {
                "name": "fumes",
                "furnaces": [{"machine": f"furnace-{number}", "above_c": 60.0} for number in range(1, 9)],
                "network": network,
                "unit": f"{prefix}graphite-fumes",
                "content_m3": 60.0,
                "temp_c": 120.0,
                "recool_kw": 7500.0,
                "recool_temp_c": 140.0,
                "alarm_temp_c": 150.0,
            }
        ],
    }


def chemicals(prefix: str, network: str) -> Table:
    """Electrolysis and compressors day and night, reactors in batches, bagging in two shifts, also on Saturdays.

    Cooling water comes back at 70 degC; the heat pump of the plant takes its heat, cooling towers the rest.
    """
    return {
        "name": f"{prefix}chemical-site",
        "title": "Chemical site at the harbour",
        "calendars": [{"name": "bagging", "shifts_h": shifts(6, 5.0, 21.0)}],
        "crews": [{"name": "mechanics", "workers": 3}],
        "utilities": [{"name": "cooling", "limit": 6000.0, "unit": "kW"}],
        "buffers": [
            {"name": "gas", "capacity": 60, "initial": 30},
            {"name": "monomer", "capacity": 80, "initial": 40},
            {"name": "slurry", "capacity": 60, "initial": 20},
            {"name": "powder", "capacity": 500, "initial": 120},
        ],
        "machines": [
            {
                "name": "electrolysis",
                "cycle": _law("deterministic", mean_s=840.0),
                "gives": ["gas"],
                "uses": {"cooling": 3600.0},
                "failures": [_failure(500.0, 240.0, "mechanics", priority=3)],
                "power_kw": {
                    "busy": 9500.0,
                    "blocked": 2800.0,
                    "down": 150.0,
                    "waiting_for_crew": 150.0,
                    "short": 900.0,
                },
            },
            {
                "name": "compressors",
                "cycle": _law("deterministic", mean_s=800.0),
                "takes": ["gas"],
                "gives": ["monomer"],
                "uses": {"cooling": 1900.0},
                "failures": [_failure(300.0, 120.0, "mechanics", priority=3)],
                "power_kw": {
                    "busy": 2300.0,
                    "starved": 700.0,
                    "blocked": 700.0,
                    "down": 40.0,
                    "waiting_for_crew": 40.0,
                    "short": 300.0,
                },
            },
            {
                "name": "reactors",
                "cycle": _law("gamma", mean_s=23_400.0, scv=0.01),
                "slots": 4,
                "takes": ["monomer"],
                "gives": ["slurry"],
                "batch": [8, 10],
                "failures": [_failure(250.0, 180.0, "mechanics", priority=2)],
                "power_kw": {"busy": 160.0, "starved": 30.0, "blocked": 50.0, "down": 20.0, "waiting_for_crew": 20.0},
            },
            {
                "name": "dryer",
                "cycle": _law("deterministic", mean_s=760.0),
                "takes": ["slurry"],
                "gives": ["powder"],
                "failures": [_failure(120.0, 60.0, "mechanics", priority=1)],
                "power_kw": {"busy": 420.0, "starved": 90.0, "blocked": 90.0, "down": 20.0, "waiting_for_crew": 20.0},
            },
            {
                "name": "bagging",
                "cycle": _law("gamma", mean_s=430.0, scv=0.05),
                "takes": ["powder"],
                "calendar": "bagging",
                "failures": [_failure(30.0, 20.0, "mechanics")],
                "power_kw": {"busy": 55.0, "starved": 12.0, "down": 6.0, "waiting_for_crew": 6.0, "off": 1.0},
            },
        ],
        "heat": [
            {
                "name": "cooling-water",
                "sources": [
                    {"machine": "electrolysis", "shares": {"busy": 0.32, "blocked": 0.3, "short": 0.3}},
                    {
                        "machine": "compressors",
                        "shares": {"busy": 0.85, "starved": 0.7, "blocked": 0.7, "short": 0.7},
                    },
                ],
                "network": network,
                "unit": f"{prefix}heat-pump",
                "content_m3": 120.0,
                "temp_c": 70.0,
                "recool_kw": 6500.0,
                "recool_temp_c": 71.0,
                "alarm_temp_c": 80.0,
                "clear_temp_c": 74.0,
                "utility": "cooling",
            }
        ],
    }


def machining(prefix: str) -> Table:
    """Three parts by orders of a month, two shifts; every part is blown clean with air of two compressors.

    Compressors are blocked, which is unloaded, while there is air enough; their cooling water has 65 degC.
    """
    products = ("flange", "housing", "shaft")
    orders = [
        {
            "name": f"{product}-{week + 1}",
            "product": product,
            "quantity": quantity,
            "release_h": 168.0 * week,
            "due_h": 168.0 * (week + 1) - 50.0,
        }
        for week in range(4)
        for product, quantity in zip(products, (420, 260, 340), strict=True)
    ]
    changeovers = [{"before": a, "after": b, "seconds": 2400.0} for a in products for b in products if a != b]
    mills = {"flange": 300.0, "housing": 520.0, "shaft": 380.0}
    idle = {"starved": 4.0, "blocked": 4.0, "setup": 6.0, "down": 2.0, "waiting_for_crew": 2.0, "off": 0.4}
    compressors = [
        {
            "name": f"compressor-{number}",
            "cycle": _law("deterministic", mean_s=240.0),
            "gives": ["air"],
            "calendar": "two-shift",
            "failures": [_failure(400.0, 120.0, "fitters", priority=2)],
            "power_kw": {"busy": 132.0, "blocked": 38.0, "down": 1.0, "waiting_for_crew": 1.0, "off": 0.5},
        }
        for number in (1, 2)
    ]
    return {
        "name": f"{prefix}machining-shop",
        "title": "Machining shop by the railway",
        "calendars": [{"name": "two-shift", "shifts_h": shifts(5, 5.0, 21.0)}],
        "crews": [{"name": "fitters", "workers": 2, "calendar": "two-shift"}],
        "buffers": [
            {"name": "blanks", "capacity": 60},
            {"name": "milled", "capacity": 80},
            {"name": "air", "capacity": 30, "initial": 10},
            {"name": "clean", "capacity": 120},
        ],
        "machines": [
            {
                "name": "saw",
                "cycle": _law("gamma", mean_s=140.0, scv=0.1),
                "gives": ["blanks"],
                "calendar": "two-shift",
                "orders": orders,
                "failures": [_failure(50.0, 25.0, "fitters")],
                "power_kw": {
                    "busy": 11.0,
                    "starved": 1.5,
                    "blocked": 1.5,
                    "down": 0.5,
                    "waiting_for_crew": 0.5,
                    "off": 0.2,
                },
            },
            {
                "name": "mills",
                "cycle": _law("deterministic", mean_s=400.0),
                "slots": 3,
                "takes": ["blanks"],
                "gives": ["milled"],
                "calendar": "two-shift",
                "recipes": {product: _law("deterministic", mean_s=mean_s) for product, mean_s in mills.items()},
                "changeovers": changeovers,
                "failures": [_failure(30.0, 45.0, "fitters", priority=1)],
                "power_kw": {"busy": 24.0, **idle},
            },
            *compressors,
            {
                "name": "blow-off",
                "cycle": _law("deterministic", mean_s=150.0),
                "takes": ["milled", "air"],
                "gives": ["clean"],
                "calendar": "two-shift",
                "power_kw": {"busy": 9.0, "starved": 1.0, "blocked": 1.0, "off": 0.1},
            },
            {
                "name": "inspection",
                "cycle": _law("gamma", mean_s=160.0, scv=0.2),
                "takes": ["clean"],
                "calendar": "two-shift",
                "scrap": 0.02,
                "power_kw": {"busy": 3.0, "starved": 0.8, "off": 0.1},
            },
        ],
        "heat": [
            {
                "name": "compressor-water",
                "sources": [
                    {"machine": f"compressor-{number}", "shares": {"busy": 0.75, "blocked": 0.6}} for number in (1, 2)
                ],
            }
        ],
    }


def dairy(prefix: str) -> Table:
    """Milk comes from four in the morning until night, is pasteurised, ripens in tanks and is filled by two lines.

    Ice water of three chillers cools each lot; their condensers give off heat of 35 degC.
    """
    idle = {"starved": 14.0, "blocked": 14.0, "down": 6.0, "waiting_for_crew": 6.0, "off": 1.0}
    lines = [
        {
            "name": f"filling-{number}",
            "cycle": _law("gamma", mean_s=mean_s, scv=0.05),
            "takes": ["ripe"],
            "calendar": "filling",
            "scrap": 0.004,
            "failures": [_failure(12.0, 15.0, "fitters"), _failure(200.0, 180.0, "fitters", priority=1)],
            "power_kw": {"busy": 75.0, **idle},
        }
        for number, mean_s in ((1, 330.0), (2, 360.0))
    ]
    return {
        "name": f"{prefix}dairy",
        "title": "Dairy in the south of the valley",
        "calendars": [
            {"name": "milk", "shifts_h": shifts(7, 4.0, 22.0)},
            {"name": "filling", "shifts_h": shifts(6, 5.0, 21.0)},
        ],
        "crews": [{"name": "fitters", "workers": 2}],
        "buffers": [
            {"name": "raw", "capacity": 60, "initial": 10},
            {"name": "ice", "capacity": 40, "initial": 20},
            {"name": "milk", "capacity": 60},
            {"name": "ripe", "capacity": 400, "delay_s": 14_400.0, "initial": 60},
        ],
        "machines": [
            {
                "name": "reception",
                "cycle": _law("exponential", mean_s=330.0),
                "gives": ["raw"],
                "calendar": "milk",
                "power_kw": {"busy": 20.0, "blocked": 4.0, "off": 0.5},
            },
            {
                "name": "chillers",
                "cycle": _law("deterministic", mean_s=900.0),
                "slots": 3,
                "gives": ["ice"],
                "failures": [_failure(600.0, 240.0, "fitters", priority=2)],
                "power_kw": {"busy": 180.0, "blocked": 25.0, "down": 3.0, "waiting_for_crew": 3.0},
            },
            {
                "name": "pasteuriser",
                "cycle": _law("deterministic", mean_s=240.0),
                "takes": ["raw", "ice"],
                "gives": ["milk"],
                "failures": [_failure(80.0, 45.0, "fitters", priority=2)],
                "power_kw": {"busy": 90.0, "starved": 30.0, "blocked": 30.0, "down": 10.0, "waiting_for_crew": 10.0},
            },
            {
                "name": "tanks",
                "cycle": _law("gamma", mean_s=18_000.0, scv=0.01),
                "slots": 6,
                "takes": ["milk"],
                "gives": ["ripe"],
                "batch": [10, 20],
                "batch_wait_s": 7200.0,
                "power_kw": {"busy": 15.0, "starved": 2.0, "blocked": 4.0},
            },
            *lines,
        ],
        "heat": [
            {
                "name": "condensers",
                "sources": [{"machine": "chillers", "shares": {"busy": 1.0, "blocked": 0.5}}],
            }
        ],
    }
