# A customer's station with space heating and hot water, alone or with its building; equations: docs/models/units.md.
from uem.twin_core.thermal.units.building cimport BuildingCommand, BuildingParameters, BuildingState

cdef struct Circuit:  # an exchanger and what lies behind it
    double nominal_w
    double primary_k_w  # 1/C of the primary stream at its rating
    double secondary_k_w
    double wall_k_w  # 1/UA, clean, at the rating; half of it is the film of each side

cdef struct SubstationParameters:
    Circuit heating
    Circuit hot_water
    double curve_high_k  # secondary supply at design_outdoor_k
    double curve_low_k  # and at heating_limit_k
    double design_outdoor_k
    double heating_limit_k
    double room_k
    double radiator_rise_k  # mean radiator temperature above the room at nominal heat
    double radiator_power  # 1 / radiator exponent
    double hot_water_k
    double cold_water_k
    double minimum_flow_kg_s
    double maximum_flow_kg_s
    double by_outdoor  # 1: space heating on the load line, 0: commanded

cdef struct SubstationState:  # where the search for the flow begins
    double heating_k_w  # 1/C of the primary streams in the last step
    double heating_total_k_w  # for this inlet difference over heat
    double heating_slope
    double hot_water_k_w
    double hot_water_total_k_w
    double hot_water_slope

cdef struct SubstationCommand:
    double outdoor_temp_k
    double heating_w
    double hot_water_w
    double fouling

cdef struct SubstationResult:
    double outlet_temp_k
    double heat_j
    double heating_j
    double hot_water_j
    double unmet_heating_j
    double unmet_hot_water_j
    double secondary_supply_temp_k
    double secondary_return_temp_k

cdef struct HouseParameters:
    SubstationParameters station
    BuildingParameters building

cdef struct HouseState:
    SubstationState station
    BuildingState building

cdef struct HouseCommand:
    SubstationCommand station
    BuildingCommand building

cdef struct HouseResult:
    SubstationResult station
    double room_temp_k
    double gains_j
    double building_loss_j

cdef double substation_flow(
    const SubstationParameters* p, const SubstationState* s, const SubstationCommand* c, double temp_in_k
) noexcept nogil
cdef void advance_substation(
    const SubstationParameters* p, SubstationState* s, const SubstationCommand* c, double temp_in_k, double mass_kg,
    double dt_s, SubstationResult* result
) noexcept nogil
cdef double house_flow(
    const HouseParameters* p, const HouseState* s, const HouseCommand* c, double temp_in_k
) noexcept nogil
cdef void advance_house(
    const HouseParameters* p, HouseState* s, const HouseCommand* c, double temp_in_k, double mass_kg, double dt_s,
    HouseResult* result
) noexcept nogil
