/* Attention without tensor cores: a block of 16 x 16 threads owns 32 rows (queries, or keys for their
 * gradients), all of whose elements it keeps in shared memory in fp32, and reads the others 32 at a time.
 * Each thread has 2 x 2 scores, and 2 rows by head_size / 16 columns of sums. Scores of 32 rows pass through
 * shared memory between the two, within a warp. */
#ifndef CUDA_ATTENTION_ROWS_H
#define CUDA_ATTENTION_ROWS_H

#include "cuda/attention.h"
#include "cuda/map.h"

#include <type_traits>

enum { SIDE = 16, ANY_THREADS = SIDE * SIDE, ROWS = PLAIN_ROWS, RUN = 4, SCORES_LD = ROWS + 1 };

template <int D> static constexpr int ld_of = D + RUN; /* of 16-byte accesses to rows, no two in one bank */

template <int D> static constexpr int tile_floats = ROWS *ld_of<D>;
static constexpr int SCORES = ROWS * SCORES_LD, ROW_NUMBERS = 2 * ROWS;

/* Rows FIRST .. of LENGTH rows of HEAD_SIZE elements; zeros beyond. */
template <int D, class T>
static __device__ __forceinline__ void rows_load(float *to, const T *from, int64_t ld, int32_t first,
                                                 int32_t length, const attention_t<T> &op) {
  for (int32_t i = threadIdx.x; i < ROWS * D / RUN; i += ANY_THREADS) {
    const int32_t row = i / (D / RUN), col = i % (D / RUN) * RUN;
    const T *source = from + (int64_t)(first + row) * ld + col;
    float v[RUN] = {};
    if (first + row < length) {
      if (op.packed) {
        if (col < op.head_size) run_load<RUN>(source, v);
      } else {
#pragma unroll
        for (int j = 0; j < RUN; j++)
          if (col + j < op.head_size) v[j] = load_float(source[j]);
      }
    }
    run_store<RUN>(to + row * ld_of<D> + col, v);
  }
}

/* Row and column of a thread's score (i, j). */
static __device__ __forceinline__ int32_t score_row(int i) {
  return (int32_t)threadIdx.x / SIDE + SIDE * i;
}
static __device__ __forceinline__ int32_t score_col(int j) {
  return (int32_t)threadIdx.x % SIDE + SIDE * j;
}

/* s = a b^T. */
template <int D>
static __device__ __forceinline__ void scores(float (&s)[2][2], const float *a, const float *b) {
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int j = 0; j < 2; j++)
      s[i][j] = 0.0f;
#pragma unroll 4
  for (int d = 0; d < D; d += RUN) {
    float left[2][RUN], right[2][RUN];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      run_load<RUN>(a + score_row(i) * ld_of<D> + d, left[i]);
      run_load<RUN>(b + score_col(i) * ld_of<D> + d, right[i]);
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int j = 0; j < 2; j++)
#pragma unroll
        for (int e = 0; e < RUN; e++)
          s[i][j] = fmaf(left[i][e], right[j][e], s[i][j]);
  }
}

/* Sums over rows of B: of 2 rows and D / 16 columns a thread. */
template <int D> struct sums_t {
  enum { RUNS = D / RUN / SIDE };
  float of[2][RUNS][RUN];

  __device__ __forceinline__ static int32_t col(int run) {
    return ((int32_t)threadIdx.x % SIDE + SIDE * run) * RUN;
  }
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int r = 0; r < RUNS; r++)
#pragma unroll
        for (int e = 0; e < RUN; e++)
          of[i][r][e] = 0.0f;
  }
  __device__ __forceinline__ void scale(int i, float factor) {
#pragma unroll
    for (int r = 0; r < RUNS; r++)
#pragma unroll
      for (int e = 0; e < RUN; e++)
        of[i][r][e] *= factor;
  }
  /* += s b; s of the warp's threads goes through SHARED. */
  __device__ __forceinline__ void add(const float (&s)[2][2], float *shared, const float *b) {
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int j = 0; j < 2; j++)
        shared[score_row(i) * SCORES_LD + score_col(j)] = s[i][j];
    __syncwarp();
#pragma unroll 2
    for (int n = 0; n < ROWS; n++) {
      const float left[2] = {shared[score_row(0) * SCORES_LD + n], shared[score_row(1) * SCORES_LD + n]};
#pragma unroll
      for (int r = 0; r < RUNS; r++) {
        float right[RUN];
        run_load<RUN>(b + n * ld_of<D> + col(r), right);
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
          for (int e = 0; e < RUN; e++)
            of[i][r][e] = fmaf(left[i], right[e], of[i][r][e]);
      }
    }
    __syncwarp();
  }
  /* Row i times FACTOR to TO, COUNT elements of it. */
  template <class T> __device__ __forceinline__ void store(int i, float factor, T *to, int32_t count) const {
#pragma unroll
    for (int r = 0; r < RUNS; r++)
#pragma unroll
      for (int e = 0; e < RUN; e++)
        if (col(r) + e < count) to[col(r) + e] = store_float<T>(of[i][r][e] * factor);
  }
};

/* Over the threads that have the same rows. */
static __device__ __forceinline__ float row_max(float value) {
#pragma unroll
  for (int step = SIDE / 2; step > 0; step /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}
static __device__ __forceinline__ float row_sum(float value) {
#pragma unroll
  for (int step = SIDE / 2; step > 0; step /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

/* Running maximum and sum of a thread's rows; of the sum, the thread's columns only. */
struct row_softmax_t {
  float max[2], sum[2];
};

/* Scores S of row I and keys KEY .., of which those before SEEN count, become powers under the running
 * maximum; OUT is rescaled to it. Rounded one by one, so that a row has the same bits in every kernel. */
template <int D>
static __device__ __forceinline__ void softmax_row(float (&s)[2][2], row_softmax_t &state, sums_t<D> &out,
                                                   int i, int32_t key, int32_t seen, float scale) {
  float top = state.max[i];
#pragma unroll
  for (int j = 0; j < 2; j++) {
    s[i][j] = key + score_col(j) < seen ? __fmul_rn(s[i][j], scale) : -INFINITY;
    top = fmaxf(top, s[i][j]);
  }
  top = row_max(top); /* finite: key 0 is seen by all */
  const float factor = expf(__fadd_rn(state.max[i], -top));
#pragma unroll
  for (int j = 0; j < 2; j++)
    s[i][j] = expf(__fadd_rn(s[i][j], -top));
  state.sum[i] = __fadd_rn(__fadd_rn(__fmul_rn(state.sum[i], factor), s[i][0]), s[i][1]);
  state.max[i] = top;
  out.scale(i, factor);
}

/* CALL with the head size that kernels are made for, a constant. */
template <class T, class F> static inline status_code_t with_head_size(int32_t head_size, F &&call) {
  if constexpr (sizeof(T) == sizeof(float)) { /* smaller ones in bf16 go to tensor cores */
    if (head_size <= 64) return call(std::integral_constant<int, 64>());
    if (head_size <= 128) return call(std::integral_constant<int, 128>());
  }
  return call(std::integral_constant<int, ATTENTION_HEAD_MOST>());
}

#endif
