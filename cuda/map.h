/* Kernels that compute element by element: a functor with `template <int N> run(i)` (or run(row, col)) for N
 * neighbouring elements from I on, called with as many as 16 bytes of the compute type hold where all
 * pointers allow it. */
#ifndef CUDA_MAP_H
#define CUDA_MAP_H

#include "cuda/kernel.h"

enum { MAP_THREADS = 256, MAP_ROWS_MOST = 65535 };

/* N elements from FROM on, in fp32; by accesses of 16 bytes where N elements are a multiple of that. */
template <int N, class T> static __device__ __forceinline__ void run_load(const T *from, float (&to)[N]) {
  if constexpr (N * sizeof(T) % 16 == 0) {
    constexpr int EACH = pack_t<T>::N;
#pragma unroll
    for (int i = 0; i < N; i += EACH) {
      const pack_t<T> pack = pack_load(from + i);
#pragma unroll
      for (int j = 0; j < EACH; j++)
        to[i + j] = load_float(pack.v[j]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; i++)
      to[i] = load_float(from[i]);
  }
}
template <int N, class T> static __device__ __forceinline__ void run_store(T *to, const float (&from)[N]) {
  if constexpr (N * sizeof(T) % 16 == 0) {
    constexpr int EACH = pack_t<T>::N;
#pragma unroll
    for (int i = 0; i < N; i += EACH) {
      pack_t<T> pack;
#pragma unroll
      for (int j = 0; j < EACH; j++)
        pack.v[j] = store_float<T>(from[i + j]);
      pack_store(to + i, pack);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; i++)
      to[i] = store_float<T>(from[i]);
  }
}

template <int PACK, class F>
static __global__ void __launch_bounds__(MAP_THREADS) map_kernel(int64_t n, F f) {
  kernel_begin();
  int64_t i = ((int64_t)blockIdx.x * MAP_THREADS + threadIdx.x) * PACK;
  if (i + PACK <= n) {
    f.template run<PACK>(i);
  } else {
    for (; i < n; i++)
      f.template run<1>(i);
  }
}

/* F on elements 0 .. n-1; PACKED: all of its pointers are multiples of 16 bytes. */
template <class T, class F>
static status_code_t map(device_t *device, const char *name, int64_t n, bool packed, const F &f) {
  constexpr int PACK = pack_t<T>::N;
  if (n <= 0) return STATUS_OK;
  if (packed)
    return launch(device, name, launch_over(n, MAP_THREADS * PACK, MAP_THREADS), map_kernel<PACK, F>, n, f);
  return launch(device, name, launch_over(n, MAP_THREADS, MAP_THREADS), map_kernel<1, F>, n, f);
}

template <int PACK, class F>
static __global__ void __launch_bounds__(MAP_THREADS) map_rows_kernel(int64_t rows, int64_t cols, F f) {
  kernel_begin();
  int64_t col = ((int64_t)blockIdx.x * MAP_THREADS + threadIdx.x) * PACK;
  if (col >= cols) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y)
    f.template run<PACK>(row, col);
}

/* F on (rows, cols); PACKED: besides, rows lie at multiples of 16 bytes. */
template <class T, class F>
static status_code_t map_rows(device_t *device, const char *name, int64_t rows, int64_t cols, bool packed,
                              const F &f) {
  constexpr int PACK = pack_t<T>::N;
  if (rows <= 0 || cols <= 0) return STATUS_OK;
  bool whole = packed && cols % PACK == 0;
  launch_t shape = launch_over(cols, whole ? MAP_THREADS * PACK : MAP_THREADS, MAP_THREADS);
  shape.grid.y = (unsigned)(rows < MAP_ROWS_MOST ? rows : MAP_ROWS_MOST);
  if (whole) return launch(device, name, shape, map_rows_kernel<PACK, F>, rows, cols, f);
  return launch(device, name, shape, map_rows_kernel<1, F>, rows, cols, f);
}

#endif
