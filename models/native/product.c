/* Products with a weight that lies in panels of PANEL outputs, [panels, inputs, PANEL], the last one filled up with
   zeros, as REAL or in 16 bits. Every number is summed in one order, whatever rows come with it: a row has the same bits
   in every batch. */

#include "operations.h"

/* vectors in a panel's row, and its numbers */
#define WIDE 2
#define PANEL (WIDE * LANES)
/* rows of a tile, whose sums the registers hold beside a panel's row; up to so many take two panels at once */
#if VECTOR_BYTES == 64
#define ROWS 12
#define LOW 6
#else
#define ROWS 6
#define LOW 2
#endif
/* Inputs of a block: its part of a panel stays in the nearest cache while all rows pass. Each block's products are summed
   by themselves, since long sums lose more by rounding than sums of short ones. */
#define INPUTS 128
/* inputs ahead of the current one that are fetched from farther caches */
#define AHEAD 32
/* tiles of rows from which on a block is converted to REAL once for all of them */
#define MANY_TILES 8
/* rows that pass a panel before the next panel: more would have left the nearer caches by then */
#define MOST_ROWS 192
/* the same for gates, whose sums wait in the nearest cache for the ups */
#define MOST_GATED_ROWS 96
/* products from which on waking the other threads pays */
#define MANY_PRODUCTS 60000

/* how a weight's numbers are kept; mirrored in linear.py */
enum { AS_REAL, AS_FLOAT16, AS_BFLOAT16 };

/* y [rows, width] = x [rows, inputs] @ some panels + bias, which may be NULL, or y + x @ panels where it goes `onto` y.
   A panel begins `apart` numbers behind the one before it, a row of y `stride`, one of x `inputs`. */
typedef struct {
    const REAL *x;
    const char *weight;
    const REAL *bias;
    REAL *y;
    int64_t rows, inputs, panels, apart, width, stride;
    int kept, onto;
} Strip;

/* numbers that a block's sums are added to, those of one row `stride` behind the row before's */
typedef struct {
    const REAL *at;
    int64_t stride;
} Begin;

static const REAL zeros[4 * PANEL];

INLINE int64_t number_bytes(const int kept) { return kept == AS_REAL ? sizeof(REAL) : 2; }

INLINE vec numbers_at(const char *from, const int kept) {
#ifdef SINGLE
    if (kept == AS_FLOAT16) return load_float16((const uint16_t *)from);
    if (kept == AS_BFLOAT16) return load_bfloat16((const uint16_t *)from);
#endif
    return load((const REAL *)from);
}

/* sums [rows, panels * PANEL] = begin + x [rows, inputs] @ panels, which are `panel_size` numbers apart */
INLINE void add_products(const REAL *x, int64_t x_stride, const char *weight, int64_t panel_size, int64_t inputs,
                         Begin begin, REAL *sums, int64_t stride, const int rows, const int panels, const int kept) {
    const int64_t bytes = number_bytes(kept);
    vec part[ROWS][4 * WIDE];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int i = 0; i < panels * WIDE; i++) part[r][i] = (vec){0};
    for (int64_t k = 0; k < inputs; k++) {
        vec numbers[4 * WIDE];
        UNROLL for (int p = 0; p < panels; p++) {
            const char *here = weight + (p * panel_size + k * PANEL) * bytes;
            __builtin_prefetch(here + AHEAD * PANEL * bytes);
            UNROLL for (int i = 0; i < WIDE; i++) numbers[p * WIDE + i] = numbers_at(here + i * LANES * bytes, kept);
        }
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int i = 0; i < panels * WIDE; i++) part[r][i] += numbers[i] * x[r * x_stride + k];
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int i = 0; i < panels * WIDE; i++)
            store(sums + r * stride + i * LANES, load(begin.at + r * begin.stride + i * LANES) + part[r][i]);
}

#define TILE(rows, panels)  \
    case rows * 8 + panels: \
        return add_products(x, x_stride, weight, panel_size, inputs, begin, sums, stride, rows, panels, kept);

/* few rows take several panels at once, so that enough sums are under way */
INLINE void add_tile_kept(const REAL *x, int64_t x_stride, const char *weight, int64_t panel_size, int64_t inputs,
                          Begin begin, REAL *sums, int64_t stride, int64_t rows, int64_t panels, const int kept) {
    switch (rows * 8 + panels) {
        TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(1, 4) TILE(2, 1) TILE(2, 2) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1)
#if ROWS == 12
        TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2) TILE(7, 1) TILE(8, 1) TILE(9, 1) TILE(10, 1) TILE(11, 1) TILE(12, 1)
#endif
    }
}

static void add_tile(const REAL *x, int64_t x_stride, const char *weight, int64_t panel_size, int64_t inputs,
                     Begin begin, REAL *sums, int64_t stride, int64_t rows, int64_t panels, int kept) {
#ifdef SINGLE
    if (kept == AS_FLOAT16)
        return add_tile_kept(x, x_stride, weight, panel_size, inputs, begin, sums, stride, rows, panels, AS_FLOAT16);
    if (kept == AS_BFLOAT16)
        return add_tile_kept(x, x_stride, weight, panel_size, inputs, begin, sums, stride, rows, panels, AS_BFLOAT16);
#endif
    add_tile_kept(x, x_stride, weight, panel_size, inputs, begin, sums, stride, rows, panels, AS_REAL);
}

/* as add_tile for the last panel, of which only `width` numbers have a place in the sums */
static void add_narrow_tile(const REAL *x, int64_t x_stride, const char *weight, int64_t inputs, Begin begin,
                            REAL *sums, int64_t stride, int64_t rows, int64_t width, int kept) {
    REAL whole[ROWS * PANEL] = {0};
    for (int64_t r = 0; r < rows; r++) memcpy(whole + r * PANEL, begin.at + r * begin.stride, width * sizeof(REAL));
    add_tile(x, x_stride, weight, 0, inputs, (Begin){whole, PANEL}, whole, PANEL, rows, 1, kept);
    for (int64_t r = 0; r < rows; r++) memcpy(sums + r * stride, whole + r * PANEL, width * sizeof(REAL));
}

/* the strip's product for the inputs from `from` on, tile by tile of the rows */
static void add_block(const Strip *s, int64_t from, int64_t inputs) {
    const int64_t tiles = (s->rows + ROWS - 1) / ROWS, whole = s->width / PANEL;
    const char *weight = s->weight + from * PANEL * number_bytes(s->kept);
    int kept = s->kept;
#ifdef SINGLE
    REAL converted[INPUTS * PANEL];
    if (kept != AS_REAL && tiles >= MANY_TILES) {
        for (int64_t i = 0; i < inputs * PANEL; i += LANES) {
            const char *here = weight + 2 * i;
            __builtin_prefetch(here + 2 * AHEAD * PANEL);
            store(converted + i, kept == AS_FLOAT16 ? numbers_at(here, AS_FLOAT16) : numbers_at(here, AS_BFLOAT16));
        }
        weight = (const char *)converted, kept = AS_REAL;
    }
#endif
    for (int64_t t = 0, row = 0, rows; t < tiles; t++, row += rows) {
        /* tiles of about the same height, since low ones are slow */
        rows = (s->rows - row + tiles - t - 1) / (tiles - t);
        const REAL *x = s->x + row * s->inputs + from;
        REAL *sums = s->y + row * s->stride;
        Begin begin = {sums, s->stride};
        if (from == 0 && !s->onto) begin = (Begin){s->bias ? s->bias : zeros, 0};
        if (whole) add_tile(x, s->inputs, weight, s->apart, inputs, begin, sums, s->stride, rows, whole, kept);
        begin.at += whole * PANEL;
        if (whole < s->panels)
            add_narrow_tile(x, s->inputs, weight + whole * s->apart * number_bytes(kept), inputs, begin,
                            sums + whole * PANEL, s->stride, rows, s->width - whole * PANEL, kept);
    }
}

static void multiply(const Strip *s) {
    for (int64_t from = 0; from < s->inputs; from += INPUTS)
        add_block(s, from, s->inputs - from < INPUTS ? s->inputs - from : INPUTS);
}

/* rows that pass a panel together: equal parts, so that threads have the same work */
static int64_t height_of_parts(int64_t rows, int64_t most) {
    const int64_t parts = (rows + most - 1) / most;
    return parts ? (rows + parts - 1) / parts : 1;
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* y [rows, outputs] = x [rows, inputs] @ weight + bias, which may be NULL, or y + x @ weight where it goes `onto` y;
   neither x nor y has gaps */
void product(const REAL *x, const char *weight, const REAL *bias, REAL *y, int64_t rows, int64_t inputs,
             int64_t outputs, int64_t kept, int64_t onto, int64_t threads) {
    const int64_t all = (outputs + PANEL - 1) / PANEL, few = rows == 1 ? 4 : rows <= LOW ? 2 : 1;
    /* but no thread is left without a panel */
    const int64_t together = few * threads <= all ? few : 1, height = height_of_parts(rows, MOST_ROWS);
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1 && rows * inputs * outputs >= MANY_PRODUCTS)
    for (int64_t row = 0; row < rows; row += height)
        for (int64_t panel = 0; panel < all; panel += together) {
            const int64_t first = panel * PANEL, panels = least(together, all - panel);
            const Strip strip = {.x = x + row * inputs,
                                 .weight = weight + first * inputs * number_bytes(kept),
                                 .bias = bias ? bias + first : NULL,
                                 .y = y + row * outputs + first,
                                 .rows = least(height, rows - row),
                                 .inputs = inputs,
                                 .panels = panels,
                                 .apart = inputs * PANEL,
                                 .width = least(panels * PANEL, outputs - first),
                                 .stride = outputs,
                                 .kept = kept,
                                 .onto = onto};
            multiply(&strip);
        }
}

/* silu(gate) * up into out [rows, size], where [gate, up] [rows, 2 * size] = x [rows, inputs] @ weight + bias, which may
   be NULL; size is a multiple of PANEL. A panel of gates and the ups that belong to it stay with one thread. */
void gated_product(const REAL *x, const char *weight, const REAL *bias, REAL *out, int64_t rows, int64_t inputs,
                   int64_t size, int64_t kept, int64_t threads) {
    const int64_t height = height_of_parts(rows, MOST_GATED_ROWS), to_ups = size * inputs;
    /* few rows take both panels at once */
    const int64_t panels = rows <= LOW ? 2 : 1;
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1 && 2 * rows * inputs * size >= MANY_PRODUCTS)
    for (int64_t row = 0; row < rows; row += height)
        for (int64_t first = 0; first < size; first += PANEL) {
            REAL both[MOST_GATED_ROWS * 2 * PANEL];
            Strip strip = {.x = x + row * inputs,
                           .weight = weight + first * inputs * number_bytes(kept),
                           .y = both,
                           .rows = least(height, rows - row),
                           .inputs = inputs,
                           .panels = panels,
                           .apart = to_ups,
                           .width = panels * PANEL,
                           .stride = 2 * PANEL,
                           .kept = kept,
                           .onto = bias != NULL};
            for (int64_t r = 0; bias && r < strip.rows; r++) {
                memcpy(both + r * 2 * PANEL, bias + first, PANEL * sizeof(REAL));
                memcpy(both + r * 2 * PANEL + PANEL, bias + size + first, PANEL * sizeof(REAL));
            }
            multiply(&strip);
            if (panels == 1) {
                strip.weight += to_ups * number_bytes(kept), strip.y += PANEL;
                multiply(&strip);
            }
            for (int64_t r = 0; r < strip.rows; r++)
                for (int64_t i = 0; i < PANEL; i += LANES) {
                    const REAL *gate = both + r * 2 * PANEL + i;
                    store(out + (row + r) * size + first + i, silu(load(gate)) * load(gate + PANEL));
                }
        }
}

/* numbers of a panel's row */
int64_t product_panel(void) { return PANEL; }
