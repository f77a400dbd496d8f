"""One machine followed by its state: against a plain reference, its limits, its ledgers and its refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.machine import Bath, Machine, MachineState
from uem.twin_core.production.machine import UNKNOWN, MachinePlan

READY, SPRAY, DRY, NOWHERE = 2, 3, 7, 99
STATES = (
    MachineState(number=READY, name="ready", power_w=200.0, new_pieces=True),
    MachineState(number=SPRAY, name="spray", power_w=3400.0, bath_heat_w=3000.0, load_exchange_w_per_k=1600.0),
    MachineState(number=DRY, name="dry", power_w=3300.0, peak_power_w=8700.0),
)


def washer(**changes):
    bath = {
        "volume_m3": 0.32,
        "density_kg_m3": 1000.0,
        "heat_capacity_j_kgk": 4190.0,
        "heater_w": 1e4,
        "loss_w_per_k": 22.0,
        "thermostat_on_k": 332.65,
        "thermostat_off_k": 334.5,
        "load_heat_capacity_j_k": 58e3,
        "load_loss_w_per_k": 5.0,
        "pieces_heat_capacity_j_k": 5e3,
        "temperature_tag": "t",
        "hall_temperature_tag": "h",
    }
    return Machine(name="washer", states=STATES, state_tag="s", power_tag="p", bath=Bath(**(bath | changes)))


def dry_machine():
    states = (MachineState(number=1, name="run", power_w=500.0), MachineState(number=0, name="off", power_w=0.0))
    return Machine(name="press", states=states, state_tag="s", power_tag="p")


def told(plan, state, hall_k=293.0, power_w=math.nan):
    inputs = plan.inputs()
    inputs.state_number[:] = state
    inputs.hall_temp_k[:] = hall_k
    inputs.power_w[:] = power_w
    return inputs


class Reference:
    """The same machine in plain Python: one member, matrix exponential of bath, load, their integrals and source."""

    def __init__(self, machine, tank_k, number):
        self.machine, self.tank, self.load, self.number = machine, tank_k, None, number
        self.heater = False
        self.time, self.energy = {}, {}
        self.lost = self.carried = self.entered = 0.0

    def step(self, dt, number, hall, power):
        bath = self.machine.bath
        state = next((s for s in self.machine.states if s.number == number), None)
        name = state.name if state else UNKNOWN
        exchange = state.load_exchange_w_per_k if state else 0.0
        if self.load is None:
            self.load = self.tank if exchange else hall
        if state and state.new_pieces and number != self.number:
            heat = bath.pieces_heat_capacity_j_k * (self.load - hall)
            self.load -= heat / bath.load_heat_capacity_j_k
            self.carried += heat
        self.number = number
        free = math.isnan(power)
        if not free and state:
            self.heater = power - max(state.power_w, state.peak_power_w) > bath.heater_w / 2
        n = math.ceil(dt) if free else 1
        heated = 0.0
        for _ in range(n):
            if free:
                self.heater = self.tank < bath.thermostat_on_k or (self.heater and self.tank <= bath.thermostat_off_k)
            source = self.heater * bath.heater_w + (state.bath_heat_w if state else 0.0)
            self._heat(dt / n, exchange, source, hall)
            heated += self.heater * dt / n
        self.time[name] = self.time.get(name, 0.0) + dt
        if state is None and not free:
            used = power * dt
        else:
            used = (state.power_w if state else 0.0) * dt + heated * bath.heater_w
        self.energy[name] = self.energy.get(name, 0.0) + used
        self.entered += heated * bath.heater_w + (state.bath_heat_w if state else 0.0) * dt

    def _heat(self, h, exchange, source, hall):
        bath = self.machine.bath
        c_b, c_l = bath.content_j_k, bath.load_heat_capacity_j_k
        a = np.zeros((5, 5))  # bath, load, integral of bath, integral of load, one
        a[0] = [-(bath.loss_w_per_k + exchange) / c_b, exchange / c_b, 0, 0, source / c_b]
        a[1] = [exchange / c_l, -(bath.load_loss_w_per_k + exchange) / c_l, 0, 0, 0]
        a[2, 0] = a[3, 1] = 1.0
        x = expm(a * h) @ np.array([self.tank - hall, self.load - hall, 0.0, 0.0, 1.0])
        self.tank, self.load = x[0] + hall, x[1] + hall
        self.lost += bath.loss_w_per_k * x[2] + bath.load_loss_w_per_k * x[3]


steps = st.lists(
    st.tuples(
        st.sampled_from([0.25, 1.0, 2.0, 7.5, 60.0]),
        st.sampled_from([READY, SPRAY, DRY, NOWHERE]),
        st.floats(280.0, 310.0),
        st.sampled_from([math.nan, 0.0, 200.0, 3400.0, 8650.0, 13_400.0, -20.0]),
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(steps, st.floats(300.0, 350.0))
def test_the_kernel_follows_the_plain_reference(course, tank_k):
    plan = MachinePlan(washer())
    run = plan.initial_state(tank_k, READY)
    plain = Reference(plan.machine, tank_k, READY)
    for dt, number, hall, power in course:
        plan.step(run, dt, told(plan, number, hall, power))
        plain.step(dt, number, hall, power)
    assert run.tank_temp_k[0] == pytest.approx(plain.tank, abs=1e-8)
    assert run.load_temp_k[0] == pytest.approx(plain.load, abs=1e-8)
    assert bool(run.heater_on[0]) == plain.heater
    assert run.lost_j[0] == pytest.approx(plain.lost, rel=1e-9, abs=1e-3)
    assert run.pieces_j[0] == pytest.approx(plain.carried, rel=1e-9, abs=1e-3)
    for row, name in enumerate(plan.state_names):
        assert run.time_s[row, 0] == pytest.approx(plain.time.get(name, 0.0), rel=1e-12)
        assert run.energy_j[row, 0] == pytest.approx(plain.energy.get(name, 0.0), rel=1e-12)


@settings(deadline=None)
@given(steps, st.floats(0.0, 500.0), st.floats(0.0, 500.0), st.floats(1.0, 1e6), st.floats(300.0, 350.0))
def test_every_ledger_closes_to_a_billionth(course, loss, load_loss, load, tank_k):
    plan = MachinePlan(
        washer(
            loss_w_per_k=loss, load_loss_w_per_k=load_loss, load_heat_capacity_j_k=load, pieces_heat_capacity_j_k=load
        )
    )
    run = plan.initial_state(tank_k, SPRAY)
    plan.step(run, 1e-9, told(plan, SPRAY))  # finds the temperature of the load
    stored, before = plan.stored_j(run)[0], run.copy()
    elapsed = used = turned_over = 0.0
    for dt, number, hall, power in course:
        plan.step(run, dt, told(plan, number, hall, power))
        elapsed += dt
        used += run.power_w[0] * dt
        turned_over += abs(run.power_w[0]) * dt + (loss + load_loss) * 50.0 * dt
    assert run.time_s.sum() == pytest.approx(elapsed + before.time_s.sum(), rel=1e-9)
    assert run.energy_j.sum() == pytest.approx(used + before.energy_j.sum(), rel=1e-9, abs=1e-9 * turned_over)
    came_in = (run.heater_j + run.pumps_j - run.lost_j - run.pieces_j)[0]
    came_in -= (before.heater_j + before.pumps_j - before.lost_j - before.pieces_j)[0]
    gap = plan.stored_j(run)[0] - stored - came_in
    # 1e-9 of what went through, or the last digits of the 5e8 J that are stored
    assert abs(gap) <= 1e-9 * turned_over + 1e-5


@settings(deadline=None)
@given(st.lists(st.tuples(*(3 * [st.sampled_from([READY, SPRAY, DRY, NOWHERE, math.nan])])), min_size=1, max_size=8))
def test_members_do_not_see_each_other(courses):
    together, alone = MachinePlan(washer(), members=3), MachinePlan(washer())
    many = together.initial_state(333.0, READY)
    ones = [alone.initial_state(333.0, READY) for _ in range(3)]
    halls, powers = np.array([285.0, 293.0, 305.0]), np.array([math.nan, 13_000.0, 200.0])
    for numbers in courses:
        together.step(many, 5.0, told(together, numbers, halls, powers))
        for member, one in enumerate(ones):
            alone.step(one, 5.0, told(alone, numbers[member], halls[member], powers[member]))
    for member, one in enumerate(ones):
        assert many.block[:, member].tobytes() == one.block[:, 0].tobytes()


@settings(deadline=None)
@given(steps)
def test_a_run_saved_and_read_back_goes_on_bit_by_bit(course):
    plan = MachinePlan(washer())
    run = plan.initial_state(334.0, READY)
    for dt, number, hall, power in course:
        plan.step(run, dt, told(plan, number, hall, power))
    back, twin = plan.state_from_bytes(run.to_bytes()), run.copy()
    assert back.to_bytes() == run.to_bytes() == twin.to_bytes()
    for other in (run, back, twin):
        plan.step(other, 15.0, told(plan, SPRAY))
    assert back.to_bytes() == run.to_bytes() == twin.to_bytes()


def test_a_copy_is_independent():
    plan = MachinePlan(washer())
    run = plan.initial_state(334.0, READY)
    twin = run.copy()
    plan.step(twin, 60.0, told(plan, SPRAY))
    assert run.time_s.sum() == 0.0
    assert run.tank_temp_k[0] == 334.0


def test_a_bath_left_alone_cools_exponentially_to_the_hall():
    plan = MachinePlan(washer(heater_w=0.0))
    run = plan.initial_state(340.0, DRY)
    plan.step(run, 36_000.0, told(plan, DRY, 290.0))
    expected = 290.0 + 50.0 * math.exp(-22.0 * 36_000.0 / plan.machine.bath.content_j_k)
    assert run.tank_temp_k[0] == pytest.approx(expected, abs=1e-9)


def test_without_any_loss_bath_and_load_meet_at_their_mixing_temperature():
    plan = MachinePlan(washer(loss_w_per_k=0.0, load_loss_w_per_k=0.0, heater_w=0.0))
    run = plan.initial_state(340.0, DRY)
    plan.step(run, 1.0, told(plan, DRY, 290.0))  # the load begins as cold as the hall
    content, load = plan.machine.bath.content_j_k, plan.machine.bath.load_heat_capacity_j_k
    mixed = (content * 340.0 + load * 290.0) / (content + load)
    for _ in range(50):
        plan.step(run, 3600.0, told(plan, SPRAY, 290.0))
    pumped = 50 * 3600.0 * 3000.0 / (content + load)
    assert run.tank_temp_k[0] == pytest.approx(mixed + pumped, abs=0.1)
    assert run.lost_j[0] == 0.0


def test_a_load_never_followed_is_as_warm_as_what_it_was_in_touch_with():
    plan = MachinePlan(washer())
    for number, expected in ((SPRAY, 333.0), (READY, 293.0)):
        run = plan.initial_state(333.0, number)
        plan.step(run, 1e-9, told(plan, number, 293.0))
        assert run.load_temp_k[0] == pytest.approx(expected, abs=1e-6)


def test_cleaned_pieces_carry_their_heat_away_once_on_entering():
    plan = MachinePlan(washer())
    run = plan.initial_state(333.0, SPRAY)
    for number in (SPRAY, READY, READY, READY):
        plan.step(run, 1.0, told(plan, number, 293.0))
    assert run.pieces_j[0] == pytest.approx(5e3 * 40.0, rel=1e-3)


@pytest.mark.parametrize(
    ("state", "power_w", "heats"),
    [
        (READY, 180.0, 0),
        (READY, 10_190.0, 1),
        (SPRAY, 3_420.0, 0),
        (SPRAY, 13_430.0, 1),
        (DRY, 8_700.0, 0),
        (DRY, 446.0, 0),
    ],
)
def test_measured_power_tells_whether_the_heater_is_on(state, power_w, heats):
    plan = MachinePlan(washer())
    run = plan.initial_state(333.5, state)
    plan.step(run, 1.0, told(plan, state, power_w=power_w))
    assert run.heater_on[0] == heats
    own = next(s.power_w for s in STATES if s.number == state)
    assert run.power_w[0] == own + heats * 1e4


def test_running_free_the_thermostat_keeps_the_bath_in_its_band():
    plan = MachinePlan(washer())
    run = plan.initial_state(331.0, READY)
    temps = []
    for _ in range(8 * 60):
        plan.step(run, 60.0, told(plan, READY))
        temps.append(run.tank_temp_k[0])
    later = temps[60:]
    assert 332.6 < min(later) < 332.8
    assert 334.3 < max(later) < 334.6


def test_running_free_in_steps_of_fifteen_seconds_is_the_same_as_in_steps_of_one():
    plan = MachinePlan(washer())
    fine, coarse = plan.initial_state(332.0, SPRAY), plan.initial_state(332.0, SPRAY)
    for _ in range(40):
        plan.step(coarse, 15.0, told(plan, SPRAY))
        for _ in range(15):
            plan.step(fine, 1.0, told(plan, SPRAY))
    np.testing.assert_allclose(coarse.tank_temp_k, fine.tank_temp_k, atol=1e-9)
    np.testing.assert_allclose(coarse.energy_j, fine.energy_j, rtol=1e-12)


@pytest.mark.parametrize("number", [NOWHERE, -1, 2.5, math.nan, math.inf])
def test_an_unknown_state_is_counted_and_takes_the_measured_power(number):
    plan = MachinePlan(washer())
    run = plan.initial_state(334.0, READY)
    plan.step(run, 4.0, told(plan, number, power_w=1500.0))
    plan.step(run, 4.0, told(plan, number))
    assert plan.state_names[-1] == UNKNOWN
    assert run.time_s[:, 0].tolist() == [0.0, 0.0, 0.0, 8.0]
    assert run.energy_j[:, 0].tolist() == [0.0, 0.0, 0.0, 6000.0]
    assert run.row[0] == 3


def test_in_an_unknown_state_the_heater_stays_as_it_was():
    plan = MachinePlan(washer())
    run = plan.initial_state(334.0, SPRAY)
    plan.step(run, 1.0, told(plan, SPRAY, power_w=13_400.0))
    plan.step(run, 1.0, told(plan, NOWHERE, power_w=200.0))
    assert run.heater_on[0] == 1.0


def test_a_machine_without_bath_needs_no_temperature():
    plan = MachinePlan(dry_machine())
    run = plan.initial_state(math.nan, 1)
    inputs = plan.inputs()
    inputs.state_number[:] = 1
    plan.step(run, 3600.0, inputs)
    assert run.energy_j[0, 0] == 500.0 * 3600.0
    assert math.isnan(run.tank_temp_k[0])
    assert plan.stored_j(run) == 0.0


def test_a_bath_without_load_works():
    bath = replace(washer().bath, load_heat_capacity_j_k=0.0, pieces_heat_capacity_j_k=0.0, load_loss_w_per_k=9.0)
    plan = MachinePlan(replace(washer(), states=STATES[:1], bath=bath))
    run = plan.initial_state(340.0, NOWHERE)
    stored = plan.machine.bath.content_j_k * 340.0
    plan.step(run, 60.0, told(plan, READY, power_w=200.0))
    assert run.pieces_j[0] == 0.0
    assert run.lost_j[0] == pytest.approx(stored - plan.stored_j(run)[0], rel=1e-9)


def test_steps_and_inputs_that_cannot_be_are_refused_and_nothing_is_advanced():
    plan = MachinePlan(washer(), members=2)
    run = plan.initial_state(333.0, READY)
    before = run.to_bytes()
    for dt in (0.0, -1.0, math.nan, math.inf, 1e6):
        with pytest.raises(InvalidInput, match="machine washer: step of"):
            plan.step(run, dt, told(plan, READY))
    with pytest.raises(InvalidInput, match="member 1: hall temperature nan K must be finite"):
        plan.step(run, 1.0, told(plan, READY, [293.0, math.nan]))
    with pytest.raises(InvalidInput, match="power inf W finite or NaN"):
        plan.step(run, 1.0, told(plan, READY, power_w=math.inf))
    with pytest.raises(InvalidInput, match=r"input state_number of shape \(1,\), \(2,\) expected"):
        plan.step(run, 1.0, told(MachinePlan(washer()), READY))
    with pytest.raises(InvalidInput, match="state of shape"):
        plan.step(MachinePlan(washer()).initial_state(333.0, READY), 1.0, told(plan, READY))
    assert run.to_bytes() == before


def test_beginnings_that_cannot_be_are_refused():
    with pytest.raises(InvalidInput, match="0 members"):
        MachinePlan(washer(), members=0)
    for temp_k in (math.nan, -1.0, math.inf):
        with pytest.raises(InvalidInput, match="a bath cannot begin at"):
            MachinePlan(washer()).initial_state(temp_k, READY)


def test_saved_states_that_are_damaged_or_of_another_plan_are_refused():
    plan = MachinePlan(washer())
    data = plan.initial_state(333.0, READY).to_bytes()
    for broken in (data[:-8], data[:-1] + bytes([data[-1] ^ 1]), data + b"\0"):
        with pytest.raises(InvalidInput, match="the saved state is damaged"):
            plan.state_from_bytes(broken)
    with pytest.raises(InvalidInput, match="not the state of a machine"):
        plan.state_from_bytes(b"something else")
    with pytest.raises(InvalidInput, match="saved state of shape"):
        MachinePlan(washer(), members=2).state_from_bytes(data)
