/* Vectors of REAL (float, or double without SINGLE) as wide as the processor's registers, and what kernels do to them. */
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__) || defined(__F16C__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#ifdef SINGLE
typedef int32_t integer;
#else
typedef int64_t integer;
#endif

/* numbers in a vector */
#define LANES ((int64_t)(VECTOR_BYTES / sizeof(REAL)))
#define INLINE static inline __attribute__((always_inline))
/* loops over registers must be unrolled, or the registers become memory */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* loaded from and stored at any address */
typedef REAL vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef integer ints __attribute__((vector_size(VECTOR_BYTES)));

INLINE vec load(const REAL *from) { return *(const vec *)from; }
INLINE void store(REAL *to, vec x) { *(vec *)to = x; }

#ifdef SINGLE
typedef uint16_t shorts __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));

/* bfloat16 is float's upper half */
INLINE vec load_bfloat16(const uint16_t *from) {
    return (vec)(__builtin_convertvector(*(const shorts *)from, ints) << 16);
}

INLINE vec load_float16(const uint16_t *from) {
#if VECTOR_BYTES == 64
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif defined(__F16C__)
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
    vec x;
    UNROLL for (int64_t l = 0; l < LANES; l++) x[l] = (REAL)((const _Float16 *)from)[l];
    return x;
#endif
}

INLINE float one_float16(const uint16_t *from) {
#ifdef __F16C__
    return _cvtsh_ss(*from);
#else
    return (float)*(const _Float16 *)from;
#endif
}

INLINE void from_float16(REAL *to, const uint16_t *from, int64_t size) {
    int64_t i = 0;
    for (; i + LANES <= size; i += LANES) store(to + i, load_float16(from + i));
    for (; i < size; i++) to[i] = one_float16(from + i);
}

/* rounded to the nearest, to the even one where two are */
INLINE void store_float16(uint16_t *to, const REAL *from, int64_t size) {
    for (int64_t i = 0; i < size; i++) {
#ifdef __F16C__
        to[i] = _cvtss_sh(from[i], _MM_FROUND_TO_NEAREST_INT);
#else
        *(_Float16 *)(to + i) = (_Float16)from[i];
#endif
    }
}
#endif

INLINE vec vmax(vec a, vec b) {
    const ints larger = a > b;
    return (vec)((larger & (ints)a) | (~larger & (ints)b));
}

/* lane l has number lanes[l] of a's and, behind them, b's; `lanes` are constants to the compiler */
INLINE vec shuffled(vec a, vec b, ints lanes) {
#ifdef __clang__
    vec y;
    UNROLL for (int64_t l = 0; l < LANES; l++) y[l] = lanes[l] < LANES ? a[lanes[l]] : b[lanes[l] - LANES];
    return y;
#else
    return __builtin_shuffle(a, b, lanes);
#endif
}

/* each lane has the number of the lane `by` away, `by` a power of two */
INLINE vec swapped(vec x, const int64_t by) {
    ints lanes;
    UNROLL for (int64_t l = 0; l < LANES; l++) lanes[l] = l ^ by;
    return shuffled(x, x, lanes);
}

INLINE REAL largest(vec x) {
    UNROLL for (int64_t by = LANES / 2; by > 0; by /= 2) x = vmax(x, swapped(x, by));
    return x[0];
}

INLINE REAL sum(vec x) {
    UNROLL for (int64_t by = LANES / 2; by > 0; by /= 2) x += swapped(x, by);
    return x[0];
}

/* Two vectors of sums become one: each number added to its neighbour `by` lanes away, a's in the lanes l where l & by is
   0, b's in the others. */
INLINE vec joined(vec a, vec b, const int64_t by) {
    ints own, neighbours;
    UNROLL for (int64_t l = 0; l < LANES; l++) {
        own[l] = l & by ? LANES + l : l;
        neighbours[l] = l & by ? LANES + l - by : l + by;
    }
    return shuffled(a, b, own) + shuffled(a, b, neighbours);
}

#ifdef SINGLE
/* exp(x) for x <= 0 as 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (the coefficients of Cephes' expf), right to two
   units in the last place; 0 below -87, NaN for NaN. */
INLINE vec negative_exp(vec x) {
    const ints n = __builtin_convertvector(x * 1.44269504f - 0.5f, ints); /* truncated, so the nearest for x <= 0 */
    const vec whole = __builtin_convertvector(n, vec);
    const vec r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const ints vanished = x < -87.0f;
    return (vec)(((ints)p + (n << 23)) & ~vanished);
}
#else
INLINE vec negative_exp(vec x) {
    vec y;
    for (int64_t l = 0; l < LANES; l++) y[l] = exp(x[l]);
    return y;
}
#endif

/* x / (1 + exp(-x)), by exp(-|x|), which cannot overflow */
INLINE vec silu(vec x) {
    const vec zero = {0}, small = negative_exp(-vmax(x, -x)), one = small * 0 + 1;
    const ints positive = x > zero;
    const vec top = (vec)((positive & (ints)one) | (~positive & (ints)small));
    return x * top / (small + 1);
}
