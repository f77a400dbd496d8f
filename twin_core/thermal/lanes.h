/* Arithmetic of the planning kernel: on one member, or on several side by side in lanes. UEM_LANES says how many.

   Only operations that IEEE 754 rounds in one way, and none that joins two of them: a member gets the same bits in any
   lane, alone, and on any processor (-ffp-contract=off). Vectors are those of GCC and Clang, as wide as all lanes:
   compilers cut them into what the processor has. */
#ifndef UEM_LANES_H
#define UEM_LANES_H

#include <math.h>
#include <string.h>

#ifndef UEM_LANES
#define UEM_LANES 1
#endif

/* Added and taken away again, it leaves the nearest whole number, which then stands in the last bits of the sum. */
#define UEM_ROUNDER 6755399441055744.0
#define UEM_ROUNDER_BITS 0x4338000000000000LL

#if UEM_LANES == 1

typedef double uem_lane;
typedef long long uem_bits;
typedef int uem_mask;

#define UEM_OP static inline __attribute__((always_inline, unused))

UEM_OP uem_lane uem_spread(double x) { return x; }
UEM_OP double uem_first(uem_lane a) { return a; }
UEM_OP uem_mask uem_less(uem_lane a, uem_lane b) { return a < b; }
UEM_OP uem_mask uem_at_most(uem_lane a, uem_lane b) { return a <= b; }
UEM_OP uem_mask uem_both(uem_mask a, uem_mask b) { return a & b; }
UEM_OP uem_mask uem_either(uem_mask a, uem_mask b) { return a | b; }
UEM_OP uem_mask uem_but_not(uem_mask a, uem_mask b) { return a & !b; }
UEM_OP int uem_any(uem_mask m) { return m; }
UEM_OP int uem_every(uem_mask m) { return m; }
UEM_OP uem_lane uem_choose(uem_mask m, uem_lane a, uem_lane b) { return m ? a : b; }
UEM_OP uem_lane uem_smaller(uem_lane a, uem_lane b) { return a < b ? a : b; }
UEM_OP uem_lane uem_larger(uem_lane a, uem_lane b) { return a > b ? a : b; }
UEM_OP uem_lane uem_root(uem_lane a) { return sqrt(a); }
UEM_OP uem_bits uem_as_bits(uem_lane a) { uem_bits b; memcpy(&b, &a, sizeof b); return b; }
UEM_OP uem_lane uem_as_lane(uem_bits b) { uem_lane a; memcpy(&a, &b, sizeof a); return a; }

#else

/* Vectors are handed over between functions of one file only, and these are all drawn into their callers. */
#pragma GCC diagnostic ignored "-Wpsabi"

typedef double uem_lane __attribute__((vector_size(8 * UEM_LANES), aligned(8), may_alias));
typedef long long uem_bits __attribute__((vector_size(8 * UEM_LANES), aligned(8), may_alias));

#define UEM_OP static inline __attribute__((always_inline, unused))

UEM_OP uem_bits uem_as_bits(uem_lane a) { return (uem_bits) a; }
UEM_OP uem_lane uem_as_lane(uem_bits b) { return (uem_lane) b; }
UEM_OP uem_lane uem_spread(double x) { return x - (uem_lane) {0}; }
UEM_OP double uem_first(uem_lane a) { return a[0]; }

#if defined(__AVX512F__) && UEM_LANES == 8

#include <immintrin.h>

typedef __mmask8 uem_mask;

UEM_OP uem_mask uem_less(uem_lane a, uem_lane b) {
    return _mm512_cmp_pd_mask((__m512d) a, (__m512d) b, _CMP_LT_OQ);
}
UEM_OP uem_mask uem_at_most(uem_lane a, uem_lane b) {
    return _mm512_cmp_pd_mask((__m512d) a, (__m512d) b, _CMP_LE_OQ);
}
UEM_OP uem_mask uem_both(uem_mask a, uem_mask b) { return a & b; }
UEM_OP uem_mask uem_either(uem_mask a, uem_mask b) { return a | b; }
UEM_OP uem_mask uem_but_not(uem_mask a, uem_mask b) { return a & ~b; }
UEM_OP int uem_any(uem_mask m) { return m != 0; }
UEM_OP int uem_every(uem_mask m) { return m == 0xFF; }
UEM_OP uem_lane uem_choose(uem_mask m, uem_lane a, uem_lane b) {
    return (uem_lane) _mm512_mask_blend_pd(m, (__m512d) b, (__m512d) a);
}
UEM_OP uem_lane uem_smaller(uem_lane a, uem_lane b) { return (uem_lane) _mm512_min_pd((__m512d) a, (__m512d) b); }
UEM_OP uem_lane uem_larger(uem_lane a, uem_lane b) { return (uem_lane) _mm512_max_pd((__m512d) a, (__m512d) b); }
UEM_OP uem_lane uem_root(uem_lane a) { return (uem_lane) _mm512_sqrt_pd((__m512d) a); }

#else

typedef uem_bits uem_mask;

UEM_OP uem_mask uem_less(uem_lane a, uem_lane b) { return a < b; }
UEM_OP uem_mask uem_at_most(uem_lane a, uem_lane b) { return a <= b; }
UEM_OP uem_mask uem_both(uem_mask a, uem_mask b) { return a & b; }
UEM_OP uem_mask uem_either(uem_mask a, uem_mask b) { return a | b; }
UEM_OP uem_mask uem_but_not(uem_mask a, uem_mask b) { return a & ~b; }

#if defined(__AVX__) && UEM_LANES == 4

#include <immintrin.h>

UEM_OP int uem_any(uem_mask m) { return _mm256_movemask_pd((__m256d) m) != 0; }
UEM_OP int uem_every(uem_mask m) { return _mm256_movemask_pd((__m256d) m) == 0xF; }
UEM_OP uem_lane uem_choose(uem_mask m, uem_lane a, uem_lane b) {
    return (uem_lane) _mm256_blendv_pd((__m256d) b, (__m256d) a, (__m256d) m);
}
UEM_OP uem_lane uem_smaller(uem_lane a, uem_lane b) { return (uem_lane) _mm256_min_pd((__m256d) a, (__m256d) b); }
UEM_OP uem_lane uem_larger(uem_lane a, uem_lane b) { return (uem_lane) _mm256_max_pd((__m256d) a, (__m256d) b); }
UEM_OP uem_lane uem_root(uem_lane a) { return (uem_lane) _mm256_sqrt_pd((__m256d) a); }

#elif defined(__SSE4_1__) && UEM_LANES == 2

#include <smmintrin.h>

UEM_OP int uem_any(uem_mask m) { return _mm_movemask_pd((__m128d) m) != 0; }
UEM_OP int uem_every(uem_mask m) { return _mm_movemask_pd((__m128d) m) == 3; }
UEM_OP uem_lane uem_choose(uem_mask m, uem_lane a, uem_lane b) {
    return (uem_lane) _mm_blendv_pd((__m128d) b, (__m128d) a, (__m128d) m);
}
UEM_OP uem_lane uem_smaller(uem_lane a, uem_lane b) { return (uem_lane) _mm_min_pd((__m128d) a, (__m128d) b); }
UEM_OP uem_lane uem_larger(uem_lane a, uem_lane b) { return (uem_lane) _mm_max_pd((__m128d) a, (__m128d) b); }
UEM_OP uem_lane uem_root(uem_lane a) { return (uem_lane) _mm_sqrt_pd((__m128d) a); }

#else

UEM_OP int uem_any(uem_mask m) {
    long long found = 0;
    for (int i = 0; i < UEM_LANES; i++) found |= m[i];
    return found != 0;
}
UEM_OP int uem_every(uem_mask m) { return !uem_any(~m); }
UEM_OP uem_lane uem_choose(uem_mask m, uem_lane a, uem_lane b) {
    return (uem_lane) ((m & (uem_bits) a) | (~m & (uem_bits) b));
}
UEM_OP uem_lane uem_smaller(uem_lane a, uem_lane b) { return uem_choose(a < b, a, b); }
UEM_OP uem_lane uem_larger(uem_lane a, uem_lane b) { return uem_choose(a > b, a, b); }
UEM_OP uem_lane uem_root(uem_lane a) {
    for (int i = 0; i < UEM_LANES; i++) a[i] = sqrt(a[i]);
    return a;
}

#endif
#endif
#endif

UEM_OP uem_lane uem_size(uem_lane a) { return uem_as_lane(uem_as_bits(a) & 0x7FFFFFFFFFFFFFFFLL); }

/* Have what is read soon brought near: `count` lanes. */
UEM_OP void uem_fetch(const uem_lane* from, int count) {
    for (const char* line = (const char*) from; line < (const char*) (from + count); line += 64) {
        __builtin_prefetch(line, 1);
    }
}

/* The same from anywhere: the first line is read, because a processor may skip what is only asked for if it has lost
   sight of its page. */
UEM_OP void uem_bring(const uem_lane* from, int count) {
    (void) *(const volatile char*) from;
    for (const char* line = (const char*) from + 64; line < (const char*) (from + count); line += 64) {
        __builtin_prefetch(line, 1);
    }
}

/* exp(-x) for x >= 0, to 1e-8 of itself: a power of two times a polynomial, in pairs because a chain would wait. */
UEM_OP uem_lane uem_exp_of_minus(uem_lane x) {
    uem_lane sum = x * 1.4426950408889634 + UEM_ROUNDER;
    uem_lane y = (sum - UEM_ROUNDER) * 0.6931471805599453 - x, y2 = y * y;
    uem_lane power = uem_as_lane(((1023 + UEM_ROUNDER_BITS) - uem_as_bits(sum)) << 52);
    y = ((1.0 + y) + y2 * (1.0 / 2.0 + y * (1.0 / 6.0)))
        + y2 * y2 * ((1.0 / 24.0 + y * (1.0 / 120.0)) + y2 * (1.0 / 720.0 + y * (1.0 / 5040.0)));
    return uem_choose(uem_less(x, uem_spread(700.0)), power * y, uem_spread(0.0));
}

/* The whole number below, for 0 <= x < 2**51. */
UEM_OP uem_lane uem_floor(uem_lane x) {
    uem_lane whole = (x + UEM_ROUNDER) - UEM_ROUNDER;
    return whole - uem_choose(uem_less(x, whole), uem_spread(1.0), uem_spread(0.0));
}

/* Every fourth number of a table, by its place there. */
#if UEM_LANES == 1
UEM_OP uem_lane uem_pick(const double* table, uem_lane place) { return table[4 * (long) place]; }
#elif defined(__AVX512F__) && UEM_LANES == 8
UEM_OP uem_lane uem_pick(const double* table, uem_lane place) {
    return (uem_lane) _mm512_i32gather_pd(_mm512_cvttpd_epi32((__m512d) (4.0 * place)), table, 8);
}
#else
UEM_OP uem_lane uem_pick(const double* table, uem_lane place) {
    uem_lane found = place;
    for (int i = 0; i < UEM_LANES; i++) found[i] = table[4 * (long) place[i]];
    return found;
}
#endif

/* Natural logarithm of a normal number above 0, within 1e-12. */
UEM_OP uem_lane uem_log(uem_lane x) {
    uem_lane exponent, mantissa, u, square;
    /* 2**52 and the biased exponent, as a number; the mantissa in 0.5 .. 1. */
    exponent = uem_as_lane((uem_as_bits(x) >> 52) | 0x4330000000000000LL);
    mantissa = uem_as_lane((uem_as_bits(x) & 0x000FFFFFFFFFFFFFLL) | 0x3FE0000000000000LL);
    /* Centred on 1 by the fixed factor sqrt(2): u in -0.172 .. 0.172. */
    u = (1.4142135623730951 * mantissa - 1.0) / (1.4142135623730951 * mantissa + 1.0);
    square = u * u;
    return (exponent - 4503599627371518.0) * 0.6931471805599453 - 0.34657359027997264 + 2.0 * u * (
        1.0 + square * (1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0 + square * (
            1.0 / 9.0 + square * (1.0 / 11.0 + square * (1.0 / 13.0 + square * (1.0 / 15.0)))
        ))))
    );
}

#endif
