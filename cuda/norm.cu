/* RMSNorm and LayerNorm: bound by memory. A block works on a row, which it reads again from the cache for the
 * second pass. Bytes per element, b those of the compute type: forward 2b, backward 3b (4b where dx is added
 * to), gradients of weights 2b each. */
#include "cuda/map.h"
#include "cuda/sums.h"

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

/* ---- Backward ---- */

template <class T> struct norm_backward_t {
  int64_t cols;
  const T *x, *weight, *dy;
  const float *mean, *rstd; /* mean: NULL in an RMSNorm */
  T *dx;
  bool dx_add;
};

/* With n = (x - mean) rstd and dn = dy weight: dx = rstd (dn - mean(dn) - n mean(dn n)), without mean(dn) in
 * an RMSNorm. */
template <class T, int PACK, bool MEANS>
static __global__ void __launch_bounds__(NORM_THREADS) norm_backward_kernel(const norm_backward_t<T> op) {
  kernel_begin();
  const int64_t row = blockIdx.x, cols = op.cols;
  const T *x = op.x + row * cols, *dy = op.dy + row * cols;
  T *dx = op.dx + row * cols;
  const int64_t first = threadIdx.x * PACK, step = NORM_THREADS * PACK;
  const float mean = MEANS ? op.mean[row] : 0.0f, rstd = op.rstd[row];
  float sum = 0.0f, dot = 0.0f, v[PACK], d[PACK], w[PACK];
  for (int64_t c = first; c < cols; c += step) {
    run_load<PACK>(x + c, v);
    run_load<PACK>(dy + c, d);
    run_load<PACK>(op.weight + c, w);
#pragma unroll
    for (int j = 0; j < PACK; j++) {
      const float dn = d[j] * w[j];
      sum += dn;
      dot += dn * (v[j] - mean) * rstd;
    }
  }
  const float mean_dn = MEANS ? block_sum<NORM_THREADS>(sum) / (float)cols : 0.0f;
  const float mean_dn_n = block_sum<NORM_THREADS>(dot) / (float)cols;
  for (int64_t c = first; c < cols; c += step) {
    run_load<PACK>(x + c, v);
    run_load<PACK>(dy + c, d);
    run_load<PACK>(op.weight + c, w);
#pragma unroll
    for (int j = 0; j < PACK; j++)
      d[j] = rstd * (d[j] * w[j] - mean_dn - (v[j] - mean) * rstd * mean_dn_n);
    if (op.dx_add) {
      run_load<PACK>(dx + c, w);
#pragma unroll
      for (int j = 0; j < PACK; j++)
        d[j] += w[j];
    }
    run_store<PACK>(dx + c, d);
  }
}

template <class T, bool MEANS>
static status_code_t norm_backward(device_t *device, const char *name, int64_t rows,
                                   const norm_backward_t<T> &op) {
  if (rows <= 0 || op.cols <= 0) return STATUS_OK;
  const bool packed = is_packed(op.x) && is_packed(op.weight) && is_packed(op.dy) && is_packed(op.dx) &&
                      op.cols % pack_t<T>::N == 0;
  return launch(device, name, {dim3((unsigned)rows), dim3(NORM_THREADS), 0},
                packed ? norm_backward_kernel<T, pack_t<T>::N, MEANS> : norm_backward_kernel<T, 1, MEANS>,
                op);
}

/* dy n of an element: what is summed to the gradient of a weight. */
template <class T> struct weight_gradient_t {
  int64_t cols;
  const T *x, *dy;
  const float *mean, *rstd;
  __device__ float operator()(int64_t row, int64_t col) const {
    const float centred = load_float(x[row * cols + col]) - (mean ? mean[row] : 0.0f);
    return load_float(dy[row * cols + col]) * centred * rstd[row];
  }
};

template <class T> struct bias_gradient_t {
  int64_t cols;
  const T *dy;
  __device__ float operator()(int64_t row, int64_t col) const {
    return load_float(dy[row * cols + col]);
  }
};

/* The gradients of weights first: dx may be dy. */
static status_code_t rmsnorm_backward_cuda(device_t *device, const op_rmsnorm_backward_t *op) {
  return with_real(device, [&](auto zero) -> status_code_t {
    using T = decltype(zero);
    const weight_gradient_t<T> gradient = {op->cols, real<T>(op->x), real<T>(op->dy), nullptr,
                                           wide(op->rstd)};
    if (op->dweight)
      TRY(sum_rows(device, "rmsnorm_backward dweight", op->rows, op->cols, 1, gradient, wide(op->dweight)));
    return norm_backward<T, false>(device, "rmsnorm_backward", op->rows,
                                   {op->cols, real<T>(op->x), real<T>(op->weight), real<T>(op->dy), nullptr,
                                    wide(op->rstd), real<T>(op->dx), op->dx_add});
  });
}

static status_code_t layernorm_backward_cuda(device_t *device, const op_layernorm_backward_t *op) {
  return with_real(device, [&](auto zero) -> status_code_t {
    using T = decltype(zero);
    const weight_gradient_t<T> gradient = {op->cols, real<T>(op->x), real<T>(op->dy), wide(op->mean),
                                           wide(op->rstd)};
    const bias_gradient_t<T> bias = {op->cols, real<T>(op->dy)};
    if (op->dweight)
      TRY(sum_rows(device, "layernorm_backward dweight", op->rows, op->cols, 1, gradient, wide(op->dweight)));
    if (op->dbias)
      TRY(sum_rows(device, "layernorm_backward dbias", op->rows, op->cols, 1, bias, wide(op->dbias)));
    return norm_backward<T, true>(device, "layernorm_backward", op->rows,
                                  {op->cols, real<T>(op->x), real<T>(op->weight), real<T>(op->dy),
                                   wide(op->mean), wide(op->rstd), real<T>(op->dx), op->dx_add});
  });
}

void cuda_fill_norm(ops_t *ops) {
  ops->rmsnorm = rmsnorm_cuda;
  ops->rmsnorm_backward = rmsnorm_backward_cuda;
  ops->layernorm = layernorm_cuda;
  ops->layernorm_backward = layernorm_backward_cuda;
}
