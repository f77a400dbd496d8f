"""How good forecasts of the valley's network are over days of its season, in truth not as its twin believes it to be.

`python tests/twin_core/follow/foreseen_days.py` prints the table of docs/models/forecast.md (some minutes of CPU).
"""

import argparse

import numpy as np

from uem.hardware_adapters.simulator.season import Season
from uem.hardware_adapters.simulator.truth import NetworkTruth
from uem.territories.load import load
from uem.twin_core.estimation.intake import Intake
from uem.twin_core.follow.metered import MeteredFollower
from uem.twin_core.forecast.day_ahead import DayAhead
from uem.twin_core.forecast.forks import ForkForecaster
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.plant.groups import alike
from uem.twin_core.plant.units import Substation

STEP_S, LEADS, EVERY_S = 900.0, 96, 3 * 3600.0
STEP_NS = round(STEP_S * NS_PER_S)
SETTLE = 48  # steps before the first
LEVELS = (0.1, 0.9)
SHOWN = {"all": slice(0, 96), "1 h": slice(0, 4)} | {
    f"{k} to {k + 4} h": slice(4 * k, 4 * k + 16) for k in range(0, 24, 4)
}


def lived(days, seed, begin_day=0):
    """The follower, what was observed of its forecast signals by time, and the forecasts issued on the way.

    `begin_day`: counted from the epoch of the territory.
    """
    territory = load("vallee")
    network = territory.networks[0]
    sensors = {binding.column: binding.tag.name for binding in territory.tags if binding.column}
    truth = NetworkTruth(network, sensors, seed=seed)
    season = Season(territory.simulation, truth)
    stations = [unit for unit in network.units if isinstance(unit, Substation)]
    groups = {f"demand/{stem}": some for stem, some in alike([unit.name for unit in stations]).items()}
    nominal_w = np.array([unit.nominal_heat_w + unit.nominal_hot_water_w for unit in stations])
    demand = DayAhead("valley/demand", nominal_w, groups)
    follower = MeteredFollower(network, sensors)
    forecaster = ForkForecaster(follower, EVERY_S)
    intake = Intake(follower.required_tags, follower.optional_tags, follower.patience)
    time_ns = territory.simulation.epoch_ns // STEP_NS * STEP_NS + (begin_day * LEADS - SETTLE) * STEP_NS
    truth.fill(343.15)  # and stays with the longer inner steps of settling, or days would take hours
    before_ns, observed, issued = None, {}, []
    for number in range(SETTLE + days * LEADS):
        season.drive(time_ns)
        truth.step(STEP_S)
        time_ns += STEP_NS
        if number < SETTLE:
            continue
        rows = list(truth.rows(time_ns))
        told = {tag: value for tag, _, value, quality in rows if quality == 0}
        taken_w = -np.array([told.get(sensors[f"unit/{unit.name}/heat"], np.nan) for unit in stations])
        demand.take(time_ns, taken_w, truth.outdoor_k - 273.15)
        for series in demand.forecast().series:
            follower.hear(demand.name, series.signal, series.valid_time_ns, series.value)
        intake.take(Samples.from_rows(rows))
        if before_ns is not None:
            follower.step(intake, before_ns, time_ns)
            observed[time_ns] = follower.observe(intake, time_ns)
            if forecaster.tick(intake, time_ns):
                issued.append(forecaster.issued(intake, time_ns))
            intake.forget_before(time_ns)
        elif intake.start_ns is not None:
            follower.start(intake, time_ns)
            forecaster.start(time_ns)
        before_ns = time_ns if before_ns is not None or intake.start_ns is not None else None
    return follower, observed, issued


def errors(observed, issued, signals):
    """Measured minus forecast, minus what was measured at the issue, and whether the band held; (issues, leads, n)."""
    held, off, persisted = (np.full((len(issued), LEADS, len(signals)), np.nan) for _ in range(3))
    for i, found in enumerate(issued):
        low, high = (found.levels.index(level) for level in LEVELS)
        for s, k in enumerate(signals):
            series = found.series[k]
            for lead, time_ns in enumerate(series.valid_time_ns.tolist()):
                measured = observed[time_ns][k] if time_ns in observed else np.nan
                if np.isfinite(measured):
                    held[i, lead, s] = series.quantile[lead, low] <= measured <= series.quantile[lead, high]
                    off[i, lead, s] = measured - series.value[lead]
                    persisted[i, lead, s] = measured - observed.get(found.issue_time_ns, np.full(k + 1, np.nan))[k]
    return held, off, persisted


def main():
    """Print a row for each kind of signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=24, help="the first half is for learning")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--begin", type=int, default=0, help="days after the epoch, or before it")
    asked = parser.parse_args()
    follower, observed, issued = lived(asked.days, asked.seed, asked.begin)
    issued = issued[len(issued) // 2 :]
    names = [each.signal.name for each in follower.forecast_signals]
    supply = [k for k, name in enumerate(names) if name.startswith("node/") and "-" in name and name[5].islower()]
    at_plant = ("hot-header", "return-header", "suction", "tank-bottom", "wood-outlet", "graphite")
    plant = [k for k in supply if any(place in names[k] for place in at_plant)]
    rows = {"supply at stations": [k for k in supply if k not in plant], "at the plant": plant}
    rows |= {name: [k] for k, name in enumerate(names) if name.startswith("unit/")}
    print(
        "| | " + " | ".join(SHOWN) + " |  (80 % band; root mean square error; that of the value at the issue; K or kW)"
    )
    for title, signals in rows.items():
        held, off, persisted = errors(observed, issued, signals)
        scale = 1e3 if title.startswith("unit/") else 1.0
        cells = [
            f"{np.nanmean(held[:, leads]):.0%}, {np.sqrt(np.nanmean(off[:, leads] ** 2)) / scale:.3g}, "
            f"{np.sqrt(np.nanmean(persisted[:, leads] ** 2)) / scale:.3g}"
            for leads in SHOWN.values()
        ]
        print(f"| {title} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
