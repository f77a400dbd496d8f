"""Every kind of unit behind two functions, and the names in their rows.

The structs in the .pxd files are the rows: what a number is called there is what it is called outside.
"""

import numpy as np

from libc.string cimport memset

from uem.twin_core.thermal.units.burner cimport BurnerCommand, BurnerParameters, BurnerState, burner_flow
from uem.twin_core.thermal.units.heat_pump cimport (
    HeatPumpCommand,
    HeatPumpParameters,
    HeatPumpResult,
    advance_heat_pump,
)
from uem.twin_core.thermal.units.ideal cimport (
    LoadCommand,
    LoadParameters,
    LoadResult,
    LoadState,
    SourceCommand,
    SourceParameters,
    SourceResult,
    SourceState,
    advance_load,
    advance_source,
    load_flow,
    source_flow,
)
from uem.twin_core.thermal.units.limits cimport COLDEST, HOTTEST
from uem.twin_core.thermal.units.plants cimport (
    BoilerParameters,
    BoilerResult,
    ChpCommand,
    ChpParameters,
    ChpResult,
    IncineratorCommand,
    IncineratorParameters,
    IncineratorResult,
    IncineratorState,
    advance_boiler,
    advance_chp,
    advance_incinerator,
    incinerator_flow,
)
from uem.twin_core.thermal.units.streams cimport (
    CoolerCommand,
    CoolerParameters,
    CoolerResult,
    CoolerState,
    WasteHeatCommand,
    WasteHeatParameters,
    WasteHeatResult,
    WasteHeatState,
    advance_cooler,
    advance_waste_heat,
    cooler_flow,
    waste_heat_flow,
)
from uem.twin_core.thermal.units.substation cimport (
    HouseCommand,
    HouseParameters,
    HouseResult,
    HouseState,
    SubstationCommand,
    SubstationParameters,
    SubstationResult,
    SubstationState,
    advance_house,
    advance_substation,
    house_flow,
    substation_flow,
)
from uem.twin_core.thermal.units.tank cimport TankCommand, TankParameters, TankResult, advance_tank, tank_flow

from uem.twin_core.errors import InvalidInput

MOST_RESULTS_OF_A_UNIT = MOST_RESULTS


cdef double wanted_flow_kg_s(
    int kind, const double* parameters, const double* state, const double* command, double temp_in_k
) noexcept nogil:
    if kind == SUBSTATION:
        return substation_flow(
            <const SubstationParameters*> parameters, <const SubstationState*> state,
            <const SubstationCommand*> command, temp_in_k
        )
    if kind == HOUSE:
        return house_flow(
            <const HouseParameters*> parameters, <const HouseState*> state, <const HouseCommand*> command, temp_in_k
        )
    if kind == HEAT_LOAD:
        return load_flow(
            <const LoadParameters*> parameters, <const LoadState*> state, <const LoadCommand*> command, temp_in_k
        )
    if kind == HEAT_SOURCE:
        return source_flow(
            <const SourceParameters*> parameters, <const SourceState*> state, <const SourceCommand*> command, temp_in_k
        )
    if kind == BOILER or kind == CHP or kind == HEAT_PUMP:
        # Their rows begin with those of the burner.
        return burner_flow(
            <const BurnerParameters*> parameters, <const BurnerState*> state, <const BurnerCommand*> command, temp_in_k
        )
    if kind == INCINERATOR:
        return incinerator_flow(
            <const IncineratorParameters*> parameters, <const IncineratorState*> state,
            <const IncineratorCommand*> command, temp_in_k
        )
    if kind == WASTE_HEAT:
        return waste_heat_flow(
            <const WasteHeatParameters*> parameters, <const WasteHeatState*> state, <const WasteHeatCommand*> command,
            temp_in_k
        )
    if kind == TANK:
        return tank_flow(<const TankParameters*> parameters, state, <const TankCommand*> command)
    if kind == COOLER:
        return cooler_flow(
            <const CoolerParameters*> parameters, <const CoolerState*> state, <const CoolerCommand*> command, temp_in_k
        )
    return 0.0


cdef bint stays_liquid(int kind, const double* parameters, const double* command) noexcept nogil:
    if kind == HEAT_LOAD:
        return (<const LoadParameters*> parameters).lowest_return_temp_k >= COLDEST
    if kind == HEAT_SOURCE:
        return (<const SourceCommand*> command).supply_temp_k <= HOTTEST
    return False


cdef void advance_unit(
    int kind, const double* parameters, double* state, const double* command, double temp_in_k, double mass_kg,
    double dt_s, double* result
) noexcept nogil:
    if kind == SUBSTATION:
        advance_substation(
            <const SubstationParameters*> parameters, <SubstationState*> state, <const SubstationCommand*> command,
            temp_in_k, mass_kg, dt_s, <SubstationResult*> result
        )
    elif kind == HOUSE:
        advance_house(
            <const HouseParameters*> parameters, <HouseState*> state, <const HouseCommand*> command,
            temp_in_k, mass_kg, dt_s, <HouseResult*> result
        )
    elif kind == HEAT_LOAD:
        advance_load(
            <const LoadParameters*> parameters, <LoadState*> state, <const LoadCommand*> command,
            temp_in_k, mass_kg, dt_s, <LoadResult*> result
        )
    elif kind == HEAT_SOURCE:
        advance_source(
            <const SourceParameters*> parameters, <SourceState*> state, <const SourceCommand*> command,
            temp_in_k, mass_kg, dt_s, <SourceResult*> result
        )
    elif kind == BOILER:
        advance_boiler(
            <const BoilerParameters*> parameters, <BurnerState*> state, <const BurnerCommand*> command,
            temp_in_k, mass_kg, dt_s, <BoilerResult*> result
        )
    elif kind == CHP:
        advance_chp(
            <const ChpParameters*> parameters, <BurnerState*> state, <const ChpCommand*> command,
            temp_in_k, mass_kg, dt_s, <ChpResult*> result
        )
    elif kind == INCINERATOR:
        advance_incinerator(
            <const IncineratorParameters*> parameters, <IncineratorState*> state, <const IncineratorCommand*> command,
            temp_in_k, mass_kg, dt_s, <IncineratorResult*> result
        )
    elif kind == HEAT_PUMP:
        advance_heat_pump(
            <const HeatPumpParameters*> parameters, <BurnerState*> state, <const HeatPumpCommand*> command,
            temp_in_k, mass_kg, dt_s, <HeatPumpResult*> result
        )
    elif kind == WASTE_HEAT:
        advance_waste_heat(
            <const WasteHeatParameters*> parameters, <WasteHeatState*> state, <const WasteHeatCommand*> command,
            temp_in_k, mass_kg, dt_s, <WasteHeatResult*> result
        )
    elif kind == TANK:
        advance_tank(
            <const TankParameters*> parameters, state, <const TankCommand*> command,
            temp_in_k, mass_kg, dt_s, <TankResult*> result
        )
    elif kind == COOLER:
        advance_cooler(
            <const CoolerParameters*> parameters, <CoolerState*> state, <const CoolerCommand*> command,
            temp_in_k, mass_kg, dt_s, <CoolerResult*> result
        )


# One field per kind with rows of its own, only to ask Cython for the names and the order in every row.
cdef struct States:
    SourceState HEAT_SOURCE
    LoadState HEAT_LOAD
    SubstationState SUBSTATION
    HouseState HOUSE
    BurnerState BOILER
    BurnerState CHP
    IncineratorState INCINERATOR
    BurnerState HEAT_PUMP
    WasteHeatState WASTE_HEAT
    CoolerState COOLER

cdef struct Commands:
    SourceCommand HEAT_SOURCE
    LoadCommand HEAT_LOAD
    SubstationCommand SUBSTATION
    HouseCommand HOUSE
    BurnerCommand BOILER
    ChpCommand CHP
    IncineratorCommand INCINERATOR
    HeatPumpCommand HEAT_PUMP
    WasteHeatCommand WASTE_HEAT
    TankCommand TANK
    CoolerCommand COOLER

cdef struct Results:
    SourceResult HEAT_SOURCE
    LoadResult HEAT_LOAD
    SubstationResult SUBSTATION
    HouseResult HOUSE
    BoilerResult BOILER
    ChpResult CHP
    IncineratorResult INCINERATOR
    HeatPumpResult HEAT_PUMP
    WasteHeatResult WASTE_HEAT
    TankResult TANK
    CoolerResult COOLER

cdef struct Parameters:
    SourceParameters HEAT_SOURCE
    LoadParameters HEAT_LOAD
    SubstationParameters SUBSTATION
    HouseParameters HOUSE
    BoilerParameters BOILER
    ChpParameters CHP
    IncineratorParameters INCINERATOR
    HeatPumpParameters HEAT_PUMP
    WasteHeatParameters WASTE_HEAT
    TankParameters TANK
    CoolerParameters COOLER


def _shapes():
    cdef States states
    cdef Commands commands
    cdef Results results
    cdef Parameters parameters
    memset(&states, 0, sizeof(States))
    memset(&commands, 0, sizeof(Commands))
    memset(&results, 0, sizeof(Results))
    memset(&parameters, 0, sizeof(Parameters))
    return states, commands, results, parameters


def _names(row):
    found = []
    for name, value in row.items():
        found.extend(_names(value) if isinstance(value, dict) else [name])
    return tuple(found)


_STATES, _COMMANDS, _RESULTS, _PARAMETERS = _shapes()


def state_names(kind: UnitKind, layers: int = 0) -> tuple[str, ...]:
    """Names in a state row; `layers` of a tank."""
    if kind == UnitKind.TANK:
        return ("fill", *(f"plug_{k}_temp_k" for k in range(layers + 1)))
    return _names(_STATES[UnitKind(kind).name])


def command_names(kind: UnitKind) -> tuple[str, ...]:
    """Names in a command row."""
    return _names(_COMMANDS[UnitKind(kind).name])


def result_names(kind: UnitKind) -> tuple[str, ...]:
    """Names in a result row. Those that end in _j, _kg or running_s add up over steps, others are of the last step."""
    return _names(_RESULTS[UnitKind(kind).name])


def parameter_row(kind: UnitKind, values: dict[str, object]) -> np.ndarray:
    """Parameters as the kernels read them, from values by name; structs inside are dicts, arrays sequences."""
    return np.array(_flat(UnitKind(kind).name, _PARAMETERS[UnitKind(kind).name], values))


def _flat(where, shape, values):
    if set(shape) != set(values):
        raise InvalidInput(f"{where}: parameters {sorted(values)} instead of {sorted(shape)}")
    row = []
    for name, inside in shape.items():
        value = values[name]
        if isinstance(inside, dict):
            row.extend(_flat(f"{where}.{name}", inside, value))
        elif isinstance(inside, list):
            filled = [float(x) for x in value]
            if len(filled) > len(inside):
                raise InvalidInput(f"{where}.{name}: {len(filled)} values, at most {len(inside)}")
            row.extend(filled + [0.0] * (len(inside) - len(filled)))
        else:
            row.append(float(value))
    return row


def wanted_flow(
    int kind, const double[::1] parameters, const double[::1] state, const double[::1] command, double temp_in_k
) -> float:
    """Flow in kg/s that a unit asks for, positive from start to end."""
    _check(kind, parameters, state, command)
    return wanted_flow_kg_s(kind, &parameters[0], &state[0], &command[0], temp_in_k)


def advance(
    int kind, const double[::1] parameters, double[::1] state, const double[::1] command, double temp_in_k,
    double mass_kg, double dt_s, double[::1] result
) -> None:
    """One step of one unit: `mass_kg` comes in at `temp_in_k`, at start if positive, at end if negative.

    Changes `state` and fills `result`.
    """
    _check(kind, parameters, state, command)
    if result.shape[0] < len(result_names(kind)):
        raise InvalidInput(f"result has {result.shape[0]} numbers; unit kind {kind} has {len(result_names(kind))}")
    if not dt_s > 0.0:
        raise InvalidInput(f"dt_s: {dt_s} must be positive")
    advance_unit(kind, &parameters[0], &state[0], &command[0], temp_in_k, mass_kg, dt_s, &result[0])


def advance_times(
    int kind, const double[::1] parameters, double[::1] state, const double[::1] command, const double[::1] temp_in_k,
    double dt_s, double[::1] result
) -> None:
    """As many steps as there are inlet temperatures, with the flow that the unit asks for; result of the last one."""
    cdef Py_ssize_t i
    cdef double flow
    _check(kind, parameters, state, command)
    if result.shape[0] < len(result_names(kind)):
        raise InvalidInput(f"result has {result.shape[0]} numbers; unit kind {kind} has {len(result_names(kind))}")
    with nogil:
        for i in range(temp_in_k.shape[0]):
            flow = wanted_flow_kg_s(kind, &parameters[0], &state[0], &command[0], temp_in_k[i])
            advance_unit(
                kind, &parameters[0], &state[0], &command[0], temp_in_k[i], flow * dt_s, dt_s, &result[0]
            )


cdef _check(kind, parameters, state, command):
    found = UnitKind(kind)
    if parameters.shape[0] != len(_flat_names(_PARAMETERS[found.name])):
        raise InvalidInput(f"{parameters.shape[0]} parameters; unit kind {found.name} has other rows")
    layers = int(parameters[0]) if found == UnitKind.TANK else 0
    if state.shape[0] != len(state_names(kind, layers)) or command.shape[0] != len(command_names(kind)):
        raise InvalidInput(
            f"{state.shape[0]} states and {command.shape[0]} commands; unit kind {found.name} has "
            f"{len(state_names(kind, layers))} and {len(command_names(kind))}"
        )


def _flat_names(shape):
    found = []
    for name, inside in shape.items():
        if isinstance(inside, dict):
            found.extend(_flat_names(inside))
        else:
            found.extend([name] * (len(inside) if isinstance(inside, list) else 1))
    return found
