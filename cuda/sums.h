/* Sums over rows, for gradients of biases, norms and tables: the same bits in every run. */
#ifndef CUDA_SUMS_H
#define CUDA_SUMS_H

#include "cuda/kernel.h"

extern "C" {
#include "cuda/sum_plan.h"
}

enum { SUM_COLS = 32, SUM_ROWS = 8, SUM_PERIODS_MOST = 65535 };

/* Chunk blockIdx.y of the rows of each p: into PARTS (chunks, period, cols), or added to SUMS where there is
 * one chunk. */
template <class F>
static __global__ void __launch_bounds__(SUM_COLS *SUM_ROWS)
    sums_kernel(int64_t rows, int64_t cols, int64_t period, int64_t chunk, F value, float *parts,
                float *sums) {
  kernel_begin();
  __shared__ float lanes[SUM_ROWS][SUM_COLS];
  const int64_t col = (int64_t)blockIdx.x * SUM_COLS + threadIdx.x;
  for (int64_t p = blockIdx.z; p < period; p += gridDim.z) {
    const int64_t begin = (int64_t)blockIdx.y * chunk, end = begin + chunk;
    float sum = 0.0f;
    for (int64_t i = begin + threadIdx.y; i < end && i * period + p < rows; i += SUM_ROWS)
      if (col < cols) sum += value(i * period + p, col);
    lanes[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && col < cols) {
#pragma unroll
      for (int y = 1; y < SUM_ROWS; y++)
        sum += lanes[y][threadIdx.x];
      if (gridDim.y == 1)
        sums[p * cols + col] += sum;
      else
        parts[((int64_t)blockIdx.y * period + p) * cols + col] = sum;
    }
    __syncthreads();
  }
}

static __global__ void __launch_bounds__(256)
    sums_total_kernel(int64_t n, int32_t chunks, const float *parts, float *sums) {
  kernel_begin();
  const int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  float sum = 0.0f;
  for (int32_t c = 0; c < chunks; c++)
    sum += parts[c * n + i];
  sums[i] += sum;
}

/* sums[r % period] (period, cols) += VALUE(r, col), a functor on the device. */
template <class F>
static status_code_t sum_rows(device_t *device, const char *name, int64_t rows, int64_t cols, int64_t period,
                              const F &value, float *sums) {
  if (rows <= 0 || cols <= 0) return STATUS_OK;
  const sum_plan_t plan = sum_plan(rows, period);
  const int64_t n = period * cols;
  void *parts = nullptr;
  if (plan.chunks > 1) TRY(cuda_scratch(device, (size_t)(plan.chunks * n) * sizeof(float), &parts));
  launch_t shape = launch_over(cols, SUM_COLS, SUM_COLS);
  shape.block.y = SUM_ROWS;
  shape.grid.y = (unsigned)plan.chunks;
  shape.grid.z = (unsigned)(period < SUM_PERIODS_MOST ? period : SUM_PERIODS_MOST);
  TRY(launch(device, name, shape, sums_kernel<F>, rows, cols, period, plan.chunk, value,
             static_cast<float *>(parts), sums));
  if (plan.chunks == 1) return STATUS_OK;
  return launch(device, name, launch_over(n, 256, 256), sums_total_kernel, n, plan.chunks,
                static_cast<const float *>(parts), sums);
}

#endif
