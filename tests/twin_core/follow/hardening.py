"""A hardening shop: a saw, two batch ovens, a furnace with a recipe, a grinder; and the plant that it is in truth."""

from dataclasses import replace

from uem.twin_core.plant.factory import FactorySite, HeatStream, MachineTags, slots_apart
from uem.twin_core.plant.furnace import Furnace, Segment
from uem.twin_core.plant.production import (
    Buffer,
    Factory,
    Failure,
    Machine,
    batch_furnace,
    deterministic,
    exponential,
    gamma,
)
from uem.twin_core.production.indicators import PACKML
from uem.twin_core.production.plan import STATES, FactoryPlan

EPOCH_NS = 1_704_067_200 * 10**9  # Monday
LEVEL_K = 333.15
FURNACE = Furnace(
    recipe=(Segment(to_k=1100.0, duration_s=1500.0), Segment(to_k=1100.0, duration_s=900.0, hold=True)),
    power_w=300e3,
    chamber_j_per_k=4e5,
    lining_j_per_k=4e6,
    lining_w_per_k=300.0,
    wall_w_per_k=60.0,
    part_j_per_k=8e3,
    part_w_per_k=15.0,
    vent_kg_s=0.02,
    standby_k=800.0,
    levels_k=(LEVEL_K,),
    load_s=60.0,
    door_w_per_k=300.0,
)


def shop(oven_s=1200.0, furnace=FURNACE, saw_s=60.0):
    return Factory(
        name="hardening",
        machines=(
            Machine(
                name="saw",
                cycle=gamma(saw_s, 0.02),
                gives=("bars",),
                power_w={"busy": 6e3, "blocked": 1e3, "down": 300.0},
                failures=(Failure(to_fail=exponential(9000.0), to_repair=exponential(300.0)),),
            ),
            Machine(
                name="ovens",
                cycle=gamma(oven_s, 1e-4),
                slots=2,
                takes=("bars",),
                gives=("annealed",),
                batch=(6, 12),
                power_w={"busy": 80e3, "starved": 20e3, "blocked": 20e3, "down": 1e3},
                failures=(Failure(to_fail=exponential(20_000.0), to_repair=exponential(600.0)),),
            ),
            batch_furnace(
                "furnace", furnace, takes=("annealed",), gives=("hard",), batch=(10, 50), power_w={"busy": 2e3}
            ),
            Machine(name="grinder", cycle=deterministic(40.0), takes=("hard",), power_w={"busy": 12e3, "starved": 3e3}),
        ),
        buffers=(
            Buffer(name="bars", capacity=40),
            Buffer(name="annealed", capacity=90),
            Buffer(name="hard", capacity=60),
        ),
    )


def site(factory=None, **more):
    factory = factory or shop()
    tags = {
        "saw": MachineTags(state_tag="saw/state", good_tag="saw/good"),
        "ovens": MachineTags(state_tag="ovens/{slot}/state", good_tag="ovens/{slot}/good"),
        "furnace": MachineTags(
            state_tag="furnace/state",
            good_tag="furnace/good",
            batch_tag="furnace/batch",
            temperature_tag="furnace/temperature",
        ),
        "grinder": MachineTags(state_tag="grinder/state", good_tag="grinder/good"),
    }
    return FactorySite(
        factory=factory,
        heat=(
            HeatStream(name="jackets", shares={"ovens": {"busy": 0.5, "starved": 0.4, "blocked": 0.4}}),
            HeatStream(name="exhaust", shares={}, furnaces={"furnace": LEVEL_K}),
        ),
        machine_tags=tags,
        calendar_epoch_ns=EPOCH_NS,
        **more,
    )


def plant(factory, seed, until_s, tick_s=0.5, temperature_every_s=60.0, temperature_error_k=0.0):
    """Rows (seconds, {tag: value}) at every tick at which something changed, the plan with slots apart, its run."""
    apart = slots_apart(site(factory)).factory
    plan = FactoryPlan(apart)
    run = plan.initial_run(seed=seed)
    rows, last, chamber_k = [], {}, 0.0
    server, seen = run.view["server"], None
    shown = [server[name] for name in ("shown", "made", "scrapped", "load")]
    for k in range(round(until_s / tick_s) + 1):
        plan.run(run, k * tick_s)
        if k * tick_s % temperature_every_s == 0.0:
            chamber_k = round(float(plan.spent(run).furnaces.temperature_k[0, 0, 0]), 1) + temperature_error_k
        if (now := [chamber_k, *(column.tolist() for column in shown)]) == seen:
            continue
        values, seen = {}, now
        for m, machine in enumerate(apart.machines):
            name = machine.name.replace("ovens-", "ovens/")
            values[f"{name}/state"] = float(PACKML[STATES[server["shown"][m]]])
            values[f"{name}/good"] = float(server["made"][m] - server["scrapped"][m])
        values["furnace/batch"] = float(server["load"][3] if STATES[server["shown"][3]] == "busy" else 0)
        values["furnace/temperature"] = chamber_k
        if values != last or k == 0:
            rows.append((k * tick_s, values))
            last = values
    return rows, plan, run


__all__ = ["EPOCH_NS", "FURNACE", "LEVEL_K", "plant", "replace", "shop", "site"]
