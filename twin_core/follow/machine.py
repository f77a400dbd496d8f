"""Follows a machine: operating state, hall temperature and measured power in; power, bath and ledgers out.

A step of a second counts with what the newest sample at its end says; without a new one the last one holds. Measured
power tells whether the heater is on; power and bath temperature of the twin are the model's own, so they can be held
against the measured ones.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import ModelFailure
from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.estimation.residuals import RunningResiduals
from uem.twin_core.estimation.timeline import Reading
from uem.twin_core.follow.follower import ForecastSignal
from uem.twin_core.follow.ledger import LedgerTime
from uem.twin_core.follow.writer import Writer
from uem.twin_core.measurements import NS_PER_S, is_good
from uem.twin_core.plant.machine import Machine
from uem.twin_core.production.machine import UNKNOWN, MachineInputs, MachinePlan
from uem.twin_core.state import Columns, Signal, Source

STEP_S = 1.0  # controllers report once a second
STEP_NS = round(STEP_S * NS_PER_S)
PRIOR_TANK_SD_K = 1.0
PRIOR_POWER_PART = 0.3  # of the largest power of the machine
PATIENCE = Patience(wait_s=10.0, stale_s=15.0, restart_s=30.0, gap_s=6 * 3600.0, memory_s=0.0, warm_up_s=7200.0)
METER_CLASS = 0.01  # part of a measured energy that may be wrong: class B, EN 50470-3


class MachineFollower:
    """A machine plan, its run and what was measured beside it."""

    forecast_method = "Forward simulation from the present state, operating state and hall temperature held"
    step_s = STEP_S
    contradiction_count = 0  # its inputs do not depend on each other

    def __init__(self, machine: Machine) -> None:
        self.name = machine.name
        self._machine = machine
        self._bath = machine.bath
        self._plan = MachinePlan(machine)
        hall = [machine.bath.hall_temperature_tag, machine.bath.temperature_tag] if machine.bath else []
        self.required_tags: Sequence[str] = (machine.state_tag, machine.power_tag, *hall)
        self.optional_tags: Sequence[str] = ()
        self.discrete_tags: Mapping[str, Sequence[str]] = {machine.state_tag: self.required_tags[1:]}
        self.forecast_horizon_s, self.forecast_step_s = machine.forecast_horizon_s, machine.forecast_step_s
        self.patience = replace(PATIENCE, memory_s=machine.forecast_step_s)  # to take the mean power of
        self.signals = _signals(machine)
        power = max(state.power_w for state in machine.states) + (machine.bath.heater_w if machine.bath else 0.0)
        self._largest_w = max(power, 1.0)
        power_sd = PRIOR_POWER_PART * self._largest_w
        self.forecast_signals: tuple[ForecastSignal, ...] = (
            ForecastSignal(signal=self._signal("power"), prior_sd=power_sd, low=0.0),
        )
        if machine.bath:
            tank = ForecastSignal(signal=self._signal("tank/temperature"), prior_sd=PRIOR_TANK_SD_K)
            self.forecast_signals += (tank,)
        self._power_error = RunningResiduals(power_sd)
        self._tank_error = RunningResiduals(PRIOR_TANK_SD_K)

    def _signal(self, name: str) -> Signal:
        return next(signal for signal in self.signals if signal.name == name)

    def start(self, intake: Intake, time_ns: int) -> None:
        """Begin with the measured bath temperature and empty ledgers."""
        tank = intake.at(self._bath.temperature_tag, time_ns).value if self._bath else math.nan
        self._run = self._plan.initial_state(tank, intake.before(self._machine.state_tag, time_ns).value)
        first = self._run.copy()  # what power the model gives here
        self._plan.step(first, STEP_S, self._inputs(intake, time_ns))
        self._run.power_w[:] = first.power_w
        self._before = self._run.copy()
        self._measured_j = self._measured_before_j = 0.0
        self._times = self._times_before = LedgerTime(), LedgerTime()  # of the meter, of the model
        self._judged: list[RunningResiduals] = []

    def step(self, intake: Intake, begin_ns: int, end_ns: int) -> None:
        """Hold the inputs known at the end over the step."""
        self._before, self._measured_before_j = self._run.copy(), self._measured_j
        self._times_before, self._judged = self._times, []
        inputs = self._inputs(intake, end_ns)
        dt_s = (end_ns - begin_ns) / NS_PER_S
        self._plan.step(self._run, dt_s, inputs)
        if not np.isfinite([self._run.power_w[0], self._run.tank_temp_k[0] if self._bath else 0.0]).all():
            raise ModelFailure(f"machine {self.name}: power or bath temperature is not finite after a step")
        self._measured_j += float(inputs.power_w[0]) * dt_s
        self._book(dt_s, *self._measured(intake, end_ns))
        if intake.measured_between(self._machine.power_tag, begin_ns, end_ns):
            self._judge(self._power_error, float(inputs.power_w[0] - self._run.power_w[0]))
        if self._bath and intake.measured_between(self._bath.temperature_tag, begin_ns, end_ns):
            measured = intake.at(self._bath.temperature_tag, end_ns)
            self._judge(self._tank_error, measured.value - float(self._run.tank_temp_k[0]))

    def _judge(self, error: RunningResiduals, residual: float) -> None:
        error.add(residual)
        self._judged.append(error)

    def _measured(self, intake: Intake, time_ns: int) -> tuple[bool, bool]:
        """Whether the meter, and whether all inputs of the model, said something at this time."""
        hall = [self._bath.hall_temperature_tag] if self._bath else []
        tags = (self._machine.power_tag, self._machine.state_tag, *hall)
        good = [is_good(intake.before(tag, time_ns).quality) for tag in tags]
        return good[0], all(good)

    def _book(self, dt_s: float, meter: bool, model: bool) -> None:
        of_meter, of_model = self._times
        self._times = of_meter.plus(dt_s, measured=meter), of_model.plus(dt_s, measured=model)

    def _inputs(self, intake: Intake, time_ns: int) -> MachineInputs:
        inputs = self._plan.inputs()
        inputs.state_number[0] = intake.before(self._machine.state_tag, time_ns).value
        inputs.power_w[0] = intake.before(self._machine.power_tag, time_ns).value
        if self._bath:
            inputs.hall_temp_k[0] = intake.before(self._bath.hall_temperature_tag, time_ns).value
        return inputs

    def roll_back(self, dt_s: float) -> None:
        """Undo the last step; its time is booked as not lived through."""
        self._run, self._measured_j, self._times = self._before, self._measured_before_j, self._times_before
        self._book(dt_s, meter=False, model=False)
        self._times_before = self._times
        for error in self._judged:
            error.undo()

    def write(self, intake: Intake, time_ns: int, columns: Columns) -> None:
        """Power of the twin is its mean over the step."""
        readings = {tag: intake.before(tag, time_ns) for tag in self.required_tags}
        writer = Writer(columns, time_ns, readings.values())
        writer.measured("state", readings[self._machine.state_tag])
        writer.measured("power", readings[self._machine.power_tag])
        writer.own("power/twin", float(self._run.power_w[0]), self._power_error.standard_deviation)
        writer.own("power/bias", self._power_error.bias, self._power_error.standard_deviation)
        if self._bath:
            error = self._tank_error
            writer.measured("tank/temperature", readings[self._bath.temperature_tag])
            writer.own("tank/temperature/twin", float(self._run.tank_temp_k[0]), error.standard_deviation)
            writer.own("tank/temperature/bias", error.bias, error.standard_deviation)
            writer.measured("hall/temperature", readings[self._bath.hall_temperature_tag])
        self._write_ledger(writer)

    def _write_ledger(self, writer: Writer) -> None:
        """What was not measured may be anything up to the largest power of the machine."""
        of_meter, of_model = self._times
        meter_gap_j, model_gap_j = (time.unmeasured_s * self._largest_w for time in self._times)
        time_s, energy_j = self._run.time_s[:, 0], self._run.energy_j[:, 0]
        bias_w, total_j = abs(self._power_error.bias), float(energy_j.sum())
        energy_sd_j = METER_CLASS * abs(self._measured_j) + meter_gap_j
        writer.own("energy", self._measured_j, energy_sd_j, settled=of_meter.is_measured)
        total_sd_j = bias_w * float(time_s.sum()) + METER_CLASS * total_j + model_gap_j
        writer.own("energy/twin", total_j, total_sd_j, settled=of_model.is_measured)
        for row, key in enumerate(_state_keys(self._machine)):
            seconds, joules = float(time_s[row]), float(energy_j[row])
            seconds_sd = (STEP_S if seconds else 0.0) + of_model.unmeasured_s
            writer.own(f"state/{key}/time", seconds, seconds_sd, settled=of_model.is_measured)
            joules_sd = bias_w * seconds + METER_CLASS * joules + model_gap_j
            writer.own(f"state/{key}/energy", joules, joules_sd, settled=of_model.is_measured)

    def project(self, intake: Intake, time_ns: int, step_s: float, count: int) -> NDArray[np.float64]:
        """Operating state and hall stay as they are; the thermostat decides on the heater. Power is a mean per step."""
        run, inputs = self._run.copy(), self._inputs(intake, time_ns)
        inputs.power_w[0] = math.nan
        out = np.empty((count, len(self.forecast_signals)))
        for i in range(count):
            self._plan.step(run, step_s, inputs)
            out[i, 0] = run.power_w[0]
            if self._bath:
                out[i, 1] = run.tank_temp_k[0]
        return out

    def observe(self, intake: Intake, time_ns: int) -> NDArray[np.float64]:
        """Mean of the measured power over the last forecast step and bath temperature now, as far as they are good."""
        seconds = max(1, round(self.forecast_step_s / STEP_S))
        found = [_mean(intake.before(self._machine.power_tag, time_ns - k * STEP_NS) for k in range(seconds))]
        if self._bath:
            found.append(_mean([intake.before(self._bath.temperature_tag, time_ns)]))
        return np.array(found)


def _mean(readings: Iterable[Reading]) -> float:
    """NaN if one of them is not good."""
    known = list(readings)
    return math.fsum(r.value for r in known) / len(known) if all(is_good(r.quality) for r in known) else math.nan


def _state_keys(machine: Machine) -> list[str]:
    """A name per row of the ledger."""
    return [*(str(state.number) for state in machine.states), UNKNOWN]


def _signals(machine: Machine) -> tuple[Signal, ...]:
    names = {state.number: state.name for state in machine.states}
    found = [
        Signal("state", "1", Source.MEASURED, state_names=names),
        Signal("power", "W", Source.MEASURED),
        Signal("power/twin", "W", Source.ESTIMATED, compared_with="power"),
        Signal("power/bias", "W", Source.ESTIMATED),
    ]
    if machine.bath:
        found += [
            Signal("tank/temperature", "K", Source.MEASURED),
            Signal("tank/temperature/twin", "K", Source.ESTIMATED, compared_with="tank/temperature"),
            Signal("tank/temperature/bias", "K", Source.ESTIMATED, is_difference=True),
            Signal("hall/temperature", "K", Source.MEASURED),
        ]
    found += [
        Signal("energy", "J", Source.LEDGER),
        Signal("energy/twin", "J", Source.LEDGER, compared_with="energy"),
    ]
    for key in _state_keys(machine):
        found.append(Signal(f"state/{key}/time", "s", Source.LEDGER))
        found.append(Signal(f"state/{key}/energy", "J", Source.LEDGER))
    return tuple(found)
