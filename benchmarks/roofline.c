/* What one core of this machine can do at best: the two limits that a kernel's figure is read against. */

#if defined(__AVX512F__)
typedef double vector __attribute__((vector_size(64)));
#elif defined(__AVX__)
typedef double vector __attribute__((vector_size(32)));
#else
typedef double vector __attribute__((vector_size(16)));
#endif

enum { CHAINS = 12, LANES = sizeof(vector) / sizeof(double) };

/* Chains of dependent multiply-adds, enough of them to hide the latency. Returns the operations done. */
double multiply_add(long rounds, double *out)
{
    vector x[CHAINS], a, b;
    for (int lane = 0; lane < LANES; lane++) {
        a[lane] = 0.999999;
        b[lane] = 1e-6;
        for (int chain = 0; chain < CHAINS; chain++)
            x[chain][lane] = chain + lane;
    }
    for (long round = 0; round < rounds; round++)
#pragma GCC unroll 12
        for (int chain = 0; chain < CHAINS; chain++)
            x[chain] = x[chain] * a + b;
    *out = 0.0;
    for (int chain = 0; chain < CHAINS; chain++)
        for (int lane = 0; lane < LANES; lane++)
            *out += x[chain][lane];
    return 2.0 * CHAINS * LANES * rounds;
}

/* a = b + s c over arrays of n, many times. Returns the bytes moved as the program counts them: 24 for each element. */
double triad(double *restrict a, const double *restrict b, const double *restrict c, double s, long n, long rounds)
{
    for (long round = 0; round < rounds; round++) {
        for (long i = 0; i < n; i++)
            a[i] = b[i] + s * c[i];
        __asm__ volatile("" ::: "memory"); /* each round is done, however little it changes */
    }
    return 24.0 * n * rounds;
}
