# Names of lanes.h in Cython. A number becomes a lane by `spread`; beside a lane in a formula it may stand as it is.
cdef extern from "lanes.h" nogil:
    enum:
        LANES "UEM_LANES"
    ctypedef double lane "uem_lane"
    ctypedef int mask "uem_mask"
    lane spread "uem_spread"(double)
    double first_of "uem_first"(lane)
    mask less "uem_less"(lane, lane)
    mask at_most "uem_at_most"(lane, lane)
    mask both "uem_both"(mask, mask)
    mask either "uem_either"(mask, mask)
    mask but_not "uem_but_not"(mask, mask)
    bint any_of "uem_any"(mask)
    bint every_of "uem_every"(mask)
    lane choose "uem_choose"(mask, lane, lane)
    lane smaller "uem_smaller"(lane, lane)
    lane larger "uem_larger"(lane, lane)
    lane size_of "uem_size"(lane)
    lane exp_of_minus "uem_exp_of_minus"(lane)
    void fetch "uem_fetch"(const lane*, int)
    void bring_near "uem_bring"(const lane*, int)
    lane root "uem_root"(lane)
    lane log_of "uem_log"(lane)
    lane floor_of "uem_floor"(lane)
    lane pick "uem_pick"(const double*, lane)
