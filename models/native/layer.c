/* The small operations between a layer's products, each in one pass over its rows. A row's result does not depend on
   how many others there are. */

#include "operations.h"

/* fewer rows are not worth waking other threads for */
#define MANY_ROWS 32

INLINE REAL sum_of_squares(const REAL *x, int64_t size) {
    vec squares = {0};
    int64_t i = 0;
    for (; i + LANES <= size; i += LANES) squares += load(x + i) * load(x + i);
    REAL total = sum(squares);
    for (; i < size; i++) total += x[i] * x[i];
    return total;
}

INLINE void scaled(const REAL *x, REAL by, const REAL *weight, REAL *out, int64_t size) {
    for (int64_t i = 0; i < size; i++) out[i] = x[i] * by * weight[i];
}

/* x [rows, size] / rms(x) * weight into out; where there is a delta [rows, size], x becomes x + delta first */
void rms_norm(REAL *x, const REAL *delta, const REAL *weight, REAL *out, int64_t rows, int64_t size, double eps,
              int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows >= MANY_ROWS)
    for (int64_t row = 0; row < rows; row++) {
        REAL *here = x + row * size;
        if (delta)
            for (int64_t i = 0; i < size; i++) here[i] += delta[row * size + i];
        const REAL mean = sum_of_squares(here, size) / (REAL)size;
        scaled(here, 1 / (REAL)sqrt(mean + eps), weight, out + row * size, size);
    }
}

/* The first `rotated` heads of each row, in place: RMSNorm where there are weights, q_weight for the first `queries` of
   them and k_weight for the others, then the rotary embedding. cos and sin are [rows, size], the sign of the rotation in
   sin's first half. */
void rotate_heads(REAL *heads, int64_t stride, const REAL *cos, const REAL *sin, const REAL *q_weight,
                  const REAL *k_weight, int64_t rows, int64_t queries, int64_t rotated, int64_t size, double eps,
                  int64_t threads) {
    const int64_t half = size / 2;
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows >= MANY_ROWS)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *c = cos + row * size, *s = sin + row * size;
        for (int64_t head = 0; head < rotated; head++) {
            REAL *x = heads + row * stride + head * size;
            if (q_weight) {
                const REAL mean = sum_of_squares(x, size) / (REAL)size;
                scaled(x, 1 / (REAL)sqrt(mean + eps), head < queries ? q_weight : k_weight, x, size);
            }
            for (int64_t i = 0; i < half; i++) {
                const REAL a = x[i], b = x[i + half];
                x[i] = a * c[i] + b * s[i];
                x[i + half] = b * c[i + half] + a * s[i + half];
            }
        }
    }
}

/* silu(gate) * up of gate_up [rows, 2 * size] into out [rows, size] */
void swiglu(const REAL *gate_up, REAL *out, int64_t rows, int64_t size, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows >= MANY_ROWS)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *gates = gate_up + row * 2 * size, *ups = gates + size;
        REAL *to = out + row * size;
        int64_t i = 0;
        for (; i + LANES <= size; i += LANES) store(to + i, silu(load(gates + i)) * load(ups + i));
        for (; i < size; i++) to[i] = gates[i] / (1 + (REAL)exp(-gates[i])) * ups[i];
    }
}
