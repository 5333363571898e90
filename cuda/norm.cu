/* RMSNorm and LayerNorm: bound by memory. A block works on a row, which it reads again from the cache for the
 * second pass. Bytes per element: 2b, b those of the compute type. */
#include "cuda/map.h"

enum { NORM_THREADS = 256 };

template <class T> struct norm_t {
  int64_t cols;
  const T *x, *weight, *bias;
  float eps;
  T *y;
  float *mean, *rstd;
};

/* MEANS: a LayerNorm. The variance is summed around the mean, in a pass of its own. */
template <class T, int PACK, bool MEANS>
static __global__ void __launch_bounds__(NORM_THREADS) norm_kernel(const norm_t<T> op) {
  kernel_begin();
  const int64_t row = blockIdx.x, cols = op.cols;
  const T *x = op.x + row * cols;
  T *y = op.y + row * cols;
  const int64_t first = threadIdx.x * PACK, step = NORM_THREADS * PACK;
  float mean = 0.0f, squares = 0.0f, v[PACK], w[PACK];
  if constexpr (MEANS) {
    float sum = 0.0f;
    for (int64_t c = first; c < cols; c += step) {
      run_load<PACK>(x + c, v);
#pragma unroll
      for (int j = 0; j < PACK; j++)
        sum += v[j];
    }
    mean = block_sum<NORM_THREADS>(sum) / (float)cols;
  }
  for (int64_t c = first; c < cols; c += step) {
    run_load<PACK>(x + c, v);
#pragma unroll
    for (int j = 0; j < PACK; j++)
      squares += (v[j] - mean) * (v[j] - mean);
  }
  const float rstd = 1.0f / sqrtf(block_sum<NORM_THREADS>(squares) / (float)cols + op.eps);
  for (int64_t c = first; c < cols; c += step) {
    run_load<PACK>(x + c, v);
    run_load<PACK>(op.weight + c, w);
#pragma unroll
    for (int j = 0; j < PACK; j++)
      v[j] = (v[j] - mean) * rstd * w[j];
    if constexpr (MEANS) {
      run_load<PACK>(op.bias + c, w);
#pragma unroll
      for (int j = 0; j < PACK; j++)
        v[j] += w[j];
    }
    run_store<PACK>(y + c, v);
  }
  if (threadIdx.x != 0) return;
  if (op.mean) op.mean[row] = mean;
  if (op.rstd) op.rstd[row] = rstd;
}

template <class T, bool MEANS>
static status_code_t norm(device_t *device, const char *name, int64_t rows, const norm_t<T> &op) {
  if (rows <= 0 || op.cols <= 0) return STATUS_OK;
  const bool packed = is_packed(op.x) && is_packed(op.weight) && is_packed(op.bias) && is_packed(op.y) &&
                      op.cols % pack_t<T>::N == 0;
  return launch(device, name, {dim3((unsigned)rows), dim3(NORM_THREADS), 0},
                packed ? norm_kernel<T, pack_t<T>::N, MEANS> : norm_kernel<T, 1, MEANS>, op);
}

static status_code_t rmsnorm_cuda(device_t *device, const op_rmsnorm_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return norm<T, false>(device, "rmsnorm", op->rows,
                          {op->cols, real<T>(op->x), real<T>(op->weight), nullptr, (float)op->eps,
                           real<T>(op->y), nullptr, wide(op->rstd)});
  });
}

static status_code_t layernorm_cuda(device_t *device, const op_layernorm_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return norm<T, true>(device, "layernorm", op->rows,
                         {op->cols, real<T>(op->x), real<T>(op->weight), real<T>(op->bias), (float)op->eps,
                          real<T>(op->y), wide(op->mean), wide(op->rstd)});
  });
}

void cuda_fill_norm(ops_t *ops) {
  ops->rmsnorm = rmsnorm_cuda;
  ops->layernorm = layernorm_cuda;
  cuda_fill_norm_backward(ops);
}
