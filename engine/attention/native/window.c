/* Window attention for a CPU: every page is read where it lies, for as many windows of as many shapes as a step has.
   Keys are taken in blocks and their softmax is kept running, as in FlashAttention (arXiv 2205.14135). A block is a range
   of places in the sequence, whether these are in the cache or in the window, and every sum has one order: a row that
   sees the same tokens gets the same bits in every window and in every batch. */

#include "vector.h"

/* keys in a block, a multiple of LANES, and queries that share what is loaded of its values */
#define KEYS 64
#define QUERIES 4
/* vectors of a value that are in registers at once */
#if VECTOR_BYTES == 64
#define WIDE 4
#else
#define WIDE 2
#endif

/* queries whose scores of a key are summed together */
#define PAIR 2

/* how K and V are kept; mirrored in native_window.py */
enum { AS_REAL, AS_FLOAT16 };

/* Mirrored in native_window.py. starts, rows, prefixes: [windows]. pages: every window's page numbers, tables [windows]
   says from where. write_slots, below, from, to: [rows of the batch]; row t of a window sees those below `below` and
   those from `from` to `to` - 1 of its window. */
typedef struct {
    int64_t windows, heads, kv_heads, head_dim, page_size, most_rows, threads, kept;
    double scale;
    const int64_t *starts, *rows, *prefixes, *tables, *pages, *write_slots, *below, *from, *to;
} Plan;

/* q [rows, heads, head_dim], k and v [rows, kv_heads, head_dim] with their rows' strides; out as q, without gaps;
   slots [slots, 2, kv_heads, head_dim] */
typedef struct {
    char *slots;
    const REAL *q, *k, *v;
    REAL *out;
    int64_t q_stride, k_stride, v_stride;
} Step;

/* The queries of a window's rows under one KV head, row by row, with what they have seen: [queries, head_dim] twice, then
   [queries] twice. */
typedef struct {
    REAL *queries, *sums, *largest, *total;
} Head;

/* What one thread works in: `heads` [kv_heads] of its window; of one block where its slots are, and of one head the keys,
   each with its value `value` numbers behind, where these are not kept as REAL a copy that is; and scores. */
typedef struct {
    Head *heads;
    REAL *converted, *scores;
    const char *slots[KEYS];
    const REAL *keys[KEYS];
    int64_t value;
} Room;

INLINE int64_t number_bytes(const Plan *plan) { return plan->kept == AS_REAL ? sizeof(REAL) : 2; }

/* numbers per slot, of which the keys' half comes first */
INLINE int64_t slot_size(const Plan *plan) { return 2 * plan->kv_heads * plan->head_dim; }

INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE int sees_any(const Plan *plan, int64_t row, int64_t first, int64_t n) {
    return first < plan->below[row] || (first < plan->to[row] && first + n > plan->from[row]);
}

static void keep(char *to, const REAL *from, int64_t size, int64_t kept) {
    if (kept == AS_REAL) memcpy(to, from, size * sizeof(REAL));
#ifdef SINGLE
    else store_float16((uint16_t *)to, from, size);
#endif
}

/* Scores [count, KEYS] of queries [count, dim] and the room's n keys. A vector's lanes are summed with those of other keys,
   as soon as there are two of equally many sums: lane l of the last one is key l's. */
INLINE void score_some(const REAL *queries, const Room *room, int64_t n, REAL *scores, const int64_t dim,
                       const int count) {
    const int64_t whole = dim / LANES * LANES;
    for (int64_t t = 0; t < n; t += LANES) {
        vec waiting[PAIR][8];
        int last = 0;
        UNROLL for (int64_t by = 1; by < LANES; by *= 2) last++;
        UNROLL for (int64_t l = 0; l < LANES; l++) {
            const REAL *key = room->keys[t + l];
            vec sums[PAIR];
            UNROLL for (int j = 0; j < count; j++) sums[j] = (vec){0};
            UNROLL for (int64_t d = 0; d < whole; d += LANES) {
                const vec part = load(key + d);
                UNROLL for (int j = 0; j < count; j++) sums[j] += part * load(queries + j * dim + d);
            }
            int size = 0;
            UNROLL for (int64_t by = 1; by & l; by *= 2, size++)
                UNROLL for (int j = 0; j < count; j++) sums[j] = joined(waiting[j][size], sums[j], by);
            UNROLL for (int j = 0; j < count; j++) waiting[j][size] = sums[j];
        }
        UNROLL for (int j = 0; j < count; j++) {
            vec sum = waiting[j][last];
            for (int64_t d = whole; d < dim; d++) {
                vec rest;
                UNROLL for (int64_t l = 0; l < LANES; l++) rest[l] = room->keys[t + l][d];
                sum += rest * queries[j * dim + d];
            }
            store(scores + j * KEYS + t, sum);
        }
    }
}

INLINE void score_dim(const REAL *queries, const Room *room, int64_t n, REAL *scores, const int64_t dim, int count) {
    int j = 0;
    for (; j + PAIR <= count; j += PAIR) score_some(queries + j * dim, room, n, scores + j * KEYS, dim, PAIR);
    if (j < count) score_some(queries + j * dim, room, n, scores + j * KEYS, dim, 1);
}

/* the usual sizes of a head are known to the compiler */
static void score(const REAL *queries, const Room *room, int64_t n, REAL *scores, int64_t dim, int count) {
    switch (dim) {
    case 64: return score_dim(queries, room, n, scores, 64, count);
    case 128: return score_dim(queries, room, n, scores, 128, count);
    default: score_dim(queries, room, n, scores, dim, count);
    }
}

/* n scores become weights exp(score - largest) in place; what was summed before is rescaled where `largest` grows */
static void soften(REAL *scores, int64_t n, REAL *largest_yet, REAL *total, REAL *sums, int64_t dim) {
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
    for (int64_t t = 0; t < n && d < dim; t++)
        for (int j = 0; j < count; j++)
            for (int64_t rest = d; rest < dim; rest++)
                sums[j * dim + rest] += weights[j * KEYS + t] * keys[t][value + rest];
}

/* scores of the keys that a row does not see: those between what it sees and those behind */
INLINE void hide(const Plan *plan, int64_t row, int64_t first, int64_t n, REAL *scores) {
    const int64_t below = larger(plan->below[row] - first, 0), to = larger(plan->to[row] - first, below);
    const int64_t from = smaller(plan->from[row] - first, n);
    for (int64_t t = below; t < from; t++) scores[t] = -INFINITY;
    for (int64_t t = to; t < n; t++) scores[t] = -INFINITY;
}

/* Queries j .. j + count - 1 of the window that starts at row `start`, against the room's n keys, whose places begin
   `first` after that of the window's first row: those before it everybody sees. */
INLINE void attend_tile(const Plan *plan, Room *room, const Head *head, int64_t n, int64_t j, int64_t start,
                        int64_t first, const int count) {
    const int64_t dim = plan->head_dim, ratio = plan->heads / plan->kv_heads;
    const REAL *queries = head->queries + j * dim;
    REAL *sums = head->sums + j * dim;
    score(queries, room, n, room->scores, dim, count);
    for (int i = 0; i < count; i++) {
        REAL *scores = room->scores + i * KEYS;
        hide(plan, start + (j + i) / ratio, first, n, scores);
        soften(scores, n, head->largest + j + i, head->total + j + i, sums + i * dim, dim);
    }
    mix(room->scores, room->keys, room->value, n, sums, dim, count);
}

static void attend_block(const Plan *plan, Room *room, const Head *head, int64_t n, int64_t queries, int64_t start,
                         int64_t first) {
    const int64_t ratio = plan->heads / plan->kv_heads;
    for (int64_t j = 0; j < queries; j += QUERIES) {
        const int64_t last = j + QUERIES < queries ? j + QUERIES : queries;
        int seen = first < 0;
        for (int64_t i = j; i < last && !seen; i++) seen = sees_any(plan, start + i / ratio, first, n);
        if (!seen) continue;
        switch (last - j) {
        case 1: attend_tile(plan, room, head, n, j, start, first, 1); break;
        case 2: attend_tile(plan, room, head, n, j, start, first, 2); break;
        case 3: attend_tile(plan, room, head, n, j, start, first, 3); break;
        default: attend_tile(plan, room, head, n, j, start, first, QUERIES);
        }
    }
}

/* Where K and V of n tokens from place `first` on of a window's sequence are: in its pages, or where its rows write
   them. */
static void find_slots(const Plan *plan, const Step *step, Room *room, int64_t window, int64_t first, int64_t n) {
    const int64_t *pages = plan->pages + plan->tables[window], prefix = plan->prefixes[window];
    const int64_t bytes = slot_size(plan) * number_bytes(plan), size = plan->page_size;
    int64_t page = first / size, within = first % size;
    for (int64_t t = 0; t < n; t++) {
        const int64_t written = first + t - prefix;
        const int64_t slot =
            written < 0 ? pages[page] * size + within : plan->write_slots[plan->starts[window] + written];
        room->slots[t] = step->slots + slot * bytes;
        if (++within == size) within = 0, page++;
    }
}

/* Load what a block takes, one number a cache line. A step reads more than caches hold, and as heads lie side by side in
   a slot, no head's keys are a stream that the processor would fetch in advance. Real loads, since prefetches are
   dropped where an address has yet to be translated. */
static void touch_slots(const Plan *plan, const Room *room, int64_t n) {
    const int64_t bytes = slot_size(plan) * number_bytes(plan);
    for (int64_t t = 0; t < n; t++)
        for (int64_t i = 0; i < bytes; i += 64) (void)*(volatile const char *)(room->slots[t] + i);
}

/* the keys of one head in the n slots enter the room, with copies of the first up to a whole vector */
static void take_keys(const Plan *plan, Room *room, int64_t head, int64_t n) {
    const int64_t dim = plan->head_dim, behind = plan->kv_heads * dim;
    room->value = plan->kept == AS_REAL ? behind : dim;
    for (int64_t t = 0; t < n; t++) {
        room->keys[t] = (const REAL *)room->slots[t] + head * dim;
#ifdef SINGLE
        if (plan->kept == AS_REAL) continue;
        REAL *here = room->converted + t * 2 * dim;
        from_float16(here, (const uint16_t *)room->slots[t] + head * dim, dim);
        from_float16(here + dim, (const uint16_t *)room->slots[t] + behind + head * dim, dim);
        room->keys[t] = here;
#endif
    }
    for (int64_t t = n; t % LANES; t++) room->keys[t] = room->keys[0];
}

/* A window's K and V of one head go to their slots, its queries to the room, scaled. */
static void enter(const Plan *plan, const Step *step, const Head *room, int64_t start, int64_t rows, int64_t head) {
    const int64_t dim = plan->head_dim, ratio = plan->heads / plan->kv_heads, queries = rows * ratio;
    const int64_t bytes = number_bytes(plan), behind = plan->kv_heads * dim;
    for (int64_t row = start; row < start + rows; row++) {
        char *slot = step->slots + (plan->write_slots[row] * slot_size(plan) + head * dim) * bytes;
        keep(slot, step->k + row * step->k_stride + head * dim, dim, plan->kept);
        keep(slot + behind * bytes, step->v + row * step->v_stride + head * dim, dim, plan->kept);
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
    const int64_t start = plan->starts[window], rows = plan->rows[window], prefix = plan->prefixes[window];
    const int64_t queries = rows * (plan->heads / plan->kv_heads), places = prefix + rows;
    for (int64_t h = head; h < last; h++) enter(plan, step, room->heads + h, start, rows, h);
    for (int64_t first = 0; first < places; first += KEYS) {
        const int64_t n = places - first < KEYS ? places - first : KEYS;
        find_slots(plan, step, room, window, first, n);
        touch_slots(plan, room, n < prefix - first ? n : prefix - first);
        for (int64_t h = head; h < last; h++) {
            take_keys(plan, room, h, n);
            attend_block(plan, room, room->heads + h, n, queries, start, first - prefix);
        }
    }
    for (int64_t h = head; h < last; h++) leave(plan, step, room->heads + h, start, rows, h);
}

static int furnish(Room *room, const Plan *plan) {
    const int64_t dim = plan->head_dim, queries = plan->most_rows * (plan->heads / plan->kv_heads);
    room->heads = malloc(plan->kv_heads * sizeof(Head));
    room->converted = malloc((plan->kv_heads * 2 * queries * (dim + 1) + (2 * dim + QUERIES) * KEYS) * sizeof(REAL));
    if (!room->heads || !room->converted) return 0;
    room->scores = room->converted + 2 * dim * KEYS;
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
        free(room.converted);
    }
    return failed;
}
