/* What a layer does before attention and what it does after, each in one call: for few rows, coming here from Python
   costs as much as the sums. */

#include "operations.h"

/* Mirrored in layer.py. `panels` as in product.c; bias may be NULL. */
typedef struct {
    const char *panels;
    const REAL *bias;
    int64_t inputs, outputs, kept;
} Weight;

/* Mirrored in layer.py. query_norm and key_norm may be NULL; of the heads that qkv gives, `rotated` are rotated, the first
   `queries` of them queries. */
typedef struct {
    Weight qkv, output, gate_up, down;
    const REAL *attention_norm, *mlp_norm, *query_norm, *key_norm;
    int64_t queries, rotated, head_dim;
    double attention_eps, mlp_eps, head_eps;
} Layer;

static void multiply_by(const Weight *w, const REAL *x, REAL *y, int64_t rows, int64_t onto, int64_t threads) {
    product(x, w->panels, onto ? NULL : w->bias, y, rows, w->inputs, w->outputs, w->kept, onto, threads);
}

/* heads [rows, qkv's outputs] of x [rows, inputs]. Returns 0, or 1 where there is no memory to work in. */
int layer_before(const Layer *layer, REAL *x, const REAL *cos, const REAL *sin, REAL *heads, int64_t rows,
                 int64_t threads) {
    REAL *normed = malloc((rows * layer->qkv.inputs + 1) * sizeof(REAL));
    if (!normed) return 1;
    rms_norm(x, NULL, layer->attention_norm, normed, rows, layer->qkv.inputs, layer->attention_eps, threads);
    multiply_by(&layer->qkv, normed, heads, rows, 0, threads);
    rotate_heads(heads, layer->qkv.outputs, cos, sin, layer->query_norm, layer->key_norm, rows, layer->queries,
                 layer->rotated, layer->head_dim, layer->head_eps, threads);
    free(normed);
    return 0;
}

/* x [rows, size] += what `attended` [rows, output's inputs] comes to, and then what that comes to in the feed-forward
   part. Returns 0, or 1 where there is no memory to work in. */
int layer_after(const Layer *layer, REAL *x, const REAL *attended, int64_t rows, int64_t threads) {
    const Weight *gate_up = &layer->gate_up, *down = &layer->down;
    const int64_t size = down->outputs;
    REAL *delta = malloc((rows * (2 * size + down->inputs) + 1) * sizeof(REAL));
    if (!delta) return 1;
    REAL *normed = delta + rows * size, *gated = normed + rows * size;
    multiply_by(&layer->output, attended, delta, rows, 0, threads);
    rms_norm(x, delta, layer->mlp_norm, normed, rows, size, layer->mlp_eps, threads);
    gated_product(normed, gate_up->panels, gate_up->bias, gated, rows, gate_up->inputs, down->inputs, gate_up->kept,
                  threads);
    for (int64_t row = 0; down->bias && row < rows; row++)
        for (int64_t i = 0; i < size; i++) x[row * size + i] += down->bias[i];
    multiply_by(down, gated, x, rows, 1, threads);
    free(delta);
    return 0;
}
