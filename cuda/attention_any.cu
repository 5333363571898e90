/* Attention over packed sequences without tensor cores: in fp32, and for heads above 128. A block of 16 x 16
 * threads owns 32 rows (queries, or keys for their gradients), all of whose elements it keeps in shared
 * memory in fp32, and reads the others 32 at a time. Each thread has 2 x 2 scores, and 2 rows by head_size /
 * 16 columns of sums. Scores of 32 rows pass through shared memory between the two, within a warp. */
#include "cuda/attention.h"
#include "cuda/map.h"

#include <type_traits>

namespace {

enum { SIDE = 16, ANY_THREADS = SIDE * SIDE, ROWS = PLAIN_ROWS, RUN = 4, SCORES_LD = ROWS + 1 };

template <int D> constexpr int ld_of = D + RUN; /* of 16-byte accesses to rows, no two in one bank */

template <int D> constexpr int tile_floats = ROWS *ld_of<D>;
constexpr int SCORES = ROWS * SCORES_LD, ROW_NUMBERS = 2 * ROWS;

/* Rows FIRST .. of LENGTH rows of HEAD_SIZE elements; zeros beyond. */
template <int D, class T>
__device__ __forceinline__ void rows_load(float *to, const T *from, int64_t ld, int32_t first, int32_t length,
                                          const attention_t<T> &op) {
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
__device__ __forceinline__ int32_t score_row(int i) {
  return (int32_t)threadIdx.x / SIDE + SIDE * i;
}
__device__ __forceinline__ int32_t score_col(int j) {
  return (int32_t)threadIdx.x % SIDE + SIDE * j;
}

/* s = a b^T. */
template <int D> __device__ __forceinline__ void scores(float (&s)[2][2], const float *a, const float *b) {
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
__device__ __forceinline__ float row_max(float value) {
#pragma unroll
  for (int step = SIDE / 2; step > 0; step /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}
__device__ __forceinline__ float row_sum(float value) {
#pragma unroll
  for (int step = SIDE / 2; step > 0; step /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

/* ---- Forward ---- */

template <class T, int D>
__global__ void __launch_bounds__(ANY_THREADS) forward_kernel(const attention_t<T> op) {
  kernel_begin();
  DYNAMIC_SHARED(float, q);
  float *k = q + tile_floats<D>, *v = k + tile_floats<D>, *passed = v + tile_floats<D>;
  const attention_block_t work =
      attention_block(op.tiles[blockIdx.x / op.heads], blockIdx.x, op.heads, ROWS, false);
  const int32_t first = work.tile.first, length = work.tile.length, head = work.head;
  const int64_t begin = work.tile.begin, kv = (int64_t)(head / op.group) * op.head_size;
  const int32_t keys = op.causal ? smaller(length, first + ROWS) : length;
  float max[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  sums_t<D> out;
  out.clear();
  rows_load<D>(q, op.q + begin * op.ldq + (int64_t)head * op.head_size, op.ldq, first, length, op);
  for (int32_t key = 0; key < keys; key += ROWS) {
    float s[2][2];
    rows_load<D>(k, op.k + begin * op.ldkv + kv, op.ldkv, key, length, op);
    rows_load<D>(v, op.v + begin * op.ldkv + kv, op.ldkv, key, length, op);
    __syncthreads();
    scores<D>(s, q, k);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      float top = max[i];
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int32_t at = key + score_col(j);
        const bool is_seen = at < length && (!op.causal || at <= first + score_row(i));
        s[i][j] = is_seen ? s[i][j] * op.scale : -INFINITY;
        top = fmaxf(top, s[i][j]);
      }
      top = row_max(top); /* finite: key 0 is seen by all */
      const float factor = expf(max[i] - top);
#pragma unroll
      for (int j = 0; j < 2; j++)
        s[i][j] = expf(s[i][j] - top);
      sum[i] = sum[i] * factor + s[i][0] + s[i][1];
      max[i] = top;
      out.scale(i, factor);
    }
    out.add(s, passed, v);
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int64_t row = begin + first + score_row(i);
    const float total = row_sum(sum[i]);
    if (first + score_row(i) >= length) continue;
    out.store(i, 1.0f / total, op.out + row * op.ldo + (int64_t)head * op.head_size, op.head_size);
    if (op.lse && score_col(0) == 0) op.lse[row * op.heads + head] = max[i] + logf(total);
  }
}

/* ---- Backward ---- */

/* p = exp(s - lse) where PAIR is one that counts, and in place of dp the gradient of the score, without its
 * scale. */
__device__ __forceinline__ void score_gradient(float &s, float &dp, bool is_seen, float scale, float lse,
                                               float dots) {
  s = is_seen ? expf(s * scale - lse) : 0.0f;
  dp = is_seen ? s * (dp - dots) : 0.0f;
}

template <class T, int D>
__global__ void __launch_bounds__(ANY_THREADS) query_kernel(const attention_t<T> op) {
  kernel_begin();
  DYNAMIC_SHARED(float, q);
  float *dout = q + tile_floats<D>, *k = dout + tile_floats<D>, *v = k + tile_floats<D>,
        *passed = v + tile_floats<D>;
  const attention_block_t work =
      attention_block(op.tiles[blockIdx.x / op.heads], blockIdx.x, op.heads, ROWS, false);
  const int32_t first = work.tile.first, length = work.tile.length, head = work.head;
  const int64_t begin = work.tile.begin, kv = (int64_t)(head / op.group) * op.head_size,
                column = (int64_t)head * op.head_size;
  const int32_t keys = op.causal ? smaller(length, first + ROWS) : length;
  float lse[2] = {}, dots[2] = {};
  sums_t<D> dq;
  dq.clear();
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int64_t row = (begin + first + score_row(i)) * op.heads + head;
    if (first + score_row(i) >= length) continue;
    lse[i] = op.lse[row];
    dots[i] = op.dots[row];
  }
  rows_load<D>(q, op.q + begin * op.ldq + column, op.ldq, first, length, op);
  rows_load<D>(dout, op.dout + begin * op.ldo + column, op.ldo, first, length, op);
  for (int32_t key = 0; key < keys; key += ROWS) {
    float s[2][2], dp[2][2];
    rows_load<D>(k, op.k + begin * op.ldkv + kv, op.ldkv, key, length, op);
    rows_load<D>(v, op.v + begin * op.ldkv + kv, op.ldkv, key, length, op);
    __syncthreads();
    scores<D>(s, q, k);
    scores<D>(dp, dout, v);
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int32_t at = key + score_col(j), row = first + score_row(i);
        score_gradient(s[i][j], dp[i][j], row < length && at < length && (!op.causal || at <= row), op.scale,
                       lse[i], dots[i]);
      }
    dq.add(dp, passed, k);
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; i++)
    if (first + score_row(i) < length)
      dq.store(i, op.scale, op.dq + (begin + first + score_row(i)) * op.ldq + column, op.head_size);
}

template <class T, int D> __global__ void __launch_bounds__(ANY_THREADS) key_kernel(const attention_t<T> op) {
  kernel_begin();
  DYNAMIC_SHARED(float, k);
  float *v = k + tile_floats<D>, *q = v + tile_floats<D>, *dout = q + tile_floats<D>,
        *passed = dout + tile_floats<D>, *lse = passed + SCORES, *dots = lse + ROWS;
  const int32_t kv_heads = op.heads / op.group;
  const attention_block_t work =
      attention_block(op.tiles[blockIdx.x / kv_heads], blockIdx.x, kv_heads, ROWS, true);
  const int32_t first = work.tile.first, length = work.tile.length;
  const int64_t begin = work.tile.begin, kv = (int64_t)work.head * op.head_size;
  sums_t<D> dk, dv;
  dk.clear();
  dv.clear();
  rows_load<D>(k, op.k + begin * op.ldkv + kv, op.ldkv, first, length, op);
  rows_load<D>(v, op.v + begin * op.ldkv + kv, op.ldkv, first, length, op);
  for (int32_t head = work.head * op.group; head < (work.head + 1) * op.group; head++)
    for (int32_t query = op.causal ? first : 0; query < length; query += ROWS) {
      const int64_t column = (int64_t)head * op.head_size;
      float s[2][2], dp[2][2];
      rows_load<D>(q, op.q + begin * op.ldq + column, op.ldq, query, length, op);
      rows_load<D>(dout, op.dout + begin * op.ldo + column, op.ldo, query, length, op);
      if (threadIdx.x < ROWS && query + (int32_t)threadIdx.x < length) {
        const int64_t row = (begin + query + threadIdx.x) * op.heads + head;
        lse[threadIdx.x] = op.lse[row];
        dots[threadIdx.x] = op.dots[row];
      }
      __syncthreads();
      scores<D>(s, k, q);
      scores<D>(dp, v, dout);
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
          const int32_t at = first + score_row(i), row = query + score_col(j);
          score_gradient(s[i][j], dp[i][j], row < length && at < length && (!op.causal || at <= row),
                         op.scale, lse[score_col(j)], dots[score_col(j)]);
        }
      dv.add(s, passed, dout);
      dk.add(dp, passed, q);
      __syncthreads();
    }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int64_t row = (begin + first + score_row(i)) * op.ldkv + kv;
    if (first + score_row(i) >= length) continue;
    dk.store(i, op.scale, op.dk + row, op.head_size);
    dv.store(i, 1.0f, op.dv + row, op.head_size);
  }
}

/* ---- Launches ---- */

/* CALL with the head size that kernels are made for, a constant. */
template <class T, class F> status_code_t with_head_size(int32_t head_size, F &&call) {
  if constexpr (sizeof(T) == sizeof(float)) { /* smaller ones in bf16 go to tensor cores */
    if (head_size <= 64) return call(std::integral_constant<int, 64>());
    if (head_size <= 128) return call(std::integral_constant<int, 128>());
  }
  return call(std::integral_constant<int, ATTENTION_HEAD_MOST>());
}

} // namespace

template <class T> status_code_t attention_any(device_t *device, int64_t tiles, const attention_t<T> &op) {
  return with_head_size<T>(op.head_size, [&](auto size) {
    constexpr int D = decltype(size)::value;
    return launch(device, "attention",
                  launch_tiles(tiles, op.heads, ANY_THREADS, (3 * tile_floats<D> + SCORES) * sizeof(float)),
                  forward_kernel<T, D>, op);
  });
}

template <class T>
status_code_t attention_backward_any(device_t *device, int64_t tiles, const attention_t<T> &op) {
  return with_head_size<T>(op.head_size, [&](auto size) -> status_code_t {
    constexpr int D = decltype(size)::value;
    const size_t shared = (4 * tile_floats<D> + SCORES + ROW_NUMBERS) * sizeof(float);
    TRY(launch(device, "attention_backward dq", launch_tiles(tiles, op.heads, ANY_THREADS, shared),
               query_kernel<T, D>, op));
    return launch(device, "attention_backward dk, dv",
                  launch_tiles(tiles, op.heads / op.group, ANY_THREADS, shared), key_kernel<T, D>, op);
  });
}

template status_code_t attention_any<float>(device_t *, int64_t, const attention_t<float> &);
template status_code_t attention_any<bf16>(device_t *, int64_t, const attention_t<bf16> &);
template status_code_t attention_backward_any<float>(device_t *, int64_t, const attention_t<float> &);
template status_code_t attention_backward_any<bf16>(device_t *, int64_t, const attention_t<bf16> &);
