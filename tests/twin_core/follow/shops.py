"""A line of machines as it is described, and the plant that it is in truth: another seed, other times."""

import csv
from dataclasses import replace

import numpy as np

from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.plant.factory import FactorySite, HeatStream, MachineTags
from uem.twin_core.plant.production import Buffer, Factory, Failure, Machine, exponential, gamma
from uem.twin_core.production.indicators import PACKML
from uem.twin_core.production.plan import STATES, FactoryPlan

EPOCH_NS = 1_704_067_200 * 10**9  # Monday
NAMES = ("saw", "mill", "drill", "grinder")
CYCLES_S = (50.0, 60.0, 55.0, 52.0)
POWER_W = {"busy": 10e3, "starved": 2e3, "blocked": 2e3, "down": 500.0, "waiting_for_crew": 500.0}


def line(cycles_s=CYCLES_S, to_fail_s=3600.0, to_repair_s=300.0, capacity=5, scrap=0.0):
    buffers = [f"b{k}" for k in range(1, len(cycles_s))]
    machines = tuple(
        Machine(
            name=name,
            cycle=gamma(cycle_s, 0.01),
            takes=(buffers[k - 1],) if k else (),
            gives=(buffers[k],) if k < len(buffers) else (),
            failures=(Failure(to_fail=exponential(to_fail_s), to_repair=exponential(to_repair_s)),),
            power_w=POWER_W,
            scrap=scrap if name == "mill" else 0.0,
        )
        for k, (name, cycle_s) in enumerate(zip(NAMES, cycles_s, strict=False))
    )
    return Factory(name="line", machines=machines, buffers=tuple(Buffer(name=b, capacity=capacity) for b in buffers))


def site(factory=None, levels=(), **more):
    factory = factory or line()
    tags = {
        m.name: MachineTags(state_tag=f"{m.name}/state", good_tag=f"{m.name}/good", scrap_tag=f"{m.name}/scrap")
        for m in factory.machines
    }
    return FactorySite(
        factory=factory,
        heat=(HeatStream(name="hall", shares={m.name: {"busy": 0.5} for m in factory.machines}),),
        machine_tags=tags,
        level_tags={name: f"{name}/level" for name in levels},
        calendar_epoch_ns=EPOCH_NS,
        **more,
    )


def plant(factory, seed, until_s, begin_s=0.0, tick_s=0.1, levels=()):
    """Rows (seconds, {tag: value}) at every tick at which something changed, and the run at their end."""
    plan = FactoryPlan(factory)
    run = plan.initial_run(seed=seed)
    plan.run(run, begin_s)
    plan.clear_ledger(run)
    rows, last = [], {}
    server, level = run.view["server"], run.view["buffer"]["level"]
    shown, seen = (server["shown"], server["made"], server["scrapped"], level), None
    for k in range(round((until_s - begin_s) / tick_s) + 1):
        plan.run(run, begin_s + k * tick_s)
        if (now := [column.tolist() for column in shown]) == seen:
            continue
        values, seen = {}, now
        for m, machine in enumerate(factory.machines):
            values[f"{machine.name}/state"] = float(PACKML[STATES[server["shown"][m]]])
            values[f"{machine.name}/good"] = float(server["made"][m] - server["scrapped"][m])
            values[f"{machine.name}/scrap"] = float(server["scrapped"][m])
        for name in levels:
            values[f"{name}/level"] = float(level[[b.name for b in factory.buffers].index(name)])
        if values != last or k == 0:
            rows.append((begin_s + k * tick_s, values))
            last = values
    return rows, plan, run


def machine_toml(k, name):
    cycle_s = CYCLES_S[k]
    ways = (f'takes = ["b{k}"]\n' if k else "") + (f'gives = ["b{k + 1}"]\n' if k < len(NAMES) - 1 else "")
    return f"""
[[factories.machines]]
name = "{name}"
cycle = {{ law = "gamma", mean_s = {cycle_s}, scv = 0.01 }}
{ways}power_kw = {{ busy = 10.0, starved = 2.0, blocked = 2.0, down = 0.5, waiting_for_crew = 0.5 }}
state_tag = "{name}/state"
good_tag = "{name}/good"
scrap_tag = "{name}/scrap"

[[factories.machines.failures]]
to_fail = {{ law = "exponential", mean_s = 3600.0 }}
to_repair = {{ law = "exponential", mean_s = 300.0 }}
"""


def territory(folder, rows):
    """A territory with the line as it is described, whose plant plays the rows."""
    tags = list(rows[0][1])
    with (folder / "plant.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["t", *tags])
        writer.writerows([f"{seconds:.1f}", *values.values()] for seconds, values in rows)
    with (folder / "tags.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tag", "plant", "browse_path", "namespace_uri", "unit", "sampling_ms", "column"])
        for tag in tags:
            machine, kind = tag.split("/")
            writer.writerow([tag, "hall", f"{machine.title()}/{kind.title()}", "urn:uem:test:packml", "1", "10", tag])
    buffers = ", ".join(f'{{ name = "b{k}", capacity = 5 }}' for k in range(1, len(NAMES)))
    (folder / "territory.toml").write_text(
        f"""
name = "shop"
tags = "tags.csv"
[[plants]]
name = "hall"
recording = {{ file = "plant.csv", time_column = "t", epoch = 2024-01-01T00:00:00Z, loop = false }}
[[factories]]
name = "line"
calendar_epoch = 2024-01-01T00:00:00Z
buffers = [{buffers}]
"""
        + "".join(machine_toml(k, name) for k, name in enumerate(NAMES))
    )


def samples(rows, changes_only=True):
    """The rows as OPC UA would send them: values that changed."""
    found, last = [], {}
    for seconds, values in rows:
        for tag, value in values.items():
            if not changes_only or last.get(tag) != value:
                found.append((tag, EPOCH_NS + round(seconds * NS_PER_S), value, 0))
        last = values
    return Samples.from_rows(found)


def value(twin, name):
    return float(twin.snapshot.value[[s.name for s in twin.signals].index(name)])


def columns(snapshots, twin, name):
    k = [s.name for s in twin.signals].index(name)
    return np.array([s.value[k] for s in snapshots])


__all__ = [
    "CYCLES_S",
    "EPOCH_NS",
    "NAMES",
    "columns",
    "line",
    "plant",
    "replace",
    "samples",
    "site",
    "territory",
    "value",
]
