/* Operations on single elements: activations, gated MLP, optimiser, sums. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/simd/vector.h"

#include <math.h>

static void activation_backward_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_activation_backward_t *op = argument;
  const float *pre = (const float *)op->pre, *dy = (const float *)op->dy;
  float *dx = (float *)op->dx;
  (void)scratch;
  if (op->activation == ACTIVATION_QUICK_GELU) {
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
      float s = sigmoid_float(1.702f * pre[i]);
      dx[i] = dy[i] * (s + 1.702f * pre[i] * s * (1.0f - s));
    }
  } else if (op->activation == ACTIVATION_GELU) {
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
      float x = pre[i];
      float below = 0.5f * (1.0f + erf_float(x * 0.70710678118654752f));
      dx[i] = dy[i] * (below + x * 0.39894228040143268f * exp_float(-0.5f * x * x));
    }
  } else if (op->activation == ACTIVATION_GELU_TANH) {
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
      float x = pre[i], s = sigmoid_float(gelu_tanh_argument(x));
      dx[i] = dy[i] * (s + x * s * (1.0f - s) * (1.5957691216057308f + 0.21406445f * x * x));
    }
  } else if (dx != dy) {
    memcpy(dx + begin, dy + begin, (size_t)(end - begin) * sizeof *dx);
  }
}

/* Elements of a row between two rounds of prefetching. A row is short where the model is small, and the
 * processor's own prefetching starts anew in each of gate and up: without help a row of 384 takes 1.6 times
 * as long. */
enum { SWIGLU_CHUNK = 128, CACHE_LINE_FLOATS = 16 };

/* What the same chunk of the next row reads and writes, DISTANCE floats on. */
ALWAYS_INLINE void prefetch_next(const float *from, int64_t distance, int64_t count, int write) {
  for (int64_t i = 0; i < count; i += CACHE_LINE_FLOATS)
    if (write)
      __builtin_prefetch(from + distance + i, 1);
    else
      __builtin_prefetch(from + distance + i, 0);
}

static void swiglu_chunk(const float *gate, const float *up, int64_t n, float *y) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    y[i] = gate[i] * sigmoid_float(gate[i]) * up[i];
}

static int64_t chunk_of(int64_t n, int64_t i) {
  return n - i < SWIGLU_CHUNK ? n - i : SWIGLU_CHUNK;
}

static void swiglu_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_swiglu_t *op = argument;
  int64_t n = op->cols;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *gate = (const float *)op->gate_up + r * 2 * n, *up = gate + n;
    float *y = (float *)op->y + r * n;
    for (int64_t i = 0; i < n; i += SWIGLU_CHUNK) {
      int64_t count = chunk_of(n, i);
      prefetch_next(gate + i, 2 * n, count, 0);
      prefetch_next(up + i, 2 * n, count, 0);
      prefetch_next(y + i, n, count, 1);
      swiglu_chunk(gate + i, up + i, count, y + i);
    }
  }
}

/* dgate and dup may be gate and up. y NULL: not wanted. */
static void swiglu_backward_chunk(const float *gate, const float *up, const float *dy, int64_t n,
                                  float *dgate, float *dup, float *y) {
  if (y) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
      float g = gate[i], u = up[i], d = dy[i], s = sigmoid_float(g);
      dgate[i] = d * u * s * (1.0f + g * (1.0f - s));
      dup[i] = d * g * s;
      y[i] = g * s * u;
    }
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
      float g = gate[i], u = up[i], d = dy[i], s = sigmoid_float(g);
      dgate[i] = d * u * s * (1.0f + g * (1.0f - s));
      dup[i] = d * g * s;
    }
  }
}

static void swiglu_backward_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_swiglu_backward_t *op = argument;
  int64_t n = op->cols;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *gate = (const float *)op->gate_up + r * 2 * n, *up = gate + n;
    const float *dy = (const float *)op->dy + r * n;
    float *dgate = (float *)op->dgate_up + r * 2 * n, *dup = dgate + n;
    float *y = op->y ? (float *)op->y + r * n : NULL;
    for (int64_t i = 0; i < n; i += SWIGLU_CHUNK) {
      int64_t count = chunk_of(n, i);
      prefetch_next(gate + i, 2 * n, count, 1);
      prefetch_next(up + i, 2 * n, count, 1);
      prefetch_next(dy + i, n, count, 0);
      swiglu_backward_chunk(gate + i, up + i, dy + i, count, dgate + i, dup + i, y ? y + i : NULL);
    }
  }
}

static void adamw_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const adamw_job_t *job = argument;
  const op_adamw_t *op = job->op;
  const adamw_run_t *run = job->run;
  float *master = (float *)run->master, *m = (float *)run->m, *v = (float *)run->v;
  const float *grad = (const float *)run->grad;
  double step = (double)op->step;
  float grad_scale = (float)op->grad_scale, eps = (float)op->eps,
        decay = (float)(1.0 - op->lr * op->weight_decay);
  float beta1 = (float)op->beta1, beta2 = (float)op->beta2;
  float rest1 = (float)(1.0 - op->beta1), rest2 = (float)(1.0 - op->beta2);
  float rate = (float)(op->lr / (1.0 - pow(op->beta1, step)));
  float correction = (float)(1.0 / sqrt(1.0 - pow(op->beta2, step)));
  float *real = run->real ? (float *)run->real : master; /* written twice where nobody wants it */
  (void)scratch;
#pragma omp simd
  for (int64_t i = begin; i < end; i++) {
    float g = grad[i] * grad_scale;
    float first = beta1 * m[i] + rest1 * g, second = beta2 * v[i] + rest2 * g * g;
    m[i] = first;
    v[i] = second;
    float weight = master[i] * decay - rate * first / (sqrtf(second) * correction + eps);
    master[i] = weight;
    real[i] = weight;
  }
}

static void add_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_add_t *op = argument;
  const float *x = (const float *)op->x;
  float *y = (float *)op->y;
  (void)scratch;
#pragma omp simd
  for (int64_t i = begin; i < end; i++)
    y[i] += x[i];
}

/* Each block's sum of squares: lanes in float over short runs, runs in double. */
static void sum_squares_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  enum { RUN = 256 };
  const block_op_t *job = argument;
  const float *x = job->op;
  (void)scratch;
  for (int64_t b = begin; b < end; b++) {
    int64_t from = b * job->block, to = from + job->block < job->count ? from + job->block : job->count;
    double total = 0.0;
    for (int64_t run = from; run < to; run += RUN) {
      int64_t stop = run + RUN < to ? run + RUN : to;
      float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = run; i < stop; i++)
        sum += x[i] * x[i];
      total += sum;
    }
    job->totals[b] = total;
  }
}

void SIMD_NAME(kernels_fill_elementwise)(kernels_t *table) {
  table->activation_backward = activation_backward_simd;
  table->swiglu = swiglu_simd;
  table->swiglu_backward = swiglu_backward_simd;
  table->adamw = adamw_simd;
  table->add = add_simd;
  table->sum_squares = sum_squares_simd;
}
