# Flows and pressures of a network, one member at a time. All arrays are contiguous and in the order of the graph.

cimport cython

from uem.twin_core.thermal.friction cimport Wall

cdef enum:
    SOLVED = 0
    NOT_CONVERGED = 1

cdef enum:  # EdgeKind in hydraulic_network.py
    VALVE = 1
    CHECK = 2
    FLOW = 3
    PUMP_SPEED = 4
    PUMP_PRESSURE = 5
    PUMP_CRITICAL = 6
    PUMPED = 7
    FREE = 8

cdef extern from *:
    """
    #define UEM_GRAVITY 9.80665
    #define UEM_LEAST_SLOPE 0.03
    #define UEM_LINEAR 1e-6
    #define UEM_LEAST_RESISTANCE 1e-3
    #define UEM_LEAST_FLOW_OF_A_LINK 1e-8
    #define UEM_TABLE_START 273.15
    """
    double GRAVITY "UEM_GRAVITY"
    # Least slope of the law of an element. Where it is smaller, rounding of the pressures (1e-10 Pa) shows in the flow.
    double LEAST_SLOPE_PA_S_KG "UEM_LEAST_SLOPE"
    double LINEAR_KG_S "UEM_LINEAR"  # quadratic laws are linear at least below about this flow
    # Least resistance of an open element: 1 Pa at 30 kg/s.
    double LEAST_RESISTANCE "UEM_LEAST_RESISTANCE"
    double LEAST_FLOW_KG_S "UEM_LEAST_FLOW_OF_A_LINK"  # counts as none
    double TABLE_START_K "UEM_TABLE_START"

cdef enum:
    TABLE = 1202  # density and viscosity eight times per kelvin from 0 to 150 degC, linear in between

# What holds during a solve.
cdef struct Given:
    const double* demand_kg_s  # [nodes], taken out; at nodes of fixed pressure too
    const double* fixed_pressure_pa  # [nodes], read where the pressure is fixed
    const double* setting  # [edges], see EdgeKind
    const double* temp_k  # [edges], mean temperature of the water
    double tolerance  # change of all flows over their sum; 1e-3 in real time, 1e-8 or less for tests

# What comes out. Flows, pressures and memory are read as well: the solve starts from those of the last step.
cdef struct Found:
    double* flow_kg_s  # [edges], zeros at first
    double* pressure_pa  # [nodes]
    double* memory  # [memory_width], zeros at first
    unsigned char* unsupplied  # [nodes], 1 where no fixed pressure can be reached; no flow there
    Py_ssize_t culprit  # edge that kept the solve from converging, -1: none
    Py_ssize_t iterations

cdef struct Element:
    int kind
    Py_ssize_t edge
    double per_density  # pressure drop times density over flow squared
    double resistance_pa_s2_kg2
    double shutoff_pa_m3_kg  # pressure at no flow and nominal speed, over the density
    double curve_m_s2  # pressure per flow squared, over the density
    double gravity_m2_s2  # fall times acceleration
    Py_ssize_t critical  # number of the pump among those that hold a critical pair, -1: none
    Py_ssize_t critical_start  # core nodes
    Py_ssize_t critical_end

cdef struct Work:
    # [pipes]
    double *temp
    double *reynolds
    double *friction
    double *local
    double *weight
    double *flow
    double *drop
    double *slope
    double *offset
    # [links]
    double *link_flow
    double *link_new
    double *head
    double *conductance
    # [elements]
    double *density
    Py_ssize_t *branch
    unsigned char *shut
    # [cores]; response: as many times as there are critical pumps
    unsigned char *lost
    Py_ssize_t *order
    Py_ssize_t *via
    double *excess
    double *inverse
    double *right
    double *pressure
    double *demand
    double *scratch
    double *way
    double *begin
    double *response
    # [entries]
    double *weights
    double *lower
    # [criticals]
    double *rise

@cython.final
cdef class Parts:
    """A Shape with the numbers of its pipes and elements: fixed for its life."""

    cdef list kept
    cdef Py_ssize_t forest, pipes, chains, links, elements, unknowns, cores, entries, spans, criticals, lost
    cdef Py_ssize_t *pipe_edge
    cdef Py_ssize_t *tree_node
    cdef Py_ssize_t *tree_parent
    cdef Py_ssize_t *pipe_head
    cdef Py_ssize_t *chain_start
    cdef Py_ssize_t *link_a
    cdef Py_ssize_t *link_b
    cdef Py_ssize_t *core_node
    cdef Py_ssize_t *column
    cdef Py_ssize_t *row
    cdef Py_ssize_t *cross
    cdef Py_ssize_t *cross_column
    cdef Py_ssize_t *cross_entry
    cdef Py_ssize_t *alike
    cdef Py_ssize_t *link_entry
    cdef Py_ssize_t *span_link
    cdef Py_ssize_t *span_node
    cdef Py_ssize_t *home
    cdef Py_ssize_t *beside
    cdef Py_ssize_t *beside_link
    cdef double *pipe_sign
    cdef double *reynolds_area
    cdef double *friction_area
    cdef double *local_area
    cdef double *first_flow
    cdef double *gravity
    cdef Wall *wall
    cdef Element *element

    cdef Work work(self, list kept) except *
    cdef void take_water(self, Work* work, const double* temp_k) noexcept nogil
    cdef Py_ssize_t shut_elements(self, Work* work, const double* setting) noexcept nogil
    cdef Py_ssize_t find_lost(self, Work* work, Py_ssize_t* frontier) noexcept nogil
    cdef void gather_demands(self, Work* work, double* outflow) noexcept nogil
    cdef inline bint idle(self, Py_ssize_t link, const Work* work) noexcept nogil
    cdef void heads(self, int law, Work* work, const double* setting, bint fresh, bint cold) noexcept nogil
    cdef double rise_of(self, const Work* work, const Element* element, const double* setting) noexcept nogil
    cdef void factorise(self, Work* work) noexcept nogil
    cdef double take_four(self, Work* work, Py_ssize_t t) noexcept nogil
    cdef void solve(self, const Work* work, double* right) noexcept nogil
    cdef void respond(self, Work* work) noexcept nogil
    cdef void pressures(self, Work* work) noexcept nogil
    cdef void hold_critical(self, Work* work, const double* setting) noexcept nogil
    cdef bint span_is_open(self, const Work* work) noexcept nogil
    cdef Py_ssize_t span(self, Work* work) noexcept nogil
    cdef void balance(self, Work* work) noexcept nogil
    cdef void pass_on(self, Work* work, Py_ssize_t node, Py_ssize_t link) noexcept nogil
    cdef double move(
        self, const Work* work, const double* setting, double tolerance, double rounding, bint* turned,
        Py_ssize_t* worst
    ) noexcept nogil
    cdef double head_at(
        self, int law, Work* work, const double* setting, Py_ssize_t link, double flow_kg_s, double* slope
    ) noexcept nogil
    cdef void flows_at_pressures(self, int law, Work* work, const double* setting) noexcept nogil
    cdef double imbalance(self, Work* work, double* moved) noexcept nogil
    cdef void descend(
        self, int law, Work* work, const double* setting, double tolerance, Py_ssize_t* iterations
    ) noexcept nogil
    cdef double part_of_step(self, int law, Work* work, const double* setting) noexcept nogil
    cdef void accept(self, Work* work, double part) noexcept nogil
    cdef Py_ssize_t worst_leak(self, const Work* work, const double* setting) noexcept nogil
    cdef void report(self, int law, Work* work, const Given* given, Found* found) noexcept nogil

@cython.final
cdef class Room:
    """Where one thread solves: nothing in it outlives a solve but the properties of water of known temperatures."""

    cdef list kept
    cdef Work held
    cdef Work whole
    cdef double* outflow  # [nodes]
    cdef Py_ssize_t* frontier  # [nodes]

@cython.final
cdef class HydraulicPlan:
    """A network compiled for repeated solves: shared by all members and threads."""

    cdef readonly object graph
    cdef readonly Py_ssize_t nodes
    cdef readonly Py_ssize_t edges
    cdef readonly Py_ssize_t memory_width
    cdef int law
    cdef Parts held  # FLOW edges pass what they hold
    cdef Parts whole  # FLOW edges may open or shut; the same as held if there are none
    cdef Py_ssize_t criticals, pumped, holding
    cdef list kept
    cdef Py_ssize_t *start
    cdef Py_ssize_t *end
    cdef Py_ssize_t *given_edge  # those of kind PUMPED, then those of kind FLOW
    cdef double *per_density
    cdef double *resistance
    cdef double *elevation

    # Solve one member in place: SOLVED, or NOT_CONVERGED with the culprit in `found`. Any number of threads may call
    # it, each with a room of its own.
    cdef int solve_member(self, Room room, const Given* given, Found* found) noexcept nogil
    cdef bint flows_can_be_held(self, const Given* given, const Found* found) noexcept nogil
    cdef int solve_parts(
        self, Parts parts, Work* work, Room room, const Given* given, Found* found, Py_ssize_t passing
    ) noexcept nogil
    cdef void take_demands(
        self, Parts parts, Work* work, Room room, const Given* given, Found* found, Py_ssize_t passing, Py_ssize_t lost
    ) noexcept nogil
    cdef int flows_and_pressures(self, Parts parts, Work* work, const Given* given, Found* found) noexcept nogil
    cdef int settle(self, Parts parts, Work* work, const Given* given, Found* found, bint cold) noexcept nogil
    cdef bint newton(
        self, Parts parts, Work* work, const Given* given, Found* found, bint cold, Py_ssize_t free, bint hold,
        Py_ssize_t* worst
    ) noexcept nogil
    cdef void descend(
        self, Parts parts, Work* work, const Given* given, Found* found, double closeness
    ) noexcept nogil
    cdef const double[::1] checked(self, str what, values, Py_ssize_t size) except *
