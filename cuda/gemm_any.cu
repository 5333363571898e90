/* What cuBLASLt lacks: products of shapes or alignments that it has no algorithm for (small odd ones, as in
 * tests), and epilogues. The product is 2 m n k FLOPs on the CUDA cores, for correctness only; the epilogue
 * moves 2 to 4 elements for each of c. */
#include "cuda/activation.h"
#include "cuda/gemm.h"
#include "cuda/map.h"

enum { TILE = 16 };

template <class T, class C> struct any_t {
  bool trans_a, trans_b;
  int64_t m, n, k, lda, ldb, ldc;
  const T *a, *b;
  C *c;
  const C *before;
  const T *bias;
  float alpha, beta;
};

template <class T, class C>
static __global__ void __launch_bounds__(TILE *TILE) gemm_any_kernel(const any_t<T, C> p) {
  kernel_begin();
  __shared__ float a[TILE][TILE + 1], b[TILE][TILE + 1];
  const int x = threadIdx.x, y = threadIdx.y;
  const int64_t row = (int64_t)blockIdx.x * TILE + y;
  for (int64_t tile = blockIdx.y; tile * TILE < p.n; tile += gridDim.y) {
    const int64_t col = tile * TILE + x;
    float sum = 0.0f;
    for (int64_t k = 0; k < p.k; k += TILE) {
      const int64_t ka = k + x, kb = k + y;
      a[y][x] =
          row < p.m && ka < p.k ? load_float(p.a[p.trans_a ? ka * p.lda + row : row * p.lda + ka]) : 0.0f;
      b[y][x] =
          col < p.n && kb < p.k ? load_float(p.b[p.trans_b ? col * p.ldb + kb : kb * p.ldb + col]) : 0.0f;
      __syncthreads();
#pragma unroll
      for (int i = 0; i < TILE; i++)
        sum += a[y][i] * b[i][x];
      __syncthreads();
    }
    if (row >= p.m || col >= p.n) continue;
    float value = p.alpha * sum;
    if (p.beta != 0.0f) value += p.beta * load_float(p.before[row * p.ldc + col]);
    if (p.bias) value += load_float(p.bias[col]);
    p.c[row * p.ldc + col] = store_float<C>(value);
  }
}

/* CALL with values of the compute type and of c's type. */
template <class F> static status_code_t with_types(const device_t *device, bool c_wide, F &&call) {
  return with_real(device, [&](auto zero) { return c_wide ? call(zero, float{}) : call(zero, zero); });
}

status_t cuda_gemm_any(device_t *device, const op_gemm_t *op) {
  return with_types(device, op->c_wide, [&](auto zero, auto c_zero) {
    using T = decltype(zero);
    using C = decltype(c_zero);
    any_t<T, C> p = {op->trans_a,
                     op->trans_b,
                     op->m,
                     op->n,
                     op->k,
                     op->lda,
                     op->ldb,
                     op->ldc,
                     real<T>(op->a),
                     real<T>(op->b),
                     static_cast<C *>(op->c),
                     static_cast<const C *>(op->before ? op->before : op->c),
                     real<T>(op->bias),
                     (float)op->alpha,
                     (float)op->beta};
    launch_t shape = launch_over(op->m, TILE, TILE);
    shape.block = dim3(TILE, TILE);
    int64_t tiles = (op->n + TILE - 1) / TILE;
    shape.grid.y = (unsigned)(tiles < MAP_ROWS_MOST ? tiles : MAP_ROWS_MOST);
    return launch(device, "gemm of any shape", shape, gemm_any_kernel<T, C>, p);
  });
}

template <class T, class C, activation_t KIND> struct epilogue_t {
  int64_t ldc;
  float beta;
  const C *before;
  const T *bias;
  C *c;
  T *pre;
  template <int N> __device__ void run(int64_t row, int64_t col) const {
    const int64_t at = row * ldc + col;
    float value[N];
    if (beta != 0.0f) run_load<N>(before + at, value);
#pragma unroll
    for (int j = 0; j < N; j++)
      value[j] = beta != 0.0f ? beta * value[j] : 0.0f;
    if (bias) {
      float added[N];
      run_load<N>(bias + col, added);
#pragma unroll
      for (int j = 0; j < N; j++)
        value[j] += added[j];
    }
    if (pre) run_store<N>(pre + at, value);
#pragma unroll
    for (int j = 0; j < N; j++)
      value[j] = activate<KIND>(value[j]);
    run_store<N>(c + at, value);
  }
};

status_t cuda_epilogue(device_t *device, const op_gemm_t *op, const void *before) {
  return with_types(device, op->c_wide, [&](auto zero, auto c_zero) {
    return with_activation(op->activation, [&](auto kind) {
      using T = decltype(zero);
      using C = decltype(c_zero);
      T *pre = op->activation == ACTIVATION_NONE ? nullptr : real<T>(op->pre);
      bool packed = is_packed(before) && is_packed(op->bias) && is_packed(op->c) && is_packed(pre) &&
                    op->ldc % pack_t<T>::N == 0;
      return map_rows<T>(
          device, "epilogue", op->m, op->n, packed,
          epilogue_t<T, C, decltype(kind)::value>{op->ldc, (float)op->beta, static_cast<const C *>(before),
                                                  real<T>(op->bias), static_cast<C *>(op->c), pre});
    });
  });
}

struct widen_half_t {
  const bf16 *from;
  float *to;
  template <int N> __device__ void run(int64_t i) const {
    float all[N];
    run_load<N>(from + i, all);
    run_store<N>(to + i, all);
  }
};

status_t cuda_widen_half(device_t *device, int64_t n, const half_t *from, float *to) {
  return map<bf16>(device, "widen bf16 weight", n, is_packed(from) && is_packed(to),
                   widen_half_t{reinterpret_cast<const bf16 *>(from), to});
}
