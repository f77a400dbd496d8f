"""For which kind of processor kernels that are compiled several times run here: the newest that this one is.

UEM_VECTORS=v2, v3 or v4 forces one that the processor has (x86-64 levels; others have v2 only, in plain C); results are
the same to the last bit.
"""

import os

from uem.twin_core.errors import InvalidInput

LEVELS = ("v2", "v3", "v4")


cdef extern from *:
    """
    #if defined(__x86_64__)
    #include <cpuid.h>
    static int uem_vectors(void) {
        unsigned a, b, c, d;
        __builtin_cpu_init();
        /* Of what x86-64-v3 is beside these, not every compiler knows the names. */
        if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi")
              && __builtin_cpu_supports("bmi2") && __get_cpuid(1, &a, &b, &c, &d)
              && c >> 22 & c >> 29 & 1  /* movbe, f16c */
              && __get_cpuid(0x80000001, &a, &b, &c, &d) && c >> 5 & 1 /* lzcnt */)) {
            return 0;
        }
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512vl") ? 2 : 1;
    }
    #else
    static int uem_vectors(void) { return 0; }
    #endif
    """
    int uem_vectors()


def vectors():
    """What vectors this processor has: 0, 1 and 2 are x86-64-v2, v3 and v4; others count as 0."""
    return uem_vectors()


def _chosen():
    possible = LEVELS[: vectors() + 1]
    level = os.environ.get("UEM_VECTORS") or LEVELS[vectors()]
    if level not in possible:  # an instruction that is not there would end the process without a word
        raise InvalidInput(f"UEM_VECTORS={level!r}; this processor has {', '.join(possible)}")
    return level


LEVEL = _chosen()
