/* Attention over packed sequences; the backward pass recomputes probabilities from the log-sum-exp. */
#include "tensor/cpu/simd/attention.h"

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
  table->attention_backward = attention_backward_simd;
  table->attention_backward_scratch = attention_backward_scratch;
}
