/* What a layer is made of: layer.c and product.c have it, halves.c puts it together. */
#pragma once

#include "vector.h"

void rms_norm(REAL *x, const REAL *delta, const REAL *weight, REAL *out, int64_t rows, int64_t size, double eps,
              int64_t threads);
void rotate_heads(REAL *heads, int64_t stride, const REAL *cos, const REAL *sin, const REAL *q_weight,
                  const REAL *k_weight, int64_t rows, int64_t queries, int64_t rotated, int64_t size, double eps,
                  int64_t threads);
void product(const REAL *x, const char *weight, const REAL *bias, REAL *y, int64_t rows, int64_t inputs,
             int64_t outputs, int64_t kept, int64_t onto, int64_t threads);
void gated_product(const REAL *x, const char *weight, const REAL *bias, REAL *out, int64_t rows, int64_t inputs,
                   int64_t size, int64_t kept, int64_t threads);
