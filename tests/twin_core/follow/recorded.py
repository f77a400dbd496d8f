"""The hardening shop of `quartier` as it is in truth: rows of what its controllers tell, for its recording.

`python tests/twin_core/follow/recorded.py` writes examples/quartier/shop.csv again.
"""

import csv
import math
from pathlib import Path

import numpy as np

from uem.territories.load import load
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.plant.factory import slots_apart
from uem.twin_core.production.indicators import PACKML
from uem.twin_core.production.plan import STATES, FactoryPlan

BEGIN_S = 33 * 3600.0  # Tuesday, 9:00
TICK_S = 1.0
SENSOR_SD_K = 0.5
SEED = 20240116


def rows(hours, *, seed=SEED, stops=(), stopped_after_s=math.inf):
    """(seconds, {tag: value}) whenever something changed; `stops`: machines that go down for good then."""
    site = slots_apart(load("quartier").factories[0])
    plan = FactoryPlan(site.factory)
    run = plan.initial_run(seed=seed)
    plan.run(run, BEGIN_S)
    plan.clear_ledger(run)
    server, found, last = run.view["server"], [], {}
    level, noise = run.view["buffer"]["level"], np.random.default_rng(seed)
    chamber_k, outdoor_k = 0.0, 0.0
    for k in range(round(hours * 3600.0 / TICK_S) + 1):
        plan.run(run, BEGIN_S + k * TICK_S)
        if k * TICK_S == stopped_after_s:
            plan.inject(run, machines=dict.fromkeys(stops, "down"), left_s=dict.fromkeys(stops, 1e6))
        if k % 60 == 0:
            furnaces = plan.spent(run).furnaces
            chamber_k = round(float(furnaces.temperature_k[0, 0, 0]) + noise.normal(0.0, SENSOR_SD_K), 1)
        if k % 300 == 0:
            outdoor_k = round(271.15 + 3.0 * math.sin(2 * math.pi * (BEGIN_S + k * TICK_S - 9 * 3600) / 86_400), 2)
        values = {"weather/temperature": outdoor_k}
        for m, machine in enumerate(site.factory.machines):
            tags, state = site.machine_tags[machine.name], STATES[server["shown"][m]]
            values[tags.state_tag] = int(PACKML[state])
            values[tags.good_tag] = int(server["made"][m] - server["scrapped"][m])
            if tags.scrap_tag:
                values[tags.scrap_tag] = int(server["scrapped"][m])
            if tags.batch_tag:
                values[tags.batch_tag] = int(server["load"][m]) if state == "busy" else 0
            if tags.temperature_tag:
                values[tags.temperature_tag] = chamber_k
        values |= {site.level_tags[b.name]: int(n) for b, n in zip(site.factory.buffers, level, strict=True)}
        if values != last:
            found.append((k * TICK_S, values))
            last = values
    return found


def true_run(hours, seed=SEED):
    """(plan, its run) of the true shop after so many hours of the recording."""
    plan = FactoryPlan(slots_apart(load("quartier").factories[0]).factory)
    run = plan.initial_run(seed=seed)
    plan.run(run, BEGIN_S)
    plan.clear_ledger(run)
    plan.run(run, BEGIN_S + hours * 3600.0)
    return plan, run


def write(path, found):
    """As a recording."""
    tags = list(found[0][1])
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["time_s", *tags])
        writer.writerows([f"{seconds:.0f}", *values.values()] for seconds, values in found)


def samples(found, epoch_ns):
    """The rows as OPC UA would send them: values that changed."""
    told, last = [], {}
    for seconds, values in found:
        told += [
            (tag, epoch_ns + round(seconds * NS_PER_S), float(v), 0) for tag, v in values.items() if last.get(tag) != v
        ]
        last = values
    return Samples.from_rows(told)


__all__ = ["BEGIN_S", "rows", "samples", "true_run", "write"]

if __name__ == "__main__":
    write(Path(__file__).resolve().parents[3] / "examples" / "quartier" / "shop.csv", rows(4.0))
