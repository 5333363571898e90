/* Operations on whole rows: rotary embedding, embedding gradients, gather, scatter, periodic tables. */
#include "base/half.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/simd/vector.h"

static void rotate_simd(int64_t half, const float *cosine, const float *sine, float direction, float *x) {
#pragma omp simd
  for (int64_t i = 0; i < half; i++) {
    float a = x[i], b = x[i + half], s = direction * sine[i];
    x[i] = a * cosine[i] - b * s;
    x[i + half] = b * cosine[i] + a * s;
  }
}

static void cache_vector(bool half, const float *from, int64_t n, void *cache, int64_t to) {
  if (half)
    half_to_bf16(from, (uint16_t *)cache + to, (size_t)n);
  else
    memcpy((float *)cache + to, from, (size_t)n * sizeof *from);
}

/* Row R's keys and values, K heads of D each, to their place in the cache. */
static void cache_row(const op_rotary_t *op, int64_t r) {
  int64_t slot = ((const int32_t *)op->slots)[r], size = op->head_size, heads = op->kv_heads;
  if (slot < 0) return;
  const float *k = (const float *)op->qkv + r * op->ld + op->heads * size, *v = k + heads * size;
  int64_t page = slot / op->page_size, place = slot % op->page_size;
  for (int64_t h = 0; h < heads; h++) {
    int64_t to = ((page * heads + h) * op->page_size + place) * size;
    cache_vector(op->half, k + h * size, size, op->k_cache, to);
    cache_vector(op->half, v + h * size, size, op->v_cache, to);
  }
}

static void rotary_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const rope_job_t *job = argument;
  const op_rotary_t *op = job->op;
  const int32_t *positions = (const int32_t *)op->positions;
  int64_t half = op->head_size / 2;
  float direction = op->inverse ? -1.0f : 1.0f;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *cosine = job->table + positions[r] * 2 * half;
    float *x = (float *)op->qkv + r * op->ld;
    for (int32_t h = 0; h < op->heads + op->kv_heads; h++, x += op->head_size) {
      if (half == 8)
        rotate_simd(8, cosine, cosine + 8, direction, x);
      else
        rotate_simd(half, cosine, cosine + half, direction, x);
    }
    int64_t keys = (int64_t)op->kv_heads * op->head_size;
    if (op->half) half_round_bf16(x - keys, 2 * (size_t)keys);
    if (op->k_cache) cache_row(op, r);
  }
}

static void add_row_simd(int64_t cols, const float *from, float *to) {
#pragma omp simd
  for (int64_t i = 0; i < cols; i++)
    to[i] += from[i];
}

/* Columns begin .. end-1 of all rows, in order: the same bits for any share of the columns. */
static void embedding_backward_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_embedding_backward_t *op = argument;
  const int32_t *tokens = (const int32_t *)op->tokens;
  (void)scratch;
  for (int64_t r = 0; r < op->rows; r++) {
    int64_t row = tokens[r] - op->begin;
    if (row >= 0 && row < op->count)
      add_row_simd(end - begin, (const float *)op->dy + r * op->cols + begin,
                   (float *)op->dweight + row * op->cols + begin);
  }
}

static void copy_or_add(bool add_to, int64_t cols, const float *from, float *to) {
  if (add_to)
    add_row_simd(cols, from, to);
  else
    memcpy(to, from, (size_t)cols * sizeof *to);
}

static void rows_gather_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_rows_t *op = argument;
  const int32_t *index = (const int32_t *)op->index;
  (void)scratch;
  for (int64_t r = begin; r < end; r++)
    if (index[r] >= 0)
      copy_or_add(op->add, op->cols, (const float *)op->from + index[r] * op->ld_from,
                  (float *)op->to + r * op->ld_to);
}

static void rows_scatter_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_rows_t *op = argument;
  const int32_t *index = (const int32_t *)op->index;
  (void)scratch;
  for (int64_t r = begin; r < end; r++)
    if (index[r] >= 0)
      copy_or_add(op->add, op->cols, (const float *)op->from + r * op->ld_from,
                  (float *)op->to + index[r] * op->ld_to);
}

static void add_periodic_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_add_periodic_t *op = argument;
  (void)scratch;
  for (int64_t r = begin; r < end; r++)
    add_row_simd(op->cols, (const float *)op->table + r % op->period * op->cols,
                 (float *)op->x + r * op->cols);
}

/* Item i is block i / period of the rows of phase i % period. */
static void sum_periodic_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const block_op_t *job = argument;
  const op_sum_periodic_t *op = job->op;
  (void)scratch;
  for (int64_t item = begin; item < end; item++) {
    float *partial = job->partial + item * job->columns;
    int64_t phase = item % op->period, first = item / op->period * job->block;
    memset(partial, 0, (size_t)op->cols * sizeof *partial);
    for (int64_t i = first; i < first + job->block; i++) {
      int64_t row = i * op->period + phase;
      if (row < op->rows) add_row_simd(op->cols, (const float *)op->x + row * op->ldx, partial);
    }
  }
}

static void sum_blocks(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const sum_blocks_t *op = argument;
  (void)scratch;
  for (int64_t b = 0; b < op->blocks; b++)
    add_row_simd(end - begin, op->partial + b * op->stride + begin, op->out + begin);
}

void SIMD_NAME(kernels_fill_rows)(kernels_t *table) {
  table->rotary = rotary_simd;
  table->embedding_backward = embedding_backward_simd;
  table->rows_gather = rows_gather_simd;
  table->rows_scatter = rows_scatter_simd;
  table->add_periodic = add_periodic_simd;
  table->sum_periodic = sum_periodic_simd;
  table->sum_blocks = sum_blocks;
}
