"""Validation of the production side: the measured cleaning machine, played through the machine model.

The parameters are those of the shipped territory `pongau`; where each comes from stands in docs/models/production.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate.case import Case, Result, UnusableFile, read_columns, read_rows
from uem.territories.load import load
from uem.twin_core.plant.machine import Machine
from uem.twin_core.production.machine import MachinePlan, MachineRun
from uem.twin_core.units import ZERO_CELSIUS_K

Array = NDArray[np.float64]

SUITE: Final = "production"
CASE: Final = "cleaning machine"
# The load of the model was fitted to what comes before; what comes after was seen by no fit.
FITTED_S: Final = 907.0
# What the machine's own controller assumes: p_clean and p_int of its log, W, by state number.
CONTROLLER_POWER_W: Final = {3: 3430.0, 9: 200.0}


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording of the machine, one row per sample that holds until the next; all arrays of shape (rows,)."""

    time_s: Array
    dt_s: Array
    state: Array
    power_w: Array
    tank_temp_k: Array
    hall_temp_k: Array


@dataclass(frozen=True, slots=True)
class Replay:
    """What the model made of a recording."""

    run: MachineRun
    tank_temp_k: Array  # at the samples
    used_j: float  # sum of mean power * step
    stored_j: float  # gained by bath and load
    came_in_j: float  # by the ledger of the bath
    turned_over_j: float


def cleaning_machine(path: Path) -> Iterator[Result]:
    """Energy and bath temperature, with the heater as the measured power shows it and with the thermostat alone."""
    recording = read_recording(path)
    machine = washer()
    live = replay(machine, recording)
    free = replay(machine, recording, running_free=True)
    controller = replay(with_controller_powers(machine), recording)
    plain = replay(without_load(machine), recording)
    yield from energy_results(machine, recording, live, controller)
    yield from tank_results(recording, live, free, plain)
    measured_j = float(recording.power_w @ recording.dt_s)
    yield _result("energy, heater by thermostat", _percent(free.run.energy_j.sum(), measured_j), "%", 2.0)
    yield from ledger_results(recording, live)


def energy_results(machine: Machine, recording: Recording, live: Replay, controller: Replay) -> Iterator[Result]:
    """Energy in all and by state against the measured one; the reference takes the controller's powers instead."""
    measured = recording.power_w * recording.dt_s
    total, other = live.run.energy_j.sum(), controller.run.energy_j.sum()
    yield _result("energy", _percent(total, measured.sum()), "%", 2.0, _percent(other, measured.sum()))
    for row, state in enumerate(machine.states):
        measured_j = measured[recording.state == state.number].sum()
        if measured_j <= 0:
            continue
        other = controller.run.energy_j[row, 0] if state.number in CONTROLLER_POWER_W else np.nan
        yield _result(
            f"energy, {state.name}",
            _percent(live.run.energy_j[row, 0], measured_j),
            "%",
            2.0,
            _percent(other, measured_j),
        )
    yield _result("time in unknown states", float(live.run.time_s[-1, 0]), "s", 0.0)


def tank_results(recording: Recording, live: Replay, free: Replay, plain: Replay) -> Iterator[Result]:
    """Bath temperature; the reference is one lumped bath without load or pump heat."""
    later = recording.time_s >= FITTED_S
    measured = recording.tank_temp_k

    def rmse(replayed: Replay, rows: NDArray[np.bool_] | slice = slice(None)) -> float:
        return float(np.sqrt(np.mean((replayed.tank_temp_k - measured)[rows] ** 2)))

    yield _result("tank RMSE", rmse(live), "K", 0.3, rmse(plain))
    if later.any():
        yield _result("tank RMSE, after the fitted rows", rmse(live, later), "K", 0.3, rmse(plain, later))
    yield _result("tank RMSE, heater by thermostat", rmse(free), "K", 0.3)


def ledger_results(recording: Recording, live: Replay) -> Iterator[Result]:
    """How far time, energy and bath heat are from closing, each as a fraction of what went through."""
    elapsed_s = float(recording.dt_s.sum())
    gaps = {
        "time ledger gap": abs(live.run.time_s.sum() / elapsed_s - 1.0),
        "energy ledger gap": abs(live.run.energy_j.sum() - live.used_j) / max(abs(live.used_j), 1.0),
        "bath ledger gap": abs(live.stored_j - live.came_in_j) / max(live.turned_over_j, 1.0),
    }
    for metric, value in gaps.items():
        yield _result(metric, float(value), "1", 1e-9)


def washer() -> Machine:
    """The cleaning machine of the shipped territory."""
    machine = load("pongau").asset("washer")
    assert isinstance(machine, Machine)
    return machine


def with_controller_powers(machine: Machine) -> Machine:
    """The machine with the powers that its own controller assumes."""
    return replace(
        machine,
        states=tuple(replace(s, power_w=CONTROLLER_POWER_W.get(s.number, s.power_w)) for s in machine.states),
    )


def without_load(machine: Machine) -> Machine:
    """The machine as one lumped bath: nothing but heater and loss to the hall."""
    assert machine.bath is not None
    bath = replace(machine.bath, load_heat_capacity_j_k=0.0, load_loss_w_per_k=0.0, pieces_heat_capacity_j_k=0.0)
    states = (replace(s, bath_heat_w=0.0, load_exchange_w_per_k=0.0, new_pieces=False) for s in machine.states)
    return replace(machine, bath=bath, states=tuple(states))


def replay(machine: Machine, recording: Recording, *, running_free: bool = False) -> Replay:
    """Play the states and hall temperatures of a recording through the model, from the measured bath temperature.

    The measured power is used for nothing but whether the bath heater is on; not at all when `running_free`.
    """
    plan = MachinePlan(machine)
    run = plan.initial_state(float(recording.tank_temp_k[:10].mean()), float(recording.state[0]))
    inputs = plan.inputs()
    tank = np.empty_like(recording.time_s)
    used_j, stored_j, before_j = 0.0, 0.0, np.nan
    for i, dt_s in enumerate(recording.dt_s.tolist()):
        tank[i] = run.tank_temp_k[0]
        inputs.state_number[0] = recording.state[i]
        inputs.hall_temp_k[0] = recording.hall_temp_k[i]
        inputs.power_w[0] = np.nan if running_free else recording.power_w[i]
        plan.step(run, dt_s, inputs)
        used_j += float(run.power_w[0]) * dt_s
        if i == 0:  # the first step finds the temperature of the load: the heat ledger is judged from its end
            stored_j, before_j = -float(plan.stored_j(run)[0]), _came_in_j(run)
    stored_j += float(plan.stored_j(run)[0])
    turned_over_j = float((run.heater_j + run.pumps_j + run.lost_j + abs(run.pieces_j))[0])
    return Replay(run, tank, used_j, stored_j, _came_in_j(run) - before_j, turned_over_j)


def read_recording(path: Path) -> Recording:
    """Read a recording of the cleaning machine; UnusableFile names the column or row that is wrong."""
    names = ["nKEAOperatingState", "fRealPower", "fTankTemperature", "fHallTemperature"]
    columns = read_columns(path, names, gaps=["fHallTemperature"])
    state, power, tank, hall = (columns[name] for name in names)
    time_s = _seconds(path)
    known = np.flatnonzero(np.isfinite(hall))
    if not len(known):
        raise UnusableFile(path, "column 'fHallTemperature' holds no number")
    # a gap holds the value before it; the first one, the value after it
    hall = hall[known[np.maximum(np.searchsorted(known, np.arange(len(hall)), side="right") - 1, 0)]]
    steps = np.diff(time_s)
    if not len(steps) or not np.all(steps > 0):
        raise UnusableFile(path, "column 'Timestamp' must increase from row to row, over at least two rows")
    dt_s = np.append(steps, np.median(steps))
    return Recording(time_s, dt_s, state, power, tank + ZERO_CELSIUS_K, hall + ZERO_CELSIUS_K)


def _seconds(path: Path) -> Array:
    rows = read_rows(path, ["Timestamp"])
    times = []
    for line, row in rows:
        try:
            times.append(datetime.fromisoformat(row["Timestamp"]))
        except ValueError:
            raise UnusableFile(
                path, f"line {line}: column 'Timestamp' holds {row['Timestamp']!r}, a date and time is expected"
            ) from None
    try:
        return np.array([(time - times[0]).total_seconds() for time in times])
    except TypeError:
        raise UnusableFile(path, "column 'Timestamp' has a time zone in some rows and none in others") from None


def _came_in_j(run: MachineRun) -> float:
    return float((run.heater_j + run.pumps_j - run.lost_j - run.pieces_j)[0])


def _percent(value: float, measured: float) -> float:
    return float(100.0 * abs(np.float64(value) / measured - 1.0))  # infinite where nothing was measured


def _result(metric: str, value: float, unit: str, bar: float, reference: float = np.nan) -> Result:
    return Result(suite=SUITE, case=CASE, metric=metric, value=value, unit=unit, bar=bar, reference=reference)


SUITES: dict[str, Case] = {"kea_cleaning_machine*.csv": cleaning_machine}
