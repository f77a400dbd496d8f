# The thermal side of a furnace: what is constant, and what is at a moment. Temperatures are excesses over the hall, in K.
from libc.stdint cimport int32_t

cdef enum:
    NODES = 3  # chamber (what the heating warms), lining, load
    LEVELS = 4  # of temperature, above which the heat of the exhaust is counted
    N_ROWS = 11  # states of a machine, by which the heating is counted
    WALLS = N_ROWS  # places in `sums`
    DOORS
    FLUE
    FLUE_KG
    COOLED
    LOADED  # heat that batches carried away, less what they brought
    FLUE_ABOVE
    COOLED_ABOVE = 21  # FLUE_ABOVE + LEVELS; literals, since overflowcheck knows no sums here
    N_SUMS = 25  # COOLED_ABOVE + LEVELS

cdef enum HeatMode:
    UNHEATED  # heating off, damper shut
    STANDBY
    RECIPE

cdef enum SegmentKind:
    RAMP  # linearly from where the chamber is
    HOLD
    DOOR  # open; no heating

# The three nodes with so many parts in the furnace, the door open or shut: modes that decay on their own.
cdef struct Body:
    double root[3]  # of the heat capacity of each node
    double turn[9]  # orthogonal; mode k = sum over i of turn[3 k + i] root[i] x[i]
    double rate[3]
    double fade[3]  # over one scan: mode' - mode = fade mode + gain source, integral = gain mode + twice source
    double gain[3]
    double twice[3]

cdef struct SegmentPlan:
    double target  # at its end
    double until  # seconds since the batch began
    int32_t kind
    int32_t cools  # by force, as much as the target asks for

cdef struct FurnacePlan:
    double scan  # seconds for which the controller keeps the power
    double power  # the most: electricity, or fuel by its lower heating value
    double efficiency  # of it into the chamber, the heat of the fumes included
    double fumes  # W/K of them per W of fuel
    double fumes_kg  # kg/s of them per W of fuel
    double vent  # W/K of the air that is drawn through the chamber
    double vent_kg
    double kept  # share of the exhaust's heat that does not come back by a recuperator
    double cooling  # W/K, the most
    double wall  # W/K from the lining to the hall
    double door  # W/K from the open chamber to the hall
    double standby  # NaN: off between batches
    double brought  # excess of parts and carrier that come in
    double levels[4]  # inf where there are less
    int32_t bodies  # row of 0 parts, door shut; behind it door open, then 1 part, ...
    int32_t recipes  # rows of `SegmentPlan` by product: 2 numbers each, first and how many
    int32_t server
    int32_t spare

cdef struct FurnaceState:
    double x[3]
    double began  # of the scan
    double ends  # inf where nothing changes until told
    double length  # ends - began, before rounding
    double position  # in the recipe when the scan began
    double origin  # excess of the chamber when the segment began
    double heat  # power taken, constant over the scan
    double net  # into the chamber
    double flue  # W/K of the exhaust
    double flue_kg
    double exhaust  # its excess
    double cooled  # W/K of the forced cooling
    double chamber  # mean excess over the scan as planned
    double stored0  # heat in the nodes when the ledger began
    double sums[25]
    int32_t mode
    int32_t row
    int32_t parts
    int32_t recipe
    int32_t segment
    int32_t spare

# All furnaces of a factory.
cdef struct Heating:
    const FurnacePlan* plan
    const Body* body
    const SegmentPlan* segment
    const int32_t* recipe
    FurnaceState* state
    Py_ssize_t n

cdef double recipe_seconds(const Heating* all, Py_ssize_t f, int recipe) noexcept nogil
cdef void follow_scans(const Heating* all, Py_ssize_t f, double now) noexcept nogil
cdef void set_mode(const Heating* all, Py_ssize_t f, double now, int mode, int row) noexcept nogil
cdef void set_temperatures(
    const Heating* all, Py_ssize_t f, double now, double chamber, double lining, double load_excess
) noexcept nogil
cdef void load(const Heating* all, Py_ssize_t f, double now, int parts, int recipe, double position) noexcept nogil
cdef void set_position(const Heating* all, Py_ssize_t f, double now, double position) noexcept nogil
cdef void unload(const Heating* all, Py_ssize_t f, double now) noexcept nogil
cdef void read_out(const Heating* all, Py_ssize_t f, double now, double* out) noexcept nogil
cdef void clear_sums(const Heating* all, Py_ssize_t f, double now) noexcept nogil
