/* RMSNorm and LayerNorm, forward and backward, by rows. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/simd/vector.h"

#include <math.h>

static void rmsnorm_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_rmsnorm_t *op = argument;
  const float *weight = (const float *)op->weight;
  int64_t cols = op->cols;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *x = (const float *)op->x + r * cols;
    float *y = (float *)op->y + r * cols;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < cols; i++)
      sum += x[i] * x[i];
    float rstd = 1.0f / sqrtf(sum / (float)cols + (float)op->eps);
#pragma omp simd
    for (int64_t i = 0; i < cols; i++)
      y[i] = x[i] * rstd * weight[i];
    if (op->rstd) ((float *)op->rstd)[r] = rstd;
  }
}

/* dx = rstd (g - x rstd^2 mean(g x)), g = dy weight; dweight += dy x rstd. */
static void rmsnorm_backward_row(const op_rmsnorm_backward_t *op, int64_t r, float *dweight) {
  int64_t cols = op->cols;
  const float *x = (const float *)op->x + r * cols, *dy = (const float *)op->dy + r * cols;
  const float *weight = (const float *)op->weight;
  float *dx = (float *)op->dx + r * cols;
  float rstd = ((const float *)op->rstd)[r], dot = 0.0f;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < cols; i++)
    dot += dy[i] * weight[i] * x[i];
  float factor = dot * rstd * rstd * rstd / (float)cols;
  if (dweight) {
#pragma omp simd
    for (int64_t i = 0; i < cols; i++)
      dweight[i] += dy[i] * x[i] * rstd;
  }
  if (!op->dx_add) {
#pragma omp simd
    for (int64_t i = 0; i < cols; i++)
      dx[i] = dy[i] * weight[i] * rstd - x[i] * factor;
  } else {
#pragma omp simd
    for (int64_t i = 0; i < cols; i++)
      dx[i] += dy[i] * weight[i] * rstd - x[i] * factor;
  }
}

static int64_t block_end(const block_op_t *job, int64_t block, int64_t rows) {
  int64_t end = (block + 1) * job->block;
  return end < rows ? end : rows;
}

static void rmsnorm_backward_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const block_op_t *job = argument;
  const op_rmsnorm_backward_t *op = job->op;
  (void)scratch;
  for (int64_t b = begin; b < end; b++) {
    float *partial = job->partial ? job->partial + b * job->columns : NULL;
    if (partial) memset(partial, 0, (size_t)op->cols * sizeof *partial);
    for (int64_t r = b * job->block; r < block_end(job, b, op->rows); r++)
      rmsnorm_backward_row(op, r, partial);
  }
}

static void layernorm_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_layernorm_t *op = argument;
  const float *weight = (const float *)op->weight, *bias = (const float *)op->bias;
  int64_t cols = op->cols;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *x = (const float *)op->x + r * cols;
    float *y = (float *)op->y + r * cols;
    float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < cols; i++)
      sum += x[i];
    float mean = sum / (float)cols;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < cols; i++)
      squares += (x[i] - mean) * (x[i] - mean);
    float rstd = 1.0f / sqrtf(squares / (float)cols + (float)op->eps);
#pragma omp simd
    for (int64_t i = 0; i < cols; i++)
      y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
    if (op->mean) ((float *)op->mean)[r] = mean;
    if (op->rstd) ((float *)op->rstd)[r] = rstd;
  }
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy weight; dweight += dy xhat, dbias += dy. */
static void layernorm_backward_row_simd(const op_layernorm_backward_t *op, int64_t r, float *dweight,
                                        float *dbias) {
  int64_t cols = op->cols;
  const float *x = (const float *)op->x + r * cols, *dy = (const float *)op->dy + r * cols;
  const float *weight = (const float *)op->weight;
  float *dx = (float *)op->dx + r * cols;
  float mean = ((const float *)op->mean)[r], rstd = ((const float *)op->rstd)[r];
  float sum = 0.0f, dot = 0.0f;
#pragma omp simd reduction(+ : sum, dot)
  for (int64_t i = 0; i < cols; i++) {
    sum += dy[i] * weight[i];
    dot += dy[i] * weight[i] * (x[i] - mean) * rstd;
  }
  sum /= (float)cols;
  dot /= (float)cols;
  if (dweight) {
#pragma omp simd
    for (int64_t i = 0; i < cols; i++) {
      dweight[i] += dy[i] * (x[i] - mean) * rstd;
      dbias[i] += dy[i];
    }
  }
  if (op->dx_add) {
#pragma omp simd
    for (int64_t i = 0; i < cols; i++)
      dx[i] += rstd * (dy[i] * weight[i] - sum - (x[i] - mean) * rstd * dot);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < cols; i++)
      dx[i] = rstd * (dy[i] * weight[i] - sum - (x[i] - mean) * rstd * dot);
  }
}

/* A block's partial holds dweight (C), then dbias (C). */
static void layernorm_backward_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const block_op_t *job = argument;
  const op_layernorm_backward_t *op = job->op;
  (void)scratch;
  for (int64_t b = begin; b < end; b++) {
    float *partial = job->partial ? job->partial + b * job->columns : NULL;
    if (partial) memset(partial, 0, (size_t)(2 * op->cols) * sizeof *partial);
    for (int64_t r = b * job->block; r < block_end(job, b, op->rows); r++)
      layernorm_backward_row_simd(op, r, partial, partial ? partial + op->cols : NULL);
  }
}

void SIMD_NAME(kernels_fill_norm)(kernels_t *table) {
  table->rmsnorm = rmsnorm_simd;
  table->rmsnorm_backward = rmsnorm_backward_simd;
  table->layernorm = layernorm_simd;
  table->layernorm_backward = layernorm_backward_simd;
}
