"""One machine followed by its operating state: power, bath temperature, time and energy per state.

The plan is what never changes and may be shared between threads; the run is what a step advances, in place. Every
array has the members last, so that one call serves the live twin (one member) and an ensemble alike. Equations and
conventions: docs/models/production.md.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.machine import Bath, Machine
from uem.twin_core.production import kernel

Array = NDArray[np.float64]

UNKNOWN: Final = "unknown"
LONGEST_STEP_S: Final = 86_400.0
_HEADER: Final = struct.Struct("<4sIII")
_MAGIC: Final = b"uMR1"


@dataclass(frozen=True, slots=True)
class MachineInputs:
    """What a machine is told for a step; fill the arrays in place, each of shape (members,).

    `state_number` as the controller reports it: NaN or a number that the table lacks counts as unknown.
    `hall_temp_k` must be finite if the machine has a bath. `power_w` is the measured electric power, which tells
    whether the bath heater is on; NaN lets the thermostat decide.
    """

    state_number: Array
    hall_temp_k: Array
    power_w: Array


class MachineRun:
    """The state of one machine for all members: named views of one block of float64, which is all there is to copy.

    Fields of shape (members,): `tank_temp_k` and `load_temp_k`; `heater_on`, 0 or 1; `row`, where in the ledger the
    operating state counts; `power_w` of the model, mean over the last step (NaN before the first). In joules since the
    start: `heater_j` and `pumps_j` warmed the bath, `lost_j` went to the hall, `pieces_j` left with cleaned pieces.
    The ledger has shape (n_states + 1, members), the last row for unknown states: `time_s`, `energy_j`.
    """

    __slots__ = (
        "block",
        "energy_j",
        "heater_j",
        "heater_on",
        "load_temp_k",
        "lost_j",
        "pieces_j",
        "power_w",
        "pumps_j",
        "row",
        "tank_temp_k",
        "time_s",
    )

    def __init__(self, block: Array) -> None:
        """`block` has shape (kernel.N_FIELDS + 2 * (n_states + 1), members) and is kept, not copied."""
        self.block = block
        self.tank_temp_k: Array = block[0]
        self.load_temp_k: Array = block[1]
        self.heater_on: Array = block[2]
        self.row: Array = block[3]
        self.power_w: Array = block[4]
        self.heater_j: Array = block[5]
        self.pumps_j: Array = block[6]
        self.lost_j: Array = block[7]
        self.pieces_j: Array = block[8]
        self.time_s, self.energy_j = np.split(block[kernel.N_FIELDS :], 2)

    def copy(self) -> "MachineRun":
        """An independent copy."""
        return MachineRun(self.block.copy())

    def to_bytes(self) -> bytes:
        """The state as bytes, which `MachinePlan.state_from_bytes` turns back bit by bit."""
        content = self.block.astype("<f8", copy=False).tobytes()
        return _HEADER.pack(_MAGIC, *self.block.shape, zlib.crc32(content)) + content


class MachinePlan:
    """What is worked out once for a machine: tables of its states and bath in the layout of the kernel."""

    def __init__(self, machine: Machine, members: int = 1) -> None:
        """A plan for `members` independent copies of `machine`; InvalidInput if there is not at least one."""
        if members < 1:
            raise InvalidInput(f"machine {machine.name}: {members} members; at least 1 is needed")
        self.machine = machine
        self.members = members
        self.state_names: tuple[str, ...] = (*(state.name for state in machine.states), UNKNOWN)
        self._table = _table(machine)
        self._bath = _bath_row(machine.bath)

    def initial_state(self, tank_temp_k: float, state_number: float) -> MachineRun:
        """A run that begins now, its ledgers empty, the heater off.

        The load counts as warm as the bath if the first step finds them in exchange, else as cold as the hall.

        Raises:
            InvalidInput: the machine has a bath and `tank_temp_k` is not a temperature.
        """
        if self.machine.bath is not None and not (math.isfinite(tank_temp_k) and tank_temp_k > 0):
            raise InvalidInput(f"machine {self.machine.name}: a bath cannot begin at {tank_temp_k} K")
        run = MachineRun(np.zeros(self._shape))
        run.tank_temp_k[:] = tank_temp_k if self.machine.bath is not None else np.nan
        run.load_temp_k[:] = np.nan
        run.power_w[:] = np.nan
        known = [float(state.number) for state in self.machine.states]
        run.row[:] = known.index(state_number) if state_number in known else len(known)
        return run

    def inputs(self) -> MachineInputs:
        """Inputs to fill: nothing known, running free."""
        return MachineInputs(*(np.full(self.members, np.nan) for _ in range(3)))

    def step(self, run: MachineRun, dt_s: float, inputs: MachineInputs) -> None:
        """Advance `run` in place by `dt_s` seconds, over which the inputs are constant.

        An unknown state number is counted in the last row of the ledger, with the measured power if there is one.

        Raises:
            InvalidInput: `dt_s` is not in (0, 1 day], an array has another number of members, or the hall
                temperature that a bath needs is not finite. Nothing was advanced then.
        """
        name = self.machine.name
        if not 0.0 < dt_s <= LONGEST_STEP_S:
            raise InvalidInput(f"machine {name}: step of {dt_s} s; it must be positive and at most {LONGEST_STEP_S} s")
        if run.block.shape != self._shape:
            raise InvalidInput(f"machine {name}: state of shape {run.block.shape}, {self._shape} expected")
        for key in ("state_number", "hall_temp_k", "power_w"):
            shape = getattr(inputs, key).shape
            if shape != (self.members,):
                raise InvalidInput(f"machine {name}: input {key} of shape {shape}, ({self.members},) expected")
        bad = kernel.first_bad_input(self._bath, inputs.hall_temp_k, inputs.power_w)
        if bad >= 0:
            raise InvalidInput(
                f"machine {name}, member {bad}: hall temperature {inputs.hall_temp_k[bad]} K must be finite and "
                f"power {inputs.power_w[bad]} W finite or NaN"
            )
        kernel.step(self._table, self._bath, run.block, dt_s, inputs.state_number, inputs.hall_temp_k, inputs.power_w)

    def stored_j(self, run: MachineRun) -> Array:
        """Heat in bath and load above 0 K, shape (members,); NaN until a first step has found the load's temperature.

        heater_j + pumps_j - lost_j - pieces_j grows by exactly as much as this.
        """
        bath = self.machine.bath
        if bath is None:
            return np.zeros(self.members)
        return bath.content_j_k * run.tank_temp_k + bath.load_heat_capacity_j_k * run.load_temp_k

    def state_from_bytes(self, data: bytes) -> MachineRun:
        """The run that `MachineRun.to_bytes` wrote; InvalidInput if it is damaged or of another plan."""
        name = self.machine.name
        if len(data) < _HEADER.size or data[:4] != _MAGIC:
            raise InvalidInput(f"machine {name}: these bytes are not the state of a machine")
        _, rows, members, checksum = _HEADER.unpack_from(data)
        if (rows, members) != self._shape:
            raise InvalidInput(f"machine {name}: saved state of shape {(rows, members)}, {self._shape} expected")
        content = data[_HEADER.size :]
        if len(content) != 8 * rows * members or zlib.crc32(content) != checksum:
            raise InvalidInput(f"machine {name}: the saved state is damaged")
        return MachineRun(np.frombuffer(content, "<f8").astype(np.float64).reshape(self._shape))

    @property
    def _shape(self) -> tuple[int, int]:
        return kernel.N_FIELDS + 2 * len(self._table), self.members


def _table(machine: Machine) -> Array:
    """One row per state in the order of kernel.pyx, and one more for unknown states."""
    rows = [
        (
            float(state.number),
            state.power_w,
            max(state.power_w, state.peak_power_w),
            state.bath_heat_w,
            state.load_exchange_w_per_k,
            float(state.new_pieces),
        )
        for state in machine.states
    ]
    return np.array([*rows, (np.nan, 0.0, 0.0, 0.0, 0.0, 0.0)])


def _bath_row(bath: Bath | None) -> Array:
    """Parameters of the bath in the order of kernel.pyx; all zero without one."""
    if bath is None:
        return np.zeros(kernel.N_BATH)
    has_load = bath.load_heat_capacity_j_k > 0
    return np.array(
        [
            bath.content_j_k,
            bath.heater_w,
            bath.loss_w_per_k,
            bath.thermostat_on_k,
            bath.thermostat_off_k,
            bath.load_heat_capacity_j_k,
            bath.load_loss_w_per_k if has_load else 0.0,
            bath.pieces_heat_capacity_j_k,
        ]
    )
