/* The gradient of log-probabilities: bound by memory, 4 + b bytes per logit, b those of the compute type. */
#include "cuda/map.h"
#include "cuda/vocab.h"

enum { GRADIENT_THREADS = 256, GRADIENT_RUN = 8, ROW_THREADS = 512 };

static __device__ __forceinline__ float logit_gradient(float z, float max, float inverse, bool is_target) {
  return (is_target ? 1.0f : 0.0f) - expf(z - max) * inverse;
}

/* RUN neighbouring logits for each thread, by accesses of 16 bytes where RUN is not 1. */
template <class T, int RUN>
static __global__ void __launch_bounds__(GRADIENT_THREADS)
    vocab_backward_kernel(const shard_t shard, const float *normaliser, const float *dlogprob,
                          const int32_t *targets, T *dlogits) {
  kernel_begin();
  const int64_t row = blockIdx.x, first = ((int64_t)blockIdx.y * GRADIENT_THREADS + threadIdx.x) * RUN;
  if (first >= shard.ld) return;
  const float *logits = shard.logits + row * shard.ld + first;
  float z[RUN];
  if (first + RUN <= shard.count) {
    run_load<RUN>(logits, z);
  } else {
#pragma unroll
    for (int j = 0; j < RUN; j++)
      z[j] = first + j < shard.count ? logits[j] : -INFINITY;
  }
  const int64_t target = targets[row] - shard.begin;
  const float max = normaliser[2 * row], inverse = 1.0f / normaliser[2 * row + 1],
              gradient = dlogprob[row] * shard.scale;
#pragma unroll
  for (int j = 0; j < RUN; j++)
    z[j] = first + j < shard.count
               ? gradient * logit_gradient(scaled(shard, z[j]), max, inverse, first + j == target)
               : 0.0f;
  run_store<RUN>(dlogits + row * shard.ld + first, z);
}

/* A block for each row, element by element: the kernel that was measured. */
template <class T>
static __global__ void __launch_bounds__(ROW_THREADS)
    vocab_backward_rows_kernel(const shard_t shard, const float *normaliser, const float *dlogprob,
                               const int32_t *targets, T *dlogits) {
  kernel_begin();
  const int64_t row = blockIdx.x, target = targets[row] - shard.begin;
  const float max = normaliser[2 * row], sum = normaliser[2 * row + 1];
  const float gradient = dlogprob[row] * shard.scale;
  for (int64_t j = threadIdx.x; j < shard.ld; j += ROW_THREADS) {
    float value = 0.0f;
    if (j < shard.count)
      value = gradient * ((j == target ? 1.0f : 0.0f) - expf(scaled(shard, row, j) - max) / sum);
    dlogits[row * shard.ld + j] = store_float<T>(value);
  }
}

static status_code_t vocab_backward_cuda(device_t *device, const op_vocab_backward_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    const shard_t shard = shard_of(op->shard);
    launch_t shape = {dim3((unsigned)op->shard.rows), dim3(ROW_THREADS), 0};
    auto kernel = vocab_backward_rows_kernel<T>;
    if (!cuda_state(device)->options.measured) {
      const bool packed = is_packed(shard.logits) && is_packed(op->dlogits) && shard.ld % GRADIENT_RUN == 0;
      const int64_t each = (int64_t)GRADIENT_THREADS * (packed ? GRADIENT_RUN : 1);
      shape.block = dim3(GRADIENT_THREADS);
      shape.grid.y = (unsigned)((shard.ld + each - 1) / each);
      kernel = packed ? vocab_backward_kernel<T, GRADIENT_RUN> : vocab_backward_kernel<T, 1>;
    }
    return launch(device, "vocab_backward", shape, kernel, shard, wide(op->normaliser), wide(op->dlogprob),
                  indices(op->targets), real<T>(op->dlogits));
  });
}

void cuda_fill_vocab_backward(ops_t *ops) {
  ops->vocab_backward = vocab_backward_cuda;
}
