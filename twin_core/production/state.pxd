# What the engine works on: the plan of a factory and its state, as flat structures. How they are laid out for Python stands
# in engine.pyx. Times in seconds.

from libc.stdint cimport int8_t, int32_t, int64_t

from uem.twin_core.production.agenda cimport Agenda
from uem.twin_core.production.heating cimport Heating
from uem.twin_core.production.laws cimport Law
from uem.twin_core.production.streams cimport Stream, Ziggurat

cdef enum Shown:
    OFF
    SLEEPING
    WARMING
    STARVED
    SETTING_UP
    BUSY
    BLOCKED
    REPAIRED
    WAITING
    MAINTAINED
    SHORTAGE
    N_SHOWN

cdef enum Phase:
    EMPTY
    SETUP
    WORK
    DONE

cdef enum Hindrance:
    DOWN = 1
    OFF_SHIFT = 2
    SHORT = 4
    ASLEEP = 8

cdef enum Event:
    NOTHING
    FINISH
    READY  # set up
    FAIL_WORKING
    FAIL_ANYTIME
    REPAIR_END
    FALL_ASLEEP
    AWAKE
    SWITCH  # of a calendar: a row behind those of the servers
    RIPE  # a part of a buffer can be taken, or is too old: a row behind those of the calendars

cdef enum Enlisted:
    NOWHERE
    TAKING  # in `waiting` of the buffers that it takes from
    GIVING  # in `blocked` of the buffers that it gives to

cdef enum TakeRule:
    ALL  # one kit: the amount of every input at the same time
    FIRST  # the first input of the list that has enough

cdef enum GiveRule:
    SPLIT  # the amount of every output at the same time
    CHANCE  # one output, drawn by weight when the part is finished
    FIRST_FREE  # the first output of the list that has a place
    SHORTEST  # the output with the fewest parts; of equal ones the first
    TABLE  # the output to the buffer of the part's next step

cdef enum ModeKind:
    WORKING  # ages while the machine works
    ANYTIME  # ages by the clock, except while the machine is down
    MAINTAIN_WORKING  # due by worked time, done when the machine has no part
    MAINTAIN_ANYTIME  # due by the clock, done when the machine has no part
    WEAR_WORKING  # passes from stage to stage while the machine works; behind the last one it is down
    WEAR_ANYTIME  # the same by the clock
    ON_CONDITION  # asked for from a stage of wear on, done when the machine has no part and a worker is free

cdef enum:
    SINK_ = -2
    NOTHING_NEEDED_ = -2


cdef enum Purpose:
    CYCLES
    FAILURES
    REPAIRS
    ROUTES
    N_PURPOSES

cdef enum Fault:
    FINE
    TOO_MANY_AT_ONCE  # an endless chain of events at one instant
    TOO_MANY_PARTS  # more than there is room for
    NO_WAY = 4  # a part's next step is none of the outputs of its machine

# What every event touches, in one line of the cache.
cdef struct ServerPlan:
    double sleep_after  # idle seconds until it falls asleep; inf: never
    double fixed  # the cycle time where it is always the same; minus the mean of an exponential one; else -inf
    int32_t take_plain  # the buffer from which it takes one part, NOTHING_NEEDED, or -1
    int32_t give_plain  # the buffer to which it gives one part, SINK where parts leave the factory, or -1
    int32_t cycle  # law
    int32_t asks  # before it takes a part: for maintenance that is due, its shift, its utilities; or has rare things to do
    int32_t take_first
    int32_t n_takes
    int32_t take_rule
    int32_t give_first
    int32_t n_gives
    int32_t give_rule
    int32_t batch_least
    int32_t batch_most  # > 1: a batch machine; it has one input and the parts stay parts

cdef struct RarePlan:  # of a server: what only some events touch
    double scrap  # probability that a finished part is thrown away
    double batch_wait  # seconds of waiting since a part came, after which a batch begins with fewer than the least
    int32_t mode_first
    int32_t n_modes
    int32_t warm_up  # law, or -1
    int32_t wake_at  # parts that wake it
    int32_t calendar  # or -1
    int32_t loses  # what finds no place is lost (a source); else it is blocked
    int32_t pauses  # at the end of the shift: 1 work stops and goes on later, 0 the part is finished first
    int32_t use_first
    int32_t n_uses
    int32_t furnace  # or -1

cdef struct Link:
    double weight
    int32_t buffer  # -1: out of the factory
    int32_t amount

cdef struct BufferPlan:
    int32_t consumer_first
    int32_t n_consumers
    int32_t producer_first
    int32_t n_producers

cdef struct ModePlan:
    int32_t kind
    int32_t to_fail  # law
    int32_t to_repair  # law
    int32_t crew_first  # crews that can do it, in the order in which they are asked
    int32_t n_crews  # 0: repair begins at once
    int32_t priority  # of equal priority: first broken, first repaired
    int32_t n_stages  # of wear; else 0
    int32_t stages  # laws of the time in each, first row of `stage_laws`
    int32_t wear  # of ON_CONDITION: the mode of wear that it renews
    int32_t threshold  # its stage from which the job is asked for

cdef struct Mode:
    int64_t jobs  # that were begun since the ledger began
    int32_t stage  # of wear
    int32_t spare

cdef struct CrewPlan:
    int32_t workers
    int32_t calendar  # or -1

cdef struct CalendarPlan:
    double period
    int32_t first  # of its switching times in the table
    int32_t n

cdef struct Head:
    double now
    double began  # of the ledger
    int64_t events
    int64_t fault
    int64_t n_stack
    int64_t awake  # whether unknown residual times were drawn
    int64_t relieved  # whether a utility was given back
    int64_t free_part  # first of the list of free places, or -1
    int64_t flows  # parts delivered, where they are followed
    double flow_s  # sum of the times from their birth

cdef struct Server:
    double since  # when the shown state began, or the cycle
    double left  # work or setup left at that moment; NaN: not known, to be drawn
    double worked  # operating time until that moment
    double working_due  # operating time at which the next failure of that kind falls
    double anytime_due  # the moment of the next failure by the clock
    int64_t made  # finished parts, scrap included
    int32_t load  # parts in work or finished on it
    int32_t way  # output drawn for the finished part, or -1
    int8_t shown
    int8_t phase
    int8_t hindrances
    int8_t event
    int8_t enlisted
    int8_t queued  # on the stack
    int8_t using  # of utilities
    int8_t listed  # where it stands in the agenda

    double until  # end of repair, warm-up, or the moment to fall asleep
    int64_t scrapped
    int64_t lost
    int64_t delivered  # parts that left the factory from here
    int64_t failures
    int32_t working_mode
    int32_t anytime_mode
    int32_t mode  # that keeps it down, or -1
    int32_t crew  # that repairs it, or -1
    int64_t more

cdef struct Buffer:
    double area  # integral of the level since the ledger began, without level * now: each change counts its moment
    int64_t level
    int64_t capacity  # UNLIMITED: as many as come
    int64_t entered
    int64_t passed  # of them: parts that did not wait at all
    int64_t most
    int32_t waiting
    int32_t blocked
    int32_t only_taker  # the server that alone takes from it, one part at a time, or -1; by the plan of the state
    int32_t only_giver  # likewise

cdef struct Crew:
    int32_t free
    int32_t waiting
    int32_t off  # shift

cdef struct Utility:
    double limit
    double used

# Only where parts are followed: what a factory with orders, or with buffers that are more than places, needs.
cdef struct RecipePlan:  # of a server
    double busy_w
    int32_t cycles  # its law for product 0 in `product_laws`
    int32_t changeovers  # seconds from product 0 to product 0 in the table, or -1
    int32_t first_order  # that it releases
    int32_t n_orders
    int32_t arrives  # parts are born when they leave it, not when it begins them
    int32_t product  # of the parts that it begins, if it takes nothing
    int32_t takes_first  # it takes its next part before who waits for the last one begins

cdef struct QueuePlan:  # of a buffer
    double delay  # until a part can be taken
    double longest  # after which it is thrown away, or inf
    int32_t order  # QueueOrder
    int32_t timer  # its row behind those of the calendars, or -1

cdef struct OrderPlan:
    double release
    int32_t product
    int32_t quantity
    int32_t priority
    int32_t spare

cdef struct StepPlan:
    int32_t buffer  # -1: out of the factory
    int32_t cycle  # law of the machine that takes from there, or -1

cdef struct QualityPlan:  # of a server
    double defects  # probability that a finished part is flawed, which nobody sees
    double finds  # of flawed parts, where it inspects; else 0
    double alarms  # of sound parts
    double delay  # until the result is known
    int32_t inspects
    int32_t rejects  # the output for parts that are known to be bad, behind the others; -1: thrown away

cdef struct Quality:  # of parts that were made flawed on a server
    int64_t flawed
    int64_t found  # and taken out
    int64_t escaped  # left the factory
    int64_t gone  # thrown away for another reason, or into the same assembly as another one
    int64_t alarms  # sound parts that were taken out because of its inspection
    int64_t refused  # parts that the server took out before it worked on them
    double until_known  # sum over those found

cdef struct Part:
    double born
    double entered  # the buffer
    double flawed  # the moment
    double known  # when it is known to be bad, or inf
    int32_t flaw  # the server that made it flawed, or -1
    int32_t inspector  # whose result it waits for
    int32_t step  # of its route: so many are behind it
    int32_t rejected  # it goes where bad parts go
    int32_t next  # in its list, or -1
    int32_t order  # or -1
    int32_t product
    int32_t priority

cdef struct Held:  # parts on a server
    int32_t first
    int32_t last
    int32_t product  # that it is set up for, or -1
    int32_t order  # that it releases next
    int64_t released  # parts of that order

cdef struct Queue:  # parts in a buffer
    int32_t first
    int32_t last
    int32_t fresh  # first one that cannot be taken yet, or -1
    int32_t n_fresh
    int64_t aged  # parts thrown away

cdef struct Order:
    double finished  # inf: not yet
    double energy_j  # of the work on its parts
    int64_t left  # parts that have neither been delivered nor thrown away

cdef enum QueueOrder:
    FIFO
    LIFO
    PRIORITY

# What the kernel works on: pointers into plan and block.
cdef struct Sim:
    const ServerPlan* server_plan
    const RarePlan* rare_plan
    const BufferPlan* buffer_plan
    const Link* take
    const Link* give
    const ModePlan* mode_plan
    const CrewPlan* crew_plan
    const CalendarPlan* calendar_plan
    const Link* use
    const RecipePlan* recipe_plan
    const QueuePlan* queue_plan
    const OrderPlan* order_plan
    const int32_t* product_laws
    const int32_t* consumers
    const int32_t* producers
    const int32_t* mode_crews
    const int32_t* stage_laws
    const int32_t* route  # by product: first and how many of `step_plan`
    const StepPlan* step_plan
    const QualityPlan* quality_plan
    const Law* laws
    const double* table
    const Ziggurat* layers
    int64_t usual  # the fixed cycle time that most servers have, or -1; its pattern of bits
    Py_ssize_t n_servers
    Py_ssize_t n_buffers
    Py_ssize_t n_crews
    Py_ssize_t n_modes
    Py_ssize_t n_requests  # modes ON_CONDITION
    Py_ssize_t n_calendars
    Py_ssize_t n_utilities
    Py_ssize_t n_orders
    Py_ssize_t n_products
    Py_ssize_t n_quality  # servers, or 0: nothing is flawed or inspected
    Py_ssize_t n_parts  # room for so many; 0: parts are counted, not followed
    Held* held
    Queue* queue
    Order* order
    Part* part
    Quality* quality
    Head* head
    Server* server
    Buffer* buffer
    Crew* crew
    Utility* utility
    double* mode_due  # (n_modes,)
    Mode* mode  # (n_modes,)
    # (n_servers, N_SHOWN) seconds by state; of BUSY minus the operating time at which the ledger began
    double* spent
    Stream* streams  # (N_PURPOSES, n_servers)
    int32_t* stack
    int8_t* buffer_queued  # on the stack
    Heating heating
    Agenda agenda
    double now
