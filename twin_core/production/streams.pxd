from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #ifndef UEM_STREAMS
    #define UEM_STREAMS
    #include <stdint.h>
    /* xoshiro256++ of Blackman and Vigna, 2019, on unsigned numbers that wrap. */
    typedef struct { uint64_t a, b, c, d; } UemStream;

    static inline uint64_t uem_turn(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

    static inline uint64_t uem_bits(UemStream *s) {
        uint64_t found = uem_turn(s->a + s->d, 23) + s->a, t = s->b << 17;
        s->c ^= s->a; s->d ^= s->b; s->b ^= s->c; s->a ^= s->d;
        s->c ^= t;
        s->d = uem_turn(s->d, 45);
        return found;
    }

    /* splitmix64: spreads numbers that are near to each other over all 64 bits. */
    static inline uint64_t uem_mix(uint64_t *x) {
        uint64_t z = (*x += 0x9e3779b97f4a7c15ULL);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }

    static inline void uem_seed(UemStream *s, uint64_t seed, uint64_t replication, uint64_t key) {
        uint64_t x = seed;
        x = uem_mix(&x) ^ replication;
        x = uem_mix(&x) ^ key;
        s->a = uem_mix(&x); s->b = uem_mix(&x); s->c = uem_mix(&x); s->d = uem_mix(&x);
    }
    #endif
    """
    ctypedef struct Stream "UemStream":
        uint64_t a
        uint64_t b
        uint64_t c
        uint64_t d

    uint64_t next_bits "uem_bits"(Stream* stream) noexcept nogil
    void seed_stream "uem_seed"(Stream* stream, uint64_t seed, uint64_t replication, uint64_t key) noexcept nogil


cdef struct Ziggurat:
    # Right ends of the layers, the widest first, and the density there; x[0] stands for the base with its tail.
    double x[257]
    double y[257]


cdef const Ziggurat* exponential_layers() noexcept nogil
cdef const Ziggurat* normal_layers() noexcept nogil
cdef double exponential_edge(Stream* stream, Py_ssize_t layer, double x) noexcept nogil
cdef double normal(Stream* stream) noexcept nogil


cdef inline double uniform(Stream* stream) noexcept nogil:
    """In [0, 1), in steps of 2**-53."""
    return (next_bits(stream) >> 11) * 1.1102230246251565e-16


cdef inline double exponential(Stream* stream, const Ziggurat* layers) noexcept nogil:
    """Exponential with mean 1; 98.9 % of the draws end here."""
    cdef uint64_t bits = next_bits(stream)
    cdef Py_ssize_t layer = bits & 255
    cdef double x = (bits >> 11) * 1.1102230246251565e-16 * layers.x[layer]
    if x < layers.x[layer + 1]:
        return x
    return exponential_edge(stream, layer, x)
