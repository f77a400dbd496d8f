"""A stratified tank whose water moves up and down as plugs, without numerical diffusion and without a limit on the step.

The content is cut into layers of equal mass. As in pipes, layers + 1 plugs slide past the ports: the lowest is the part
`fill` of a layer, the highest 1 - fill. Warm water that lies below cold water mixes with it at once. Conduction is
implicit, the loss to the room exact. SI units, temperatures in K; equations: docs/models/units.md.
"""

from libc.math cimport exp

from uem.twin_core.thermal.pipes cimport HEAT_CAPACITY
from uem.twin_core.thermal.units.limits cimport LEAST_MASS_KG, clip

# A plug smaller than this part of a layer has no say.
cdef double LEAST_PLUG = 1e-12


cdef inline double size(double fill, Py_ssize_t k, Py_ssize_t layers) noexcept nogil:
    """Part of a layer that plug k is."""
    return fill if k == 0 else 1.0 - fill if k == layers else 1.0


cdef inline Py_ssize_t lowest_plug(double fill) noexcept nogil:
    return 0 if fill > LEAST_PLUG else 1


cdef inline Py_ssize_t highest_plug(double fill, Py_ssize_t layers) noexcept nogil:
    return layers if 1.0 - fill > LEAST_PLUG else layers - 1


cdef void conduct(
    double* temp, double fill, Py_ssize_t layers, double layer_j_k, double conductance_w_k, double dt
) noexcept nogil:
    """Vertical conduction over dt: an implicit step, which creates no new extremes and loses nothing."""
    cdef double[MOST_LAYERS + 1] part
    cdef double between, below = 0.0, capacity, diagonal
    cdef Py_ssize_t k, low = lowest_plug(fill), high = highest_plug(fill, layers)
    for k in range(low, high + 1):
        capacity = size(fill, k, layers) * layer_j_k
        between = 0.0
        if k < high:
            between = 2.0 * conductance_w_k * dt / (size(fill, k, layers) + size(fill, k + 1, layers))
        diagonal = capacity + below + between - (below * part[k - 1] if k > low else 0.0)
        part[k] = between / diagonal
        temp[k] = (capacity * temp[k] + (below * temp[k - 1] if k > low else 0.0)) / diagonal
        below = between
    for k in range(high - 1, low - 1, -1):
        temp[k] += part[k] * temp[k + 1]


cdef double lose(
    const TankParameters* p, double* temp, double fill, Py_ssize_t layers, double layer_j_k, double room_k, double dt
) noexcept nogil:
    """Loss to the room over dt, in J; every plug for itself."""
    cdef double loss = 0.0, capacity, gone
    cdef double side = -p.side_w_k * dt / layer_j_k
    cdef double kept = exp(side)
    cdef double plug_kept, weight
    cdef Py_ssize_t k, low = lowest_plug(fill), high = highest_plug(fill, layers)
    for k in range(low, high + 1):
        weight = size(fill, k, layers)
        capacity = weight * layer_j_k
        plug_kept = kept
        if k == low or k == high:
            plug_kept = exp(side - p.lid_w_k * dt / capacity * (2.0 if low == high else 1.0))
        gone = (temp[k] - room_k) * (1.0 - plug_kept)
        temp[k] -= gone
        loss += capacity * gone
    return loss


cdef double move(double* state, Py_ssize_t layers, double content, double temp_in_k) noexcept nogil:
    """Move the water by `content` layers, up if positive; the temperature times layers that left."""
    cdef double* temp = state + 1
    cdef double left = 0.0, part
    cdef double rest = content if content > 0.0 else -content
    cdef Py_ssize_t k
    if rest >= layers:
        for k in range(layers + 1):
            left += size(state[0], k, layers) * temp[k]
            temp[k] = temp_in_k
        return left + (rest - layers) * temp_in_k
    while rest > 0.0:
        if content > 0.0:
            part = 1.0 - state[0]
            if rest < part:
                left += rest * temp[layers]
                temp[0] = (state[0] * temp[0] + rest * temp_in_k) / (state[0] + rest)
                state[0] += rest
                break
            left += part * temp[layers]
            temp[0] = state[0] * temp[0] + part * temp_in_k
            for k in range(layers, 0, -1):
                temp[k] = temp[k - 1]
            temp[0] = temp_in_k
            state[0] = 0.0
        else:
            part = state[0]
            if rest < part:
                left += rest * temp[0]
                temp[layers] = ((1.0 - state[0]) * temp[layers] + rest * temp_in_k) / (1.0 - state[0] + rest)
                state[0] -= rest
                break
            left += part * temp[0]
            temp[layers] = (1.0 - state[0]) * temp[layers] + part * temp_in_k
            for k in range(layers):
                temp[k] = temp[k + 1]
            temp[layers] = temp_in_k
            state[0] = 1.0
        rest -= part
    return left


cdef void settle(double* temp, double fill, Py_ssize_t layers) noexcept nogil:
    """Mix what is warmer below than above, until temperatures rise to the top (neighbours are pooled, one pass)."""
    cdef double[MOST_LAYERS + 1] weight
    cdef double[MOST_LAYERS + 1] mean
    cdef Py_ssize_t[MOST_LAYERS + 1] first
    cdef Py_ssize_t k, i, blocks = 0, low = lowest_plug(fill), high = highest_plug(fill, layers)
    cdef bint stable = True
    for k in range(low, high):
        stable &= temp[k] <= temp[k + 1]
    if not stable:
        for k in range(low, high + 1):
            weight[blocks] = size(fill, k, layers)
            mean[blocks] = temp[k]
            first[blocks] = k
            blocks += 1
            while blocks > 1 and mean[blocks - 2] > mean[blocks - 1]:
                mean[blocks - 2] += (mean[blocks - 1] - mean[blocks - 2]) * (
                    weight[blocks - 1] / (weight[blocks - 2] + weight[blocks - 1])
                )
                weight[blocks - 2] += weight[blocks - 1]
                blocks -= 1
        for i in range(blocks):
            for k in range(first[i], first[i + 1] if i + 1 < blocks else high + 1):
                temp[k] = mean[i]
    # An empty plug shows its neighbour.
    if low > 0:
        temp[0] = temp[1]
    if high < layers:
        temp[layers] = temp[layers - 1]


cdef double tank_flow(const TankParameters* p, const double* state, const TankCommand* c) noexcept nogil:
    cdef Py_ssize_t layers = <Py_ssize_t> p.layers
    cdef double flow = clip(c.flow_kg_s, -p.maximum_flow_kg_s, p.maximum_flow_kg_s)
    if flow > 0.0 and state[1 + highest_plug(state[0], layers)] < p.lowest_discharge_temp_k:
        return 0.0
    if flow < 0.0 and state[1 + lowest_plug(state[0])] > p.highest_charge_temp_k:
        return 0.0
    return flow


cdef void advance_tank(
    const TankParameters* p, double* state, const TankCommand* c, double temp_in_k, double mass_kg, double dt_s,
    TankResult* result
) noexcept nogil:
    cdef Py_ssize_t k, layers = <Py_ssize_t> p.layers
    cdef double layer_j_k = p.capacity_j_k / p.layers
    cdef double capacity = (mass_kg if mass_kg > 0.0 else -mass_kg) * HEAT_CAPACITY
    cdef double* temp = state + 1
    conduct(temp, state[0], layers, layer_j_k, p.conductance_w_k, dt_s)
    result.loss_j = lose(p, temp, state[0], layers, layer_j_k, c.room_temp_k, dt_s)
    result.outlet_temp_k = temp_in_k
    if capacity >= LEAST_MASS_KG * HEAT_CAPACITY:
        result.outlet_temp_k = (
            move(state, layers, mass_kg * HEAT_CAPACITY / layer_j_k, temp_in_k) * layer_j_k / capacity
        )
    result.heat_j = capacity * (result.outlet_temp_k - temp_in_k)
    settle(temp, state[0], layers)
    result.mean_temp_k = 0.0
    for k in range(layers + 1):
        result.mean_temp_k += size(state[0], k, layers) * temp[k]
    result.mean_temp_k /= p.layers
    result.bottom_temp_k = temp[0]
    result.top_temp_k = temp[layers]
