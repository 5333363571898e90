/* Attention by tiles of KEYS keys with a running softmax (Dao et al., "FlashAttention", 2022; the backward
 * pass recomputes probabilities from the log-sum-exp). The packed and the paged forward pass share one update
 * per tile with the same tile boundaries, so that a decoded row has the bits of the same row in a batch. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/simd/tile.h"

#include <math.h>

enum { KEYS = ATTENTION_KEYS, ROW_BLOCK = 4 * TILE_ROWS };

static int64_t min_int_simd(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t round_up(int64_t n, int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

/* Hands out pieces of the thread's scratch, each on a line of its own; without a base it only counts. */
typedef struct {
  float *base;
  int64_t used; /* floats */
} space_t;

static float *take_simd(space_t *space, int64_t floats) {
  float *piece = space->base ? space->base + space->used : NULL;
  space->used += round_up(floats, 16);
  return piece;
}

/* to (rows, D') = COUNT rows of from (bf16 where HALF), zero beyond them and beyond D columns; D' = padded.
 */
ALWAYS_INLINE void copy_padded_of(int64_t count, int64_t rows, int64_t head_size, int64_t padded,
                                  const void *from, bool half, int64_t ld, float *to) {
  int64_t whole = head_size / LANES * LANES;
  for (int64_t i = 0; i < count; i++) {
    for (int64_t d = 0; d < whole; d += LANES)
      vec_store(to + i * padded + d, load_vector(from, half, i * ld + d));
    if (whole < padded)
      vec_store(to + i * padded + whole, load_vector_part(from, half, i * ld + whole, head_size - whole));
  }
  for (int64_t i = count * padded; i < rows * padded; i += LANES)
    vec_store(to + i, (vec_t){0});
}

static void copy_padded(int64_t count, int64_t rows, int64_t head_size, int64_t padded, const float *from,
                        int64_t ld, float *to) {
  copy_padded_of(count, rows, head_size, padded, from, false, ld, to);
}

/* to (D, KEYS) = transposed rows of from, zero beyond COUNT. */
static void transpose_keys(int64_t count, int64_t head_size, const float *from, int64_t ld, float *to) {
  for (int64_t i = 0; i < KEYS; i += LANES)
    pack_transposed(count - i, head_size, from + i * ld, ld, 1.0f, to + i, KEYS);
}

/* to = panels (D, TILE_ROWS) of factor * rows of from. */
static void pack_rows(int64_t rows, int64_t head_size, const float *from, int64_t ld, float factor,
                      float *to) {
  for (int64_t r = 0; r < rows; r += TILE_ROWS, to += head_size * TILE_ROWS)
    pack_transposed(min_int_simd(TILE_ROWS, rows - r), head_size, from + r * ld, ld, factor, to, TILE_ROWS);
}

/* The first WIDTH columns of s (rows, KEYS) = panel (D, TILE_ROWS)^T keys (D, KEYS). */
static void multiply_panel_simd(int rows, int64_t width, int64_t depth, const float *panel, const float *keys,
                                float *s) {
  for (int64_t j = 0; j < width; j += TILE_COLS)
    tile_multiply(rows, width - j > LANES ? 2 : 1, depth, panel, 1, TILE_ROWS, keys + j, KEYS, s + j, s + j,
                  KEYS, 0.0f);
}

/* c (rows, columns) += p (rows, KEYS) b (depth, columns; row stride ldb). */
static void add_product(int rows, int64_t depth, int64_t columns, const float *p, const float *b, int64_t ldb,
                        float *c) {
  for (int64_t j = 0; j < columns; j += TILE_COLS)
    tile_multiply(rows, columns - j > LANES ? 2 : 1, depth, p, KEYS, 1, b + j, ldb, c + j, c + j, columns,
                  1.0f);
}

/* The first KEYS_COUNT rows of c (KEYS, columns) += p (depth, KEYS)^T b (depth, columns), where p is zero in
 * column k above row FIRST + k. */
static void add_product_transposed(int64_t keys_count, int64_t first, int64_t depth, int64_t columns,
                                   const float *p, const float *b, float *c) {
  for (int64_t i = 0; i < keys_count; i += TILE_ROWS) {
    int64_t skip = first + i > 0 ? first + i : 0;
    if (skip >= depth) return;
    for (int64_t j = 0; j < columns; j += TILE_COLS)
      tile_multiply((int)min_int_simd(TILE_ROWS, KEYS - i), columns - j > LANES ? 2 : 1, depth - skip,
                    p + i + skip * KEYS, 1, KEYS, b + j + skip * columns, columns, c + i * columns + j,
                    c + i * columns + j, columns, 1.0f);
  }
}

/* Running softmax of some rows. */
typedef struct {
  float *max, *sum; /* (rows) */
  float *out;       /* (rows, padded): not yet divided by the sum */
} softmax_t;

static void fill_zero(int64_t begin, int64_t end, float *s) {
  for (int64_t j = begin; j < end; j += LANES)
    vec_store(s + j, (vec_t){0});
}

/* The largest of the first VISIBLE scores; those behind them in the same vector become -inf. */
static float mask_row(int64_t visible, float *s) {
  int64_t last = (visible - 1) / LANES * LANES;
  vec_t lowest = (vec_t){0} - INFINITY;
  vec_t largest = vec_select(vec_first(visible - last), vec_load(s + last), lowest);
  vec_store(s + last, largest);
  for (int64_t j = 0; j < last; j += LANES)
    largest = vec_max(vec_load(s + j), largest);
  return vec_largest(largest);
}

/* One row meets new scores, the first VISIBLE of which count: they become probabilities relative to the new
 * maximum, zero up to WIDTH, and what was summed before is scaled to it. */
static void softmax_row(const softmax_t *softmax, int64_t r, int64_t padded, int64_t visible, int64_t width,
                        float *s) {
  if (visible <= 0) {
    fill_zero(0, width, s);
    return;
  }
  float old = softmax->max[r], tile_max = mask_row(visible, s);
  float max = tile_max > old ? tile_max : old;
  vec_t sum = {0};
  int64_t end = round_up(visible, LANES);
  for (int64_t j = 0; j < end; j += LANES) {
    vec_t p = vec_exp(vec_load(s + j) - max);
    vec_store(s + j, p);
    sum += p;
  }
  fill_zero(end, width, s);
  float factor = old == max ? 1.0f : exp_float(old - max);
  softmax->max[r] = max;
  softmax->sum[r] = softmax->sum[r] * factor + vec_sum(sum);
  if (factor == 1.0f || old == -INFINITY) return; /* nothing was summed before the first tile */
  float *out = softmax->out + r * padded;
  for (int64_t d = 0; d < padded; d += LANES)
    vec_store(out + d, vec_load(out + d) * factor);
}

static void softmax_start(const softmax_t *softmax, int64_t rows, int64_t padded) {
  for (int64_t r = 0; r < rows; r++) {
    softmax->max[r] = -INFINITY;
    softmax->sum[r] = 0.0f;
  }
  memset(softmax->out, 0, (size_t)(rows * padded) * sizeof(float));
}

/* At most TILE_ROWS rows meet a tile of keys: scores s (TILE_ROWS, KEYS) become probabilities. Row i sees the
 * first visible + i * step keys. Returns how many keys any row sees. */
static int64_t softmax_scores(const softmax_t *softmax, int rows, int64_t head_size, int64_t padded,
                              int64_t visible, int64_t step, const float *panel, const float *keys,
                              float *s) {
  int64_t depth = min_int_simd(visible + (rows - 1) * step, KEYS), width = round_up(depth, LANES);
  multiply_panel_simd(rows, width, head_size, panel, keys, s);
  for (int r = 0; r < rows; r++)
    softmax_row(softmax, r, padded, min_int_simd(visible + r * step, KEYS), width, s + r * KEYS);
  return depth;
}

static void softmax_finish_row(const softmax_t *softmax, int64_t r, int64_t head_size, int64_t padded,
                               float *out) {
  float factor = 1.0f / softmax->sum[r];
  const float *from = softmax->out + r * padded;
#pragma omp simd
  for (int64_t d = 0; d < head_size; d++)
    out[d] = from[d] * factor;
}

/* Scratch of the forward pass. */
typedef struct {
  float *keys, *values, *queries;
  softmax_t softmax;
} forward_space_t;

static int64_t forward_layout(int64_t rows, int32_t head_size, float *scratch, forward_space_t *space) {
  space_t from = {.base = scratch};
  int64_t padded = round_up(head_size, LANES);
  space->keys = take_simd(&from, KEYS * (int64_t)head_size);
  space->values = take_simd(&from, KEYS * padded);
  space->queries = take_simd(&from, round_up(rows, TILE_ROWS) * head_size + LANES);
  space->softmax.out = take_simd(&from, rows * padded);
  space->softmax.max = take_simd(&from, rows);
  space->softmax.sum = take_simd(&from, rows);
  return from.used;
}

static softmax_t softmax_at(const softmax_t *softmax, int64_t row, int64_t padded) {
  return (softmax_t){softmax->max + row, softmax->sum + row, softmax->out + row * padded};
}

/* The rows of one query head meet the tile of keys that starts at key. */
static void attend_head(const op_attention_t *op, const attention_task_t *task, int64_t key,
                        const float *queries, const float *keys, const float *values,
                        const softmax_t *softmax) {
  int64_t rows = task->query_end - task->query_begin, head_size = op->sequences->head_size;
  int64_t padded = round_up(head_size, LANES);
  for (int64_t r = 0; r < rows; r += TILE_ROWS) {
    int64_t count = min_int_simd(TILE_ROWS, rows - r);
    int64_t visible = op->causal ? task->query_begin + r - key + 1 : task->length - key;
    if (op->causal && visible + count - 1 <= 0) continue;
    softmax_t tile = softmax_at(softmax, r, padded);
    float s[TILE_ROWS * KEYS] __attribute__((aligned(64)));
    int64_t depth = softmax_scores(&tile, (int)count, head_size, padded, visible, op->causal ? 1 : 0,
                                   queries + r * head_size, keys, s);
    add_product((int)count, depth, padded, s, values, padded, tile.out);
  }
}

static void finish_head(const op_attention_t *op, const attention_task_t *task, int32_t head,
                        const softmax_t *softmax) {
  int64_t rows = task->query_end - task->query_begin, heads = op->sequences->heads;
  int64_t head_size = op->sequences->head_size, padded = round_up(head_size, LANES);
  for (int64_t r = 0; r < rows; r++) {
    int64_t token = task->begin + task->query_begin + r;
    softmax_finish_row(softmax, r, head_size, padded, (float *)op->out + token * op->ldo + head * head_size);
    if (op->lse) ((float *)op->lse)[token * heads + head] = softmax->max[r] + log_float(softmax->sum[r]);
  }
}

static void attention_task(const op_attention_t *op, const attention_task_t *task, float *scratch) {
  const sequences_t *all = op->sequences;
  int32_t group = all->heads / all->kv_heads, head_size = all->head_size;
  int64_t rows = task->query_end - task->query_begin, padded = round_up(head_size, LANES);
  int64_t panel = round_up(rows, TILE_ROWS) * head_size;
  forward_space_t space;
  forward_layout(rows * group + TILE_ROWS * group, head_size, scratch, &space);
  for (int32_t g = 0; g < group; g++) {
    const float *q = (const float *)op->q + (task->begin + task->query_begin) * op->ldq +
                     ((int64_t)task->kv_head * group + g) * head_size;
    pack_rows(rows, head_size, q, op->ldq, (float)op->scale, space.queries + g * panel);
  }
  softmax_start(&space.softmax, rows * group, padded);
  int64_t end = op->causal ? task->query_end : task->length;
  for (int64_t key = 0; key < end; key += KEYS) {
    int64_t at = (task->begin + key) * op->ldkv + (int64_t)task->kv_head * head_size;
    int64_t count = min_int_simd(KEYS, end - key);
    transpose_keys(count, head_size, (const float *)op->k + at, op->ldkv, space.keys);
    copy_padded(count, KEYS, head_size, padded, (const float *)op->v + at, op->ldkv, space.values);
    for (int32_t g = 0; g < group; g++) {
      softmax_t softmax = softmax_at(&space.softmax, g * rows, padded);
      attend_head(op, task, key, space.queries + g * panel, space.keys, space.values, &softmax);
    }
  }
  for (int32_t g = 0; g < group; g++) {
    softmax_t softmax = softmax_at(&space.softmax, g * rows, padded);
    finish_head(op, task, task->kv_head * group + g, &softmax);
  }
}

static void attention_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_attention_t *op = argument;
  const attention_task_t *tasks = (const attention_task_t *)op->sequences->work;
  for (int64_t i = begin; i < end; i++)
    attention_task(op, &tasks[i], scratch);
}

static int64_t attention_scratch(int64_t queries, int32_t group, int32_t head_size) {
  forward_space_t space;
  return forward_layout((queries + TILE_ROWS) * group, head_size, NULL, &space);
}

/* The paged cache as one row and key-value head sees it. */
typedef struct {
  const op_attention_paged_t *op;
  const int32_t *pages; /* of the row */
  int64_t kv_head;
} paged_head_t;

/* First element of POSITION's place in either cache; *run places from there on lie in the same page. */
static int64_t page_place(const paged_head_t *head, int64_t position, int64_t *run) {
  const op_attention_paged_t *op = head->op;
  int64_t place = position % op->page_size;
  int64_t page = head->pages[position / op->page_size];
  *run = op->page_size - place;
  return ((page * op->kv_heads + head->kv_head) * op->page_size + place) * op->head_size;
}

/* Bytes of an element of the cache. */
ALWAYS_INLINE int64_t cached_size(bool half) {
  return half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(float);
}

/* The cache's element AT. */
ALWAYS_INLINE const char *cached_at(const void *cache, bool half, int64_t at) {
  return (const char *)cache + at * cached_size(half);
}

/* Asks for N rows of the values that will be wanted once the keys beside them have been used. */
ALWAYS_INLINE void prefetch_values(const paged_head_t *head, bool half, int64_t at, int64_t n) {
  enum { LINE = 64 };
  const char *values = cached_at(head->op->v_cache, half, at);
  for (int64_t i = 0; i < n * head->op->head_size * cached_size(half); i += LINE)
    __builtin_prefetch(values + i);
}

/* Transposes the tile of COUNT keys that starts at position KEY; where a page ends within a vector of keys,
 * by way of STAGED (LANES, D). */
ALWAYS_INLINE void load_paged_keys(const paged_head_t *head, bool half, int64_t key, int64_t count,
                                   float *keys, float *staged) {
  int64_t head_size = head->op->head_size, bytes = head_size * cached_size(half), run = 0;
  const void *cache = head->op->k_cache;
  for (int64_t i = 0; i < KEYS; i += LANES) {
    int64_t wanted = min_int_simd(LANES, count - i), at = 0;
    if (wanted > 0) {
      at = page_place(head, key + i, &run);
      prefetch_values(head, half, at, min_int_simd(wanted, run));
    }
    if (wanted <= 0 || run >= wanted) {
      pack_transposed_of(wanted, head_size, cached_at(cache, half, at), half, head_size, 1.0f, keys + i,
                         KEYS);
      continue;
    }
    for (int64_t j = 0; j < wanted; j++) {
      at = page_place(head, key + i + j, &run);
      memcpy((char *)staged + j * bytes, cached_at(cache, half, at), (size_t)bytes);
    }
    pack_transposed_of(wanted, head_size, staged, half, head_size, 1.0f, keys + i, KEYS);
  }
}

/* out (rows, padded) += s (rows, KEYS) times the COUNT values from position KEY on, page by page; VALUES
 * (KEYS, padded) takes copies where they are bf16 or D is no multiple of a vector. */
ALWAYS_INLINE void add_paged_values(const paged_head_t *head, bool half, int rows, int64_t key, int64_t count,
                                    int64_t padded, const float *s, float *values, float *out) {
  int64_t head_size = head->op->head_size;
  for (int64_t done = 0, run = 0; done < count; done += run) {
    const void *from = cached_at(head->op->v_cache, half, page_place(head, key + done, &run));
    run = min_int_simd(run, count - done);
    if (!half && head_size == padded) {
      add_product(rows, run, padded, s + done, from, head_size, out);
    } else {
      copy_padded_of(run, run, head_size, padded, from, half, head_size, values);
      add_product(rows, run, padded, s + done, values, padded, out);
    }
  }
}

ALWAYS_INLINE void attention_paged_pair(const op_attention_paged_t *op, bool half, int64_t row,
                                        int32_t kv_head, float *scratch) {
  int32_t group = op->heads / op->kv_heads, head_size = op->head_size;
  int64_t padded = round_up(head_size, LANES), length = ((const int32_t *)op->lengths)[row];
  paged_head_t head = {
      .op = op, .pages = (const int32_t *)op->pages + row * op->max_pages, .kv_head = kv_head};
  forward_space_t space;
  float *staged = scratch + forward_layout(group + TILE_ROWS, head_size, scratch, &space);
  int64_t first = (int64_t)kv_head * group * head_size;
  pack_rows(group, head_size, (const float *)op->q + row * op->ldq + first, head_size, (float)op->scale,
            space.queries);
  softmax_start(&space.softmax, group, padded);
  for (int64_t key = 0; key < length; key += KEYS) {
    int64_t count = min_int_simd(KEYS, length - key);
    load_paged_keys(&head, half, key, count, space.keys, staged);
    for (int64_t r = 0; r < group; r += TILE_ROWS) {
      int rows = (int)min_int_simd(TILE_ROWS, group - r);
      softmax_t tile = softmax_at(&space.softmax, r, padded);
      float s[TILE_ROWS * KEYS] __attribute__((aligned(64)));
      softmax_scores(&tile, rows, head_size, padded, count, 0, space.queries + r * head_size, space.keys, s);
      add_paged_values(&head, half, rows, key, count, padded, s, space.values, tile.out);
    }
  }
  for (int64_t g = 0; g < group; g++)
    softmax_finish_row(&space.softmax, g, head_size, padded,
                       (float *)op->out + row * op->ldo + first + g * head_size);
}

static void attention_paged_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_attention_paged_t *op = argument;
  int64_t group = op->heads / op->kv_heads * op->head_size;
  for (int64_t i = begin; i < end; i++) {
    int64_t row = i / op->kv_heads, kv_head = i % op->kv_heads;
    if (((const int32_t *)op->lengths)[row] > 0 && op->half)
      attention_paged_pair(op, true, row, (int32_t)kv_head, scratch);
    else if (((const int32_t *)op->lengths)[row] > 0)
      attention_paged_pair(op, false, row, (int32_t)kv_head, scratch);
    else
      memset((float *)op->out + row * op->ldo + kv_head * group, 0, (size_t)group * sizeof(float));
  }
}

static int64_t attention_paged_scratch(int32_t group, int32_t head_size) {
  forward_space_t space;
  return forward_layout(group + TILE_ROWS, head_size, NULL, &space) + LANES * (int64_t)head_size;
}

/* Scratch of the backward pass for one (sequence, key-value head) of n tokens: all of its keys and values,
 * and one query head at a time. */
typedef struct {
  float *keys_t, *values_t; /* tiles (D, KEYS) */
  float *keys;              /* (n', padded); n' is n rounded up to tiles */
  float *dkeys, *dvalues;   /* (n', padded) */
  float *q_panels, *dout_panels;
  float *q, *dout, *dq; /* (n', padded) */
  float *lse, *delta;   /* (n) */
  float *p, *dp;        /* (ROW_BLOCK, KEYS) */
} backward_space_t;

static int64_t backward_layout(int64_t n, int32_t head_size, float *scratch, backward_space_t *space) {
  space_t from = {.base = scratch};
  int64_t padded = round_up(head_size, LANES), rounded = round_up(n, KEYS);
  int64_t panels = round_up(n, TILE_ROWS) * head_size + LANES;
  space->keys_t = take_simd(&from, rounded * head_size);
  space->values_t = take_simd(&from, rounded * head_size);
  space->keys = take_simd(&from, rounded * padded);
  space->dkeys = take_simd(&from, rounded * padded);
  space->dvalues = take_simd(&from, rounded * padded);
  space->q_panels = take_simd(&from, panels);
  space->dout_panels = take_simd(&from, panels);
  space->q = take_simd(&from, rounded * padded);
  space->dout = take_simd(&from, rounded * padded);
  space->dq = take_simd(&from, rounded * padded);
  space->lse = take_simd(&from, n);
  space->delta = take_simd(&from, n);
  space->p = take_simd(&from, ROW_BLOCK * KEYS);
  space->dp = take_simd(&from, ROW_BLOCK * KEYS);
  return from.used;
}

static int64_t attention_backward_scratch(int64_t longest, int32_t head_size) {
  backward_space_t space;
  return backward_layout(longest, head_size, NULL, &space);
}

/* What the passes below work on: one sequence, one key-value head, one query head. */
typedef struct {
  const op_attention_backward_t *op;
  const attention_task_t *task;
  int32_t head;
  int64_t padded;
  backward_space_t space;
} backward_head_t;

static void load_keys(const backward_head_t *now) {
  const op_attention_t *op = &now->op->forward;
  const backward_space_t *space = &now->space;
  int64_t n = now->task->length, head_size = op->sequences->head_size;
  for (int64_t key = 0; key < n; key += KEYS) {
    int64_t at = (now->task->begin + key) * op->ldkv + now->task->kv_head * head_size;
    int64_t count = min_int_simd(KEYS, n - key);
    transpose_keys(count, head_size, (const float *)op->k + at, op->ldkv, space->keys_t + key * head_size);
    transpose_keys(count, head_size, (const float *)op->v + at, op->ldkv, space->values_t + key * head_size);
    copy_padded(count, KEYS, head_size, now->padded, (const float *)op->k + at, op->ldkv,
                space->keys + key * now->padded);
  }
  size_t bytes = (size_t)(round_up(n, KEYS) * now->padded) * sizeof(float);
  memset(space->dkeys, 0, bytes);
  memset(space->dvalues, 0, bytes);
}

static void load_queries_simd(const backward_head_t *now) {
  const op_attention_t *op = &now->op->forward;
  const backward_space_t *space = &now->space;
  int64_t n = now->task->length, padded = now->padded, first = now->task->begin;
  int64_t heads = op->sequences->heads, head_size = op->sequences->head_size;
  const float *q = (const float *)op->q + first * op->ldq + now->head * head_size;
  const float *out = (const float *)op->out + first * op->ldo + now->head * head_size;
  const float *dout = (const float *)now->op->dout + first * op->ldo + now->head * head_size;
  pack_rows(n, head_size, q, op->ldq, (float)op->scale, space->q_panels);
  pack_rows(n, head_size, dout, op->ldo, 1.0f, space->dout_panels);
  copy_padded(n, n, head_size, padded, q, op->ldq, space->q);
  copy_padded(n, n, head_size, padded, dout, op->ldo, space->dout);
  memset(space->dq, 0, (size_t)(n * padded) * sizeof(float));
  for (int64_t i = 0; i < n; i++) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < head_size; d++)
      sum += out[i * op->ldo + d] * dout[i * op->ldo + d];
    space->delta[i] = sum;
    space->lse[i] = ((const float *)op->lse)[(first + i) * heads + now->head];
  }
}

/* Scores in p and probability gradients in dp become probabilities and score gradients: the first VISIBLE of
 * them, the rest become zero. */
static void backward_row(int64_t visible, float lse, float delta, float *p, float *dp) {
  int64_t end = visible > 0 ? round_up(visible, LANES) : 0;
  for (int64_t j = 0; j < end; j += LANES) {
    ivec_t mask = vec_first(visible - j);
    vec_t probability = (vec_t)(mask & (ivec_t)vec_exp(vec_load(p + j) - lse));
    vec_store(p + j, probability);
    vec_store(dp + j, (vec_t)(mask & (ivec_t)(probability * (vec_load(dp + j) - delta))));
  }
  fill_zero(end, KEYS, p);
  fill_zero(end, KEYS, dp);
}

/* Row block .. row + rows - 1 (at most ROW_BLOCK) against the tile at KEY. */
static void backward_block(const backward_head_t *now, int64_t row, int64_t rows, int64_t key) {
  const op_attention_t *op = &now->op->forward;
  const backward_space_t *space = &now->space;
  int64_t head_size = op->sequences->head_size, padded = now->padded,
          keys_count = min_int_simd(KEYS, now->task->length - key);
  for (int64_t r = 0; r < rows; r += TILE_ROWS) {
    int count = (int)min_int_simd(TILE_ROWS, rows - r);
    int64_t seen = op->causal ? min_int_simd(keys_count, row + r + count - key) : keys_count;
    float *p = space->p + r * KEYS, *dp = space->dp + r * KEYS;
    if (seen > 0) {
      int64_t width = round_up(seen, LANES);
      multiply_panel_simd(count, width, head_size, space->q_panels + (row + r) * head_size,
                          space->keys_t + key * head_size, p);
      multiply_panel_simd(count, width, head_size, space->dout_panels + (row + r) * head_size,
                          space->values_t + key * head_size, dp);
    }
    for (int64_t i = 0; i < count; i++) {
      int64_t visible = op->causal ? min_int_simd(keys_count, row + r + i - key + 1) : keys_count;
      backward_row(visible, space->lse[row + r + i], space->delta[row + r + i], p + i * KEYS, dp + i * KEYS);
    }
    if (seen > 0)
      add_product(count, seen, padded, dp, space->keys + key * padded, padded,
                  space->dq + (row + r) * padded);
  }
  int64_t first = op->causal ? key - row : -KEYS;
  add_product_transposed(keys_count, first, rows, padded, space->p, space->dout + row * padded,
                         space->dvalues + key * padded);
  add_product_transposed(keys_count, first, rows, padded, space->dp, space->q + row * padded,
                         space->dkeys + key * padded);
}

static void store_rows(int64_t rows, int64_t head_size, int64_t padded, float factor, const float *from,
                       float *to, int64_t ld) {
  for (int64_t i = 0; i < rows; i++) {
#pragma omp simd
    for (int64_t d = 0; d < head_size; d++)
      to[i * ld + d] = factor * from[i * padded + d];
  }
}

static void backward_head(const backward_head_t *now) {
  const op_attention_t *op = &now->op->forward;
  int64_t n = now->task->length, head_size = op->sequences->head_size;
  load_queries_simd(now);
  for (int64_t key = 0; key < n; key += KEYS)
    for (int64_t row = op->causal ? key / TILE_ROWS * TILE_ROWS : 0; row < n; row += ROW_BLOCK)
      backward_block(now, row, min_int_simd(ROW_BLOCK, n - row), key);
  store_rows(n, head_size, now->padded, (float)op->scale, now->space.dq,
             (float *)now->op->dq + now->task->begin * op->ldq + now->head * head_size, op->ldq);
}

static void backward_task(const op_attention_backward_t *op, const attention_task_t *task, float *scratch) {
  const op_attention_t *forward = &op->forward;
  const sequences_t *all = forward->sequences;
  int32_t group = all->heads / all->kv_heads, head_size = all->head_size;
  backward_head_t now = {.op = op, .task = task, .padded = round_up(head_size, LANES)};
  backward_layout(task->length, head_size, scratch, &now.space);
  load_keys(&now);
  for (int32_t g = 0; g < group; g++) {
    now.head = task->kv_head * group + g;
    backward_head(&now);
  }
  int64_t at = task->begin * forward->ldkv + (int64_t)task->kv_head * head_size;
  store_rows(task->length, head_size, now.padded, (float)forward->scale, now.space.dkeys,
             (float *)op->dk + at, forward->ldkv);
  store_rows(task->length, head_size, now.padded, 1.0f, now.space.dvalues, (float *)op->dv + at,
             forward->ldkv);
}

static void attention_backward_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_attention_backward_t *op = argument;
  const sequences_t *all = op->forward.sequences;
  for (int64_t i = begin; i < end; i++) {
    const int32_t *offsets = all->offsets_host + i / all->kv_heads;
    const attention_task_t task = {
        .begin = offsets[0], .length = offsets[1] - offsets[0], .kv_head = (int32_t)(i % all->kv_heads)};
    if (task.length > 0) backward_task(op, &task, scratch);
  }
}

void SIMD_NAME(kernels_fill_attention)(kernels_t *table) {
  table->attention = attention_simd;
  table->attention_scratch = attention_scratch;
  table->attention_paged = attention_paged_simd;
  table->attention_paged_scratch = attention_paged_scratch;
  table->attention_backward = attention_backward_simd;
  table->attention_backward_scratch = attention_backward_scratch;
}
