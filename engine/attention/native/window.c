/* Window attention for a CPU: every page is read where it lies, for as many windows of as many shapes as a step has.
   Keys are taken in blocks and their softmax is kept running, as in FlashAttention (arXiv 2205.14135). */

#include "vector.h"

/* keys in a block, and queries that share what is loaded of them */
#define KEYS 64
#define QUERIES 4
/* vectors of a query that are in registers at once */
#if VECTOR_BYTES == 64
#define WIDE 4
#else
#define WIDE 2
#endif
/* up to so many queries do without transposing the keys */
#define FEW_QUERIES 3

/* Mirrored in native_window.py. starts, rows, prefixes: [windows]. pages: every window's page numbers, tables [windows]
   says from where. write_slots, below, from, to: [rows of the batch]; row t of a window sees those below `below` and
   those from `from` to `to` - 1 of its window. */
typedef struct {
    int64_t windows, heads, kv_heads, head_dim, page_size, most_rows, threads;
    double scale;
    const int64_t *starts, *rows, *prefixes, *tables, *pages, *write_slots, *below, *from, *to;
} Plan;

/* q [rows, heads, head_dim], k and v [rows, kv_heads, head_dim] with their rows' strides; out as q, without gaps;
   slots [slots, 2, kv_heads, head_dim] */
typedef struct {
    REAL *slots;
    const REAL *q, *k, *v;
    REAL *out;
    int64_t q_stride, k_stride, v_stride;
} Step;

/* The queries of a window's rows under one KV head, row by row, with what they have seen: [queries, head_dim] twice, then
   [queries] twice. */
typedef struct {
    REAL *queries, *sums, *largest, *total;
} Head;

/* What one thread works in: `heads` [kv_heads] of its window, and of one block the keys, these transposed, and scores. */
typedef struct {
    Head *heads;
    REAL *transposed, *scores;
    const REAL *keys[KEYS];
} Room;

INLINE int sees(const Plan *plan, int64_t row, int64_t key) {
    return key < plan->below[row] || (key >= plan->from[row] && key < plan->to[row]);
}

INLINE int sees_any(const Plan *plan, int64_t row, int64_t first, int64_t n) {
    return first < plan->below[row] || (first < plan->to[row] && first + n > plan->from[row]);
}

/* the block's keys as transposed [dim, KEYS]; what lies behind the n-th is not used */
static void transpose_keys(Room *room, int64_t n, int64_t dim) {
    for (int64_t t = n; t < KEYS; t++) room->keys[t] = room->keys[0];
    for (int64_t t = 0; t < n; t += LANES) {
        int64_t d = 0;
        for (; d + LANES <= dim; d += LANES) {
            vec rows[LANES];
            UNROLL for (int64_t l = 0; l < LANES; l++) rows[l] = load(room->keys[t + l] + d);
            transpose(rows);
            UNROLL for (int64_t l = 0; l < LANES; l++) store(room->transposed + (d + l) * KEYS + t, rows[l]);
        }
        for (; d < dim; d++)
            for (int64_t l = 0; l < LANES; l++) room->transposed[d * KEYS + t + l] = room->keys[t + l][d];
    }
}

/* scores [count, KEYS] of queries [count, dim] */
INLINE void score(const REAL *queries, const REAL *transposed, int64_t n, REAL *scores, int64_t dim, const int count) {
    for (int64_t t = 0; t < n; t += WIDE * LANES) {
        vec sums[QUERIES][WIDE];
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int i = 0; i < WIDE; i++) sums[j][i] = (vec){0};
        for (int64_t d = 0; d < dim; d++) {
            vec keys[WIDE];
            UNROLL for (int i = 0; i < WIDE; i++) keys[i] = load(transposed + d * KEYS + t + i * LANES);
            UNROLL for (int j = 0; j < count; j++)
                UNROLL for (int i = 0; i < WIDE; i++) sums[j][i] += keys[i] * queries[j * dim + d];
        }
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int i = 0; i < WIDE; i++) store(scores + j * KEYS + t + i * LANES, sums[j][i]);
    }
}

/* the same, key by key */
INLINE void score_few(const REAL *queries, const REAL *const *keys, int64_t n, REAL *scores, int64_t dim,
                      const int count) {
    for (int64_t t = 0; t < n; t++) {
        const REAL *key = keys[t];
        vec sums[FEW_QUERIES];
        UNROLL for (int j = 0; j < count; j++) sums[j] = (vec){0};
        int64_t d = 0;
        for (; d + LANES <= dim; d += LANES)
            UNROLL for (int j = 0; j < count; j++) sums[j] += load(key + d) * load(queries + j * dim + d);
        for (int j = 0; j < count; j++) {
            REAL score = sum(sums[j]);
            for (int64_t rest = d; rest < dim; rest++) score += key[rest] * queries[j * dim + rest];
            scores[j * KEYS + t] = score;
        }
    }
}

/* n scores become weights exp(score - largest) in place; what was summed before is rescaled where `largest` grows */
INLINE void soften(REAL *scores, int64_t n, REAL *largest_yet, REAL *total, REAL *sums, int64_t dim) {
    for (int64_t t = n; t % LANES; t++) scores[t] = -INFINITY;
    vec most = load(scores);
    for (int64_t t = LANES; t < n; t += LANES) most = vmax(most, load(scores + t));
    const REAL here = largest(most);
    if (here > *largest_yet) {
        const vec difference = (vec){*largest_yet - here};
        const REAL shrunk = negative_exp(difference)[0];
        *total *= shrunk;
        for (int64_t d = 0; d < dim; d++) sums[d] *= shrunk;
        *largest_yet = here;
    }
    vec weights = {0};
    for (int64_t t = 0; t < n; t += LANES) {
        const vec weight = negative_exp(load(scores + t) - *largest_yet);
        store(scores + t, weight);
        weights += weight;
    }
    *total += sum(weights);
}

/* sums [count, dim] += weights [count, KEYS] @ values, in `wide` vectors from d on */
INLINE void mix_part(const REAL *weights, const REAL *const *keys, int64_t value, int64_t n, REAL *sums, int64_t dim,
                     int64_t d, const int count, const int wide) {
    vec part[QUERIES][WIDE];
    UNROLL for (int j = 0; j < count; j++)
        UNROLL for (int i = 0; i < wide; i++) part[j][i] = load(sums + j * dim + d + i * LANES);
    for (int64_t t = 0; t < n; t++) {
        vec values[WIDE];
        UNROLL for (int i = 0; i < wide; i++) values[i] = load(keys[t] + value + d + i * LANES);
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int i = 0; i < wide; i++) part[j][i] += values[i] * weights[j * KEYS + t];
    }
    UNROLL for (int j = 0; j < count; j++)
        UNROLL for (int i = 0; i < wide; i++) store(sums + j * dim + d + i * LANES, part[j][i]);
}

INLINE void mix(const REAL *weights, const REAL *const *keys, int64_t value, int64_t n, REAL *sums, int64_t dim,
                const int count) {
    int64_t d = 0;
    for (; d + WIDE * LANES <= dim; d += WIDE * LANES) mix_part(weights, keys, value, n, sums, dim, d, count, WIDE);
    for (; d + LANES <= dim; d += LANES) mix_part(weights, keys, value, n, sums, dim, d, count, 1);
    for (; d < dim; d++)
        for (int j = 0; j < count; j++)
            for (int64_t t = 0; t < n; t++) sums[j * dim + d] += weights[j * KEYS + t] * keys[t][value + d];
}

/* Queries j .. j + count - 1 against the room's n keys. `row` is the window's first row where the keys are of the window,
   from its row `first` on, and -1 where they are of the prefix, which everybody sees. */
INLINE void attend_tile(const Plan *plan, Room *room, const Head *head, int64_t n, int64_t j, int few, int64_t row,
                        int64_t first, const int count) {
    const int64_t dim = plan->head_dim, ratio = plan->heads / plan->kv_heads;
    REAL *queries = head->queries + j * dim, *sums = head->sums + j * dim, *scores = room->scores;
    if (count <= FEW_QUERIES && few) score_few(queries, room->keys, n, scores, dim, count);
    else score(queries, room->transposed, n, scores, dim, count);
    for (int i = 0; i < count; i++) {
        if (row >= 0)
            for (int64_t t = 0; t < n; t++)
                if (!sees(plan, row + (j + i) / ratio, first + t)) scores[i * KEYS + t] = -INFINITY;
        soften(scores + i * KEYS, n, head->largest + j + i, head->total + j + i, sums + i * dim, dim);
    }
    mix(scores, room->keys, plan->kv_heads * dim, n, sums, dim, count);
}

static void attend_block(const Plan *plan, Room *room, const Head *head, int64_t n, int64_t queries, int64_t row,
                         int64_t first) {
    const int64_t ratio = plan->heads / plan->kv_heads;
    const int few = queries <= FEW_QUERIES;
    if (!few) transpose_keys(room, n, plan->head_dim);
    for (int64_t j = 0; j < queries; j += QUERIES) {
        const int64_t last = j + QUERIES < queries ? j + QUERIES : queries;
        int seen = row < 0;
        for (int64_t i = j; i < last && !seen; i++) seen = sees_any(plan, row + i / ratio, first, n);
        if (!seen) continue;
        switch (last - j) {
        case 1: attend_tile(plan, room, head, n, j, few, row, first, 1); break;
        case 2: attend_tile(plan, room, head, n, j, few, row, first, 2); break;
        case 3: attend_tile(plan, room, head, n, j, few, row, first, 3); break;
        default: attend_tile(plan, room, head, n, j, few, row, first, QUERIES);
        }
    }
}

/* numbers per slot, of which the keys' half comes first */
INLINE int64_t slot_size(const Plan *plan) { return 2 * plan->kv_heads * plan->head_dim; }

/* where the prefix's token at `place` is */
INLINE int64_t slot_of(const Plan *plan, const int64_t *pages, int64_t place) {
    return pages[place / plan->page_size] * plan->page_size + place % plan->page_size;
}

/* Load what the block from `first` on takes, one number a cache line. A step reads more than caches hold, and as heads
   lie side by side in a slot, no head's keys are a stream that the processor would fetch in advance. Real loads, since
   prefetches are dropped where an address has yet to be translated. */
static void touch_block(const Plan *plan, const REAL *slots, const int64_t *pages, int64_t first, int64_t prefix) {
    const int64_t size = slot_size(plan), line = 64 / sizeof(REAL);
    for (int64_t place = first; place < first + KEYS && place < prefix; place++) {
        const REAL *slot = slots + slot_of(plan, pages, place) * size;
        for (int64_t i = 0; i < size; i += line) (void)*(volatile const REAL *)(slot + i);
    }
}

/* A window's K and V of one head go to their slots, its queries to the room, scaled. */
static void enter(const Plan *plan, const Step *step, const Head *room, int64_t start, int64_t rows, int64_t head) {
    const int64_t dim = plan->head_dim, ratio = plan->heads / plan->kv_heads, queries = rows * ratio;
    for (int64_t row = start; row < start + rows; row++) {
        REAL *slot = step->slots + plan->write_slots[row] * slot_size(plan) + head * dim;
        memcpy(slot, step->k + row * step->k_stride + head * dim, dim * sizeof(REAL));
        memcpy(slot + plan->kv_heads * dim, step->v + row * step->v_stride + head * dim, dim * sizeof(REAL));
    }
    for (int64_t j = 0; j < queries; j++) {
        const REAL *query = step->q + (start + j / ratio) * step->q_stride + (head * ratio + j % ratio) * dim;
        for (int64_t d = 0; d < dim; d++) room->queries[j * dim + d] = query[d] * (REAL)plan->scale;
        /* less than any score, and finite: a block of which a row sees nothing must not make NaN of it */
        room->largest[j] = (REAL)-1e30, room->total[j] = 0;
    }
    memset(room->sums, 0, queries * dim * sizeof(REAL));
}

static void leave(const Plan *plan, const Step *step, const Head *room, int64_t start, int64_t rows, int64_t head) {
    const int64_t dim = plan->head_dim, ratio = plan->heads / plan->kv_heads;
    for (int64_t j = 0; j < rows * ratio; j++) {
        REAL *out = step->out + ((start + j / ratio) * plan->heads + head * ratio + j % ratio) * dim;
        for (int64_t d = 0; d < dim; d++) out[d] = room->sums[j * dim + d] / room->total[j];
    }
}

/* One window under the KV heads from `head` to `last` - 1: they share what is loaded. */
static void attend(const Plan *plan, const Step *step, Room *room, int64_t window, int64_t head, int64_t last) {
    const int64_t dim = plan->head_dim, size = slot_size(plan), start = plan->starts[window];
    const int64_t rows = plan->rows[window], prefix = plan->prefixes[window];
    const int64_t *pages = plan->pages + plan->tables[window], queries = rows * (plan->heads / plan->kv_heads);
    for (int64_t h = head; h < last; h++) enter(plan, step, room->heads + h, start, rows, h);
    for (int64_t first = 0; first < prefix; first += KEYS) {
        const int64_t n = prefix - first < KEYS ? prefix - first : KEYS;
        touch_block(plan, step->slots, pages, first, prefix);
        for (int64_t h = head; h < last; h++) {
            for (int64_t t = 0; t < n; t++)
                room->keys[t] = step->slots + slot_of(plan, pages, first + t) * size + h * dim;
            attend_block(plan, room, room->heads + h, n, queries, -1, 0);
        }
    }
    for (int64_t first = 0; first < rows; first += KEYS) {
        const int64_t n = rows - first < KEYS ? rows - first : KEYS;
        for (int64_t h = head; h < last; h++) {
            for (int64_t t = 0; t < n; t++)
                room->keys[t] = step->slots + plan->write_slots[start + first + t] * size + h * dim;
            attend_block(plan, room, room->heads + h, n, queries, start, first);
        }
    }
    for (int64_t h = head; h < last; h++) leave(plan, step, room->heads + h, start, rows, h);
}

static int furnish(Room *room, const Plan *plan) {
    const int64_t dim = plan->head_dim, queries = plan->most_rows * (plan->heads / plan->kv_heads);
    room->heads = malloc(plan->kv_heads * sizeof(Head));
    room->transposed = malloc((plan->kv_heads * 2 * queries * (dim + 1) + (dim + QUERIES) * KEYS) * sizeof(REAL));
    if (!room->heads || !room->transposed) return 0;
    room->scores = room->transposed + dim * KEYS;
    REAL *free_from = room->scores + QUERIES * KEYS;
    for (int64_t h = 0; h < plan->kv_heads; h++, free_from += 2 * queries * (dim + 1)) {
        Head *head = room->heads + h;
        head->queries = free_from, head->sums = head->queries + queries * dim;
        head->largest = head->sums + queries * dim, head->total = head->largest + queries;
    }
    return 1;
}

/* Returns 0, or 1 where there is no memory to work in. */
int window_attention(const Plan *plan, const Step *step) {
    /* few windows are split by head, so that every thread has work */
    const int64_t whole = plan->threads == 1 || plan->windows >= 2 * plan->threads;
    const int64_t parts = whole ? 1 : plan->kv_heads, heads = plan->kv_heads / parts;
    int failed = 0;
#pragma omp parallel num_threads(plan->threads) if (plan->threads > 1) reduction(| : failed)
    {
        Room room;
        const int furnished = furnish(&room, plan);
        failed |= !furnished;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < plan->windows * parts; i++)
            if (furnished) attend(plan, step, &room, i / parts, i % parts * heads, (i % parts + 1) * heads);
        free(room.heads);
        free(room.transposed);
    }
    return failed;
}
