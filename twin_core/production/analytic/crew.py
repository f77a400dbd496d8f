"""Machines and their repair workers (Palm 1947; Kleinrock 1 sec. 3.8): the machine repairman, closed form."""

from dataclasses import dataclass

import numpy as np

from uem.twin_core.production.analytic.checks import positive, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairCrew:
    """Long-run figures. Times in the unit of the rates; `crew_busy` is the share of the time a worker works."""

    mean_down: float
    availability: float
    crew_busy: float
    mean_downtime: float
    mean_wait_for_crew: float


def repair_crew(machines: int, workers: int, failure_rate: float, repair_rate: float) -> RepairCrew:
    """`machines` equal machines that fail while up, `workers` who repair one each, first broken first repaired.

    Down machines are a birth-death process with rates (n - k) failure_rate and min(k, workers) repair_rate.

    Raises:
        InvalidInput: a rate is not positive or a number not whole.
    """
    whole(1, machines=machines, workers=workers)
    positive(failure_rate=failure_rate, repair_rate=repair_rate)
    n, c = int(machines), int(workers)
    down = np.arange(n + 1)
    up_rate, down_rate = (n - down[:-1]) * failure_rate, np.minimum(down[1:], c) * repair_rate
    weight = np.concatenate([[0.0], np.cumsum(np.log(up_rate) - np.log(down_rate))])
    p = np.exp(weight - weight.max())
    p /= p.sum()
    mean_down = float(down @ p)
    failures = failure_rate * (n - mean_down)
    return RepairCrew(
        mean_down=mean_down,
        availability=1.0 - mean_down / n,
        crew_busy=float(np.minimum(down, c) @ p) / c,
        mean_downtime=mean_down / failures,
        mean_wait_for_crew=mean_down / failures - 1.0 / repair_rate,
    )
