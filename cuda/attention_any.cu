/* Attention over packed sequences without tensor cores: in fp32, and for heads above 128. */
#include "cuda/attention_rows.h"

namespace {

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
  row_softmax_t state = {{-INFINITY, -INFINITY}, {}};
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
      const int32_t seen = op.causal ? smaller(length, first + score_row(i) + 1) : length;
      softmax_row<D>(s, state, out, i, key, seen, op.scale);
    }
    out.add(s, passed, v);
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int64_t row = begin + first + score_row(i);
    const float total = row_sum(state.sum[i]);
    if (first + score_row(i) >= length) continue;
    out.store(i, 1.0f / total, op.out + row * op.ldo + (int64_t)head * op.head_size, op.head_size);
    if (op.lse && score_col(0) == 0) op.lse[row * op.heads + head] = state.max[i] + logf(total);
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
