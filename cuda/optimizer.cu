/* The optimiser's operations: bound by memory. adamw: 28 + b bytes per element (b those of the compute type
 * where it is written), over many tensors in a launch; sum_squares: 4. */
#include "cuda/map.h"

#include <math.h>

enum { RUNS = 96, BLOCK_ELEMENTS = 4096, SQUARES_BLOCKS = 1024, SQUARES_THREADS = 256 };

/* ---- AdamW ---- */

/* Runs of one launch: block b works for the last run whose first block is not behind b. */
struct adamw_runs_t {
  int32_t count;
  int32_t first[RUNS + 1]; /* block */
  int64_t n[RUNS];
  float *master[RUNS], *m[RUNS], *v[RUNS];
  const float *grad[RUNS];
  void *real[RUNS];
};

struct adamw_t {
  float grad_scale, decay, beta1, beta2, rest1, rest2, rate, correction, eps;
};

template <int N>
static __device__ __forceinline__ void adamw_update(const adamw_t &by, float *master, float *m, float *v,
                                                    const float *grad, float (&weight)[N]) {
  float g[N], first[N], second[N];
  run_load<N>(grad, g);
  run_load<N>(m, first);
  run_load<N>(v, second);
  run_load<N>(master, weight);
#pragma unroll
  for (int j = 0; j < N; j++) {
    float scaled = g[j] * by.grad_scale;
    first[j] = by.beta1 * first[j] + by.rest1 * scaled;
    second[j] = by.beta2 * second[j] + by.rest2 * scaled * scaled;
    weight[j] = weight[j] * by.decay - by.rate * first[j] / (sqrtf(second[j]) * by.correction + by.eps);
  }
  run_store<N>(m, first);
  run_store<N>(v, second);
  run_store<N>(master, weight);
}

template <class T, int N>
static __global__ void __launch_bounds__(MAP_THREADS)
    adamw_kernel(const __grid_constant__ adamw_runs_t runs, const adamw_t by) {
  kernel_begin();
  int run = 0;
  for (int step = 64; step > 0; step /= 2) /* RUNS < 128 */
    if (run + step < runs.count && runs.first[run + step] <= (int32_t)blockIdx.x) run += step;
  const int64_t n = runs.n[run], begin = (int64_t)((int32_t)blockIdx.x - runs.first[run]) * BLOCK_ELEMENTS;
  const int64_t end = begin + BLOCK_ELEMENTS < n ? begin + BLOCK_ELEMENTS : n;
  float *master = runs.master[run], *m = runs.m[run], *v = runs.v[run];
  const float *grad = runs.grad[run];
  T *real = static_cast<T *>(runs.real[run]);
  for (int64_t i = begin + (int64_t)threadIdx.x * N; i < end; i += MAP_THREADS * N) {
    if (i + N <= end) {
      float weight[N];
      adamw_update<N>(by, master + i, m + i, v + i, grad + i, weight);
      if (real) run_store<N>(real + i, weight);
      continue;
    }
    for (int64_t j = i; j < end; j++) {
      float weight[1];
      adamw_update<1>(by, master + j, m + j, v + j, grad + j, weight);
      if (real) run_store<1>(real + j, weight);
    }
  }
}

/* Takes as many of OP's runs from *NEXT on as a launch holds; whether all of them lie at multiples of 16
 * bytes. */
static bool adamw_collect(const op_adamw_t *op, int32_t *next, adamw_runs_t *runs) {
  bool packed = true;
  runs->count = 0;
  runs->first[0] = 0;
  for (; *next < op->count && runs->count < RUNS; ++*next) {
    const adamw_run_t *run = &op->runs[*next];
    const int64_t blocks = (run->n + BLOCK_ELEMENTS - 1) / BLOCK_ELEMENTS;
    if (blocks == 0) continue;
    if (runs->count > 0 && runs->first[runs->count] + blocks > INT32_MAX) break;
    const int32_t r = runs->count++;
    runs->first[r + 1] = (int32_t)(runs->first[r] + blocks);
    runs->n[r] = run->n;
    runs->master[r] = wide(run->master);
    runs->m[r] = wide(run->m);
    runs->v[r] = wide(run->v);
    runs->grad[r] = wide(run->grad);
    runs->real[r] = run->real;
    packed = packed && is_packed(run->master) && is_packed(run->m) && is_packed(run->v) &&
             is_packed(run->grad) && is_packed(run->real);
  }
  return packed;
}

static status_code_t adamw_cuda(device_t *device, const op_adamw_t *op) {
  const double step = (double)op->step;
  const adamw_t by = {(float)op->grad_scale,
                      (float)(1.0 - op->lr * op->weight_decay),
                      (float)op->beta1,
                      (float)op->beta2,
                      (float)(1.0 - op->beta1),
                      (float)(1.0 - op->beta2),
                      (float)(op->lr / (1.0 - pow(op->beta1, step))),
                      (float)(1.0 / sqrt(1.0 - pow(op->beta2, step))),
                      (float)op->eps};
  return with_real(device, [&](auto zero) -> status_code_t {
    using T = decltype(zero);
    adamw_runs_t runs;
    for (int32_t next = 0; next < op->count;) {
      const bool packed = adamw_collect(op, &next, &runs);
      const launch_t shape = {dim3((unsigned)runs.first[runs.count]), dim3(MAP_THREADS), 0};
      TRY(launch(device, "adamw", shape, packed ? adamw_kernel<T, pack_t<T>::N> : adamw_kernel<T, 1>, runs,
                 by));
    }
    return STATUS_OK;
  });
}

/* ---- The sum of squares: blocks of a number that follows from n alone, added in their order ---- */

static __global__ void __launch_bounds__(SQUARES_THREADS)
    squares_kernel(int64_t n, bool packed, const float *x, double *parts) {
  kernel_begin();
  float sum = 0.0f;
  int64_t rest = 0, first = (int64_t)blockIdx.x * SQUARES_THREADS + threadIdx.x;
  const int64_t stride = (int64_t)gridDim.x * SQUARES_THREADS;
  if (packed) {
    rest = n / 4 * 4;
    for (int64_t i = first; i < n / 4; i += stride) {
      const float4 four = reinterpret_cast<const float4 *>(x)[i];
      sum += (four.x * four.x + four.y * four.y) + (four.z * four.z + four.w * four.w);
    }
  }
  for (int64_t i = rest + first; i < n; i += stride)
    sum += x[i] * x[i];
  sum = block_sum<SQUARES_THREADS>(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = (double)sum;
}

static __global__ void squares_total_kernel(int32_t count, const double *parts, float *sum) {
  kernel_begin();
  double total = 0.0;
  for (int32_t i = threadIdx.x; i < count; i += WARP)
    total += parts[i];
#pragma unroll
  for (int step = WARP / 2; step > 0; step /= 2)
    total += __shfl_xor_sync(0xffffffffu, total, step);
  if (threadIdx.x == 0) *sum = (float)((double)*sum + total);
}

static status_code_t sum_squares_cuda(device_t *device, const op_sum_squares_t *op) {
  if (op->n <= 0) return STATUS_OK;
  int64_t blocks = (op->n + 4 * SQUARES_THREADS - 1) / (4 * SQUARES_THREADS);
  if (blocks > SQUARES_BLOCKS) blocks = SQUARES_BLOCKS;
  void *parts = NULL;
  TRY(cuda_scratch(device, (size_t)blocks * sizeof(double), &parts));
  TRY(launch(device, "sum_squares", {dim3((unsigned)blocks), dim3(SQUARES_THREADS), 0}, squares_kernel, op->n,
             is_packed(op->x), wide(op->x), static_cast<double *>(parts)));
  return launch(device, "sum_squares total", {dim3(1), dim3(WARP), 0}, squares_total_kernel, (int32_t)blocks,
                static_cast<const double *>(parts), wide(op->sum));
}

void cuda_fill_optimizer(ops_t *ops) {
  ops->adamw = adamw_cuda;
  ops->sum_squares = sum_squares_cuda;
}
