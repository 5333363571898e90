/* Operations on single elements: bound by memory. Bytes per element, b those of the compute type: add 3b,
 * copy 2b, narrow and widen b + 4, fill b or 4, activation_backward 3b, swiglu 3b, swiglu_backward 5b (6b
 * with y), sum_squares 4. */
#include "cuda/activation.h"
#include "cuda/map.h"

template <class T> struct add_t {
  const T *x;
  T *y;
  template <int N> __device__ void run(int64_t i) const {
    float a[N], b[N];
    run_load<N>(x + i, a);
    run_load<N>(y + i, b);
#pragma unroll
    for (int j = 0; j < N; j++)
      b[j] += a[j];
    run_store<N>(y + i, b);
  }
};

static status_code_t add_cuda(device_t *device, const op_add_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return map<T>(device, "add", op->n, is_packed(op->x) && is_packed(op->y),
                  add_t<T>{real<T>(op->x), real<T>(op->y)});
  });
}

static status_code_t copy_cuda(device_t *device, const op_copy_t *op) {
  if (op->n <= 0 || op->x == op->y) return STATUS_OK;
  TRY_CUDA(cudaMemcpyAsync(op->y, op->x, (size_t)op->n * dtype_size(device->real_type),
                           cudaMemcpyDeviceToDevice, cuda_state(device)->compute.raw));
  return STATUS_OK;
}

template <class T> struct fill_t {
  float value;
  T *x;
  template <int N> __device__ void run(int64_t i) const {
    float all[N];
#pragma unroll
    for (int j = 0; j < N; j++)
      all[j] = value;
    run_store<N>(x + i, all);
  }
};

static status_code_t fill_real_cuda(device_t *device, const op_fill_real_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return map<T>(device, "fill_real", op->n, is_packed(op->x), fill_t<T>{(float)op->value, real<T>(op->x)});
  });
}

static status_code_t fill_wide_cuda(device_t *device, const op_fill_wide_t *op) {
  return map<float>(device, "fill_wide", op->n, is_packed(op->x),
                    fill_t<float>{(float)op->value, wide(op->x)});
}

template <class From, class To> struct convert_t {
  const From *from;
  To *to;
  template <int N> __device__ void run(int64_t i) const {
    float all[N];
    run_load<N>(from + i, all);
    run_store<N>(to + i, all);
  }
};

static status_code_t narrow_cuda(device_t *device, const op_narrow_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return map<T>(device, "narrow", op->n, is_packed(op->from) && is_packed(op->to),
                  convert_t<float, T>{wide(op->from), real<T>(op->to)});
  });
}

static status_code_t widen_cuda(device_t *device, const op_widen_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return map<T>(device, "widen", op->n, is_packed(op->from) && is_packed(op->to),
                  convert_t<T, float>{real<T>(op->from), wide(op->to)});
  });
}

template <class T, activation_t KIND> struct activation_backward_t {
  const T *pre, *dy;
  T *dx;
  template <int N> __device__ void run(int64_t i) const {
    float x[N], d[N];
    run_load<N>(pre + i, x);
    run_load<N>(dy + i, d);
#pragma unroll
    for (int j = 0; j < N; j++)
      d[j] *= activate_slope<KIND>(x[j]);
    run_store<N>(dx + i, d);
  }
};

static status_code_t activation_backward_cuda(device_t *device, const op_activation_backward_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return with_activation(op->activation, [&](auto kind) {
      return map<T>(device, "activation_backward", op->n,
                    is_packed(op->pre) && is_packed(op->dy) && is_packed(op->dx),
                    activation_backward_t<T, decltype(kind)::value>{real<T>(op->pre), real<T>(op->dy),
                                                                    real<T>(op->dx)});
    });
  });
}

template <class T> struct swiglu_t {
  int64_t cols;
  const T *gate_up;
  T *y;
  template <int N> __device__ void run(int64_t row, int64_t col) const {
    float gate[N], up[N];
    run_load<N>(gate_up + row * 2 * cols + col, gate);
    run_load<N>(gate_up + row * 2 * cols + cols + col, up);
#pragma unroll
    for (int j = 0; j < N; j++)
      up[j] *= gate[j] * sigmoid(gate[j]);
    run_store<N>(y + row * cols + col, up);
  }
};

static status_code_t swiglu_cuda(device_t *device, const op_swiglu_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return map_rows<T>(device, "swiglu", op->rows, op->cols, is_packed(op->gate_up) && is_packed(op->y),
                       swiglu_t<T>{op->cols, real<T>(op->gate_up), real<T>(op->y)});
  });
}

/* A thread reads all of its elements before it writes, so that gradients may take the place of what they are
 * made of. */
template <class T> struct swiglu_backward_t {
  int64_t cols;
  const T *gate_up, *dy;
  T *dgate_up, *y;
  template <int N> __device__ void run(int64_t row, int64_t col) const {
    const int64_t left = row * 2 * cols + col, right = left + cols, at = row * cols + col;
    float gate[N], up[N], d[N], value[N];
    run_load<N>(gate_up + left, gate);
    run_load<N>(gate_up + right, up);
    run_load<N>(dy + at, d);
#pragma unroll
    for (int j = 0; j < N; j++) {
      float s = sigmoid(gate[j]), silu = gate[j] * s, slope = s + silu * (1.0f - s);
      value[j] = silu * up[j];
      gate[j] = d[j] * up[j] * slope;
      up[j] = d[j] * silu;
    }
    run_store<N>(dgate_up + left, gate);
    run_store<N>(dgate_up + right, up);
    if (y) run_store<N>(y + at, value);
  }
};

static status_code_t swiglu_backward_cuda(device_t *device, const op_swiglu_backward_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    bool packed = is_packed(op->gate_up) && is_packed(op->dy) && is_packed(op->dgate_up) && is_packed(op->y);
    return map_rows<T>(device, "swiglu_backward", op->rows, op->cols, packed,
                       swiglu_backward_t<T>{op->cols, real<T>(op->gate_up), real<T>(op->dy),
                                            real<T>(op->dgate_up), real<T>(op->y)});
  });
}

void cuda_fill_elementwise(ops_t *ops) {
  ops->add = add_cuda;
  ops->copy = copy_cuda;
  ops->fill_real = fill_real_cuda;
  ops->fill_wide = fill_wide_cuda;
  ops->narrow = narrow_cuda;
  ops->widen = widen_cuda;
  ops->activation_backward = activation_backward_cuda;
  ops->swiglu = swiglu_cuda;
  ops->swiglu_backward = swiglu_backward_cuda;
}
