/* Attention over packed sequences on the CUDA cores, in fp32, for any size of heads up to 256: right, and
 * slow beside tensor cores. 4 D FLOPs for each pair of a query and a key forward, 10 D backward; keys and
 * values are read once for each 32 queries of a head. A warp has 8 rows; a lane has a key for scores, and
 * every 32nd element of a head for sums. */
#include "cuda/attention.h"

enum { TILE = 32, WARPS = 4, WARP_ROWS = TILE / WARPS, CHUNKS_MOST = 8, HEAD_MOST = 32 * CHUNKS_MOST };

template <class T> struct attention_t {
  packed_sequences_t of;
  const T *q, *k, *v;
  int64_t ldq, ldkv, ldo;
  float scale;
  bool causal;
  T *out;
  float *lse;
  const T *dout;
  T *dq, *dk, *dv;
  float *dots; /* (T, H): out dout of each row, backward */
};

/* Rows FIRST .. of X, at column COL, to TO (TILE, D + 1); zero from END on. */
template <class T>
static __device__ __forceinline__ void tile_load(const T *x, int64_t ld, int64_t col, int64_t first,
                                                 int64_t end, int32_t D, float *to) {
  for (int32_t i = threadIdx.x; i < TILE * D; i += WARPS * WARP) {
    const int32_t row = i / D, d = i % D;
    to[row * (D + 1) + d] = first + row < end ? load_float(x[(first + row) * ld + col + d]) : 0.0f;
  }
}

static __device__ __forceinline__ float tile_dot(const float *a, const float *b, int32_t D) {
  float sum = 0.0f;
  for (int32_t d = 0; d < D; d++)
    sum += a[d] * b[d];
  return sum;
}

/* Block: tile of queries, head, sequence. */
template <class T>
static __global__ void __launch_bounds__(WARPS *WARP) attention_kernel(const attention_t<T> op) {
  DYNAMIC_SHARED(float, shared);
  const int32_t D = op.of.head_size, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const int32_t head = blockIdx.y, kv = head / (op.of.heads / op.of.kv_heads);
  const int64_t begin = op.of.offsets[blockIdx.z], end = op.of.offsets[blockIdx.z + 1];
  const int64_t first = begin + (int64_t)blockIdx.x * TILE;
  if (first >= end) return;
  float *q = shared, *k = q + TILE * (D + 1), *v = k + TILE * (D + 1);
  float sums[WARP_ROWS][CHUNKS_MOST], max[WARP_ROWS], sum[WARP_ROWS];
#pragma unroll
  for (int r = 0; r < WARP_ROWS; r++) {
    max[r] = -INFINITY;
    sum[r] = 0.0f;
#pragma unroll
    for (int c = 0; c < CHUNKS_MOST; c++)
      sums[r][c] = 0.0f;
  }
  tile_load(op.q, op.ldq, (int64_t)head * D, first, end, D, q);
  const int64_t last = op.causal && first + TILE < end ? first + TILE : end; /* keys before it are seen */
  for (int64_t keys = begin; keys < last; keys += TILE) {
    __syncthreads();
    tile_load(op.k, op.ldkv, (int64_t)kv * D, keys, end, D, k);
    tile_load(op.v, op.ldkv, (int64_t)kv * D, keys, end, D, v);
    __syncthreads();
    const int64_t key = keys + lane;
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++) {
      const int32_t row = warp * WARP_ROWS + r;
      const bool seen = key < end && (!op.causal || key <= first + row);
      float score = op.scale * tile_dot(q + row * (D + 1), k + lane * (D + 1), D);
      if (!seen) score = -INFINITY;
      const float larger = fmaxf(max[r], warp_max(score)), from = larger > -INFINITY ? larger : 0.0f;
      const float p = expf(score - from), kept = expf(max[r] - from);
      max[r] = larger;
      sum[r] = sum[r] * kept + warp_sum(p);
#pragma unroll
      for (int c = 0; c < CHUNKS_MOST; c++)
        sums[r][c] *= kept;
      for (int32_t j = 0; j < TILE; j++) {
        const float pj = __shfl_sync(0xffffffffu, p, j);
#pragma unroll
        for (int c = 0; c < CHUNKS_MOST; c++)
          if (c * WARP + lane < D) sums[r][c] += pj * v[j * (D + 1) + c * WARP + lane];
      }
    }
  }
#pragma unroll
  for (int r = 0; r < WARP_ROWS; r++) {
    const int64_t row = first + warp * WARP_ROWS + r;
    if (row >= end) continue;
#pragma unroll
    for (int c = 0; c < CHUNKS_MOST; c++)
      if (c * WARP + lane < D)
        op.out[row * op.ldo + (int64_t)head * D + c * WARP + lane] = store_float<T>(sums[r][c] / sum[r]);
    if (op.lse && lane == 0) op.lse[row * op.of.heads + head] = max[r] + logf(sum[r]);
  }
}

/* ---- Backward ---- */

/* out dout of each row and head: a warp each. */
template <class T>
static __global__ void __launch_bounds__(WARPS *WARP)
    attention_dots_kernel(const attention_t<T> op, int64_t rows) {
  const int32_t D = op.of.head_size, lane = threadIdx.x % WARP;
  const int64_t item = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP;
  if (item >= rows * op.of.heads) return;
  const int64_t at = item / op.of.heads * op.ldo + item % op.of.heads * D;
  float sum = 0.0f;
  for (int32_t d = lane; d < D; d += WARP)
    sum += load_float(op.out[at + d]) * load_float(op.dout[at + d]);
  sum = warp_sum(sum);
  if (lane == 0) op.dots[item] = sum;
}

/* dq: block as forward. With p = exp(score - lse) and dp = dout v: ds = scale p (dp - out dout), dq = ds k.
 */
template <class T>
static __global__ void __launch_bounds__(WARPS *WARP) attention_dq_kernel(const attention_t<T> op) {
  DYNAMIC_SHARED(float, shared);
  const int32_t D = op.of.head_size, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const int32_t head = blockIdx.y, kv = head / (op.of.heads / op.of.kv_heads);
  const int64_t begin = op.of.offsets[blockIdx.z], end = op.of.offsets[blockIdx.z + 1];
  const int64_t first = begin + (int64_t)blockIdx.x * TILE;
  if (first >= end) return;
  float *q = shared, *dout = q + TILE * (D + 1), *k = dout + TILE * (D + 1), *v = k + TILE * (D + 1);
  float sums[WARP_ROWS][CHUNKS_MOST] = {};
  tile_load(op.q, op.ldq, (int64_t)head * D, first, end, D, q);
  tile_load(op.dout, op.ldo, (int64_t)head * D, first, end, D, dout);
  const int64_t last = op.causal && first + TILE < end ? first + TILE : end;
  for (int64_t keys = begin; keys < last; keys += TILE) {
    __syncthreads();
    tile_load(op.k, op.ldkv, (int64_t)kv * D, keys, end, D, k);
    tile_load(op.v, op.ldkv, (int64_t)kv * D, keys, end, D, v);
    __syncthreads();
    const int64_t key = keys + lane;
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++) {
      const int32_t in_tile = warp * WARP_ROWS + r;
      const int64_t row = first + in_tile;
      float ds = 0.0f;
      if (row < end && key < end && (!op.causal || key <= row)) {
        const float score = op.scale * tile_dot(q + in_tile * (D + 1), k + lane * (D + 1), D);
        const float p = expf(score - op.lse[row * op.of.heads + head]);
        ds = op.scale * p *
             (tile_dot(dout + in_tile * (D + 1), v + lane * (D + 1), D) - op.dots[row * op.of.heads + head]);
      }
      for (int32_t j = 0; j < TILE; j++) {
        const float dsj = __shfl_sync(0xffffffffu, ds, j);
#pragma unroll
        for (int c = 0; c < CHUNKS_MOST; c++)
          if (c * WARP + lane < D) sums[r][c] += dsj * k[j * (D + 1) + c * WARP + lane];
      }
    }
  }
#pragma unroll
  for (int r = 0; r < WARP_ROWS; r++) {
    const int64_t row = first + warp * WARP_ROWS + r;
    if (row >= end) continue;
#pragma unroll
    for (int c = 0; c < CHUNKS_MOST; c++)
      if (c * WARP + lane < D)
        op.dq[row * op.ldq + (int64_t)head * D + c * WARP + lane] = store_float<T>(sums[r][c]);
  }
}

/* dk and dv: block of a tile of keys, key-value head, sequence; the queries of all its heads, in order. A
 * warp has 8 keys; a lane has a query for scores. */
template <class T>
static __global__ void __launch_bounds__(WARPS *WARP) attention_dkv_kernel(const attention_t<T> op) {
  DYNAMIC_SHARED(float, shared);
  const int32_t D = op.of.head_size, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const int32_t kv = blockIdx.y, group = op.of.heads / op.of.kv_heads;
  const int64_t begin = op.of.offsets[blockIdx.z], end = op.of.offsets[blockIdx.z + 1];
  const int64_t first = begin + (int64_t)blockIdx.x * TILE;
  if (first >= end) return;
  float *q = shared, *dout = q + TILE * (D + 1), *k = dout + TILE * (D + 1), *v = k + TILE * (D + 1);
  float dk[WARP_ROWS][CHUNKS_MOST] = {}, dv[WARP_ROWS][CHUNKS_MOST] = {};
  tile_load(op.k, op.ldkv, (int64_t)kv * D, first, end, D, k);
  tile_load(op.v, op.ldkv, (int64_t)kv * D, first, end, D, v);
  for (int32_t head = kv * group; head < (kv + 1) * group; head++)
    for (int64_t queries = op.causal ? first : begin; queries < end; queries += TILE) {
      __syncthreads();
      tile_load(op.q, op.ldq, (int64_t)head * D, queries, end, D, q);
      tile_load(op.dout, op.ldo, (int64_t)head * D, queries, end, D, dout);
      __syncthreads();
      const int64_t row = queries + lane;
#pragma unroll
      for (int r = 0; r < WARP_ROWS; r++) {
        const int32_t in_tile = warp * WARP_ROWS + r;
        const int64_t key = first + in_tile;
        float p = 0.0f, ds = 0.0f;
        if (row < end && key < end && (!op.causal || key <= row)) {
          const float score = op.scale * tile_dot(q + lane * (D + 1), k + in_tile * (D + 1), D);
          p = expf(score - op.lse[row * op.of.heads + head]);
          ds =
              op.scale * p *
              (tile_dot(dout + lane * (D + 1), v + in_tile * (D + 1), D) - op.dots[row * op.of.heads + head]);
        }
        for (int32_t j = 0; j < TILE; j++) {
          const float pj = __shfl_sync(0xffffffffu, p, j), dsj = __shfl_sync(0xffffffffu, ds, j);
#pragma unroll
          for (int c = 0; c < CHUNKS_MOST; c++)
            if (c * WARP + lane < D) {
              dk[r][c] += dsj * q[j * (D + 1) + c * WARP + lane];
              dv[r][c] += pj * dout[j * (D + 1) + c * WARP + lane];
            }
        }
      }
    }
#pragma unroll
  for (int r = 0; r < WARP_ROWS; r++) {
    const int64_t key = first + warp * WARP_ROWS + r;
    if (key >= end) continue;
#pragma unroll
    for (int c = 0; c < CHUNKS_MOST; c++)
      if (c * WARP + lane < D) {
        const int64_t at = key * op.ldkv + (int64_t)kv * D + c * WARP + lane;
        op.dk[at] = store_float<T>(dk[r][c]);
        op.dv[at] = store_float<T>(dv[r][c]);
      }
  }
}

/* ---- Launches ---- */

static status_code_t check_heads(const packed_sequences_t &of) {
  if (of.head_size <= HEAD_MOST && of.count <= 65535) return STATUS_OK;
  return error_set(STATUS_DEVICE,
                   "device 'cuda': attention with heads of %d over %d sequences; the most are %d and 65535",
                   of.head_size, of.count, HEAD_MOST);
}

/* A block for each tile of the longest sequence, of HEADS, of each sequence; TILES of shared memory. */
static launch_t attention_shape(const packed_sequences_t &of, int32_t heads, int32_t tiles) {
  launch_t shape = launch_over(of.longest, TILE, WARPS * WARP);
  shape.grid.y = (unsigned)heads;
  shape.grid.z = (unsigned)of.count;
  shape.shared = (size_t)(tiles * TILE * (of.head_size + 1)) * sizeof(float);
  return shape;
}

template <class T> static attention_t<T> attention_view(const op_attention_t *op) {
  attention_t<T> view = {};
  view.of = sequences_view(op, op->sequences);
  view.q = real<T>(op->q);
  view.k = real<T>(op->k);
  view.v = real<T>(op->v);
  view.ldq = op->ldq;
  view.ldkv = op->ldkv;
  view.ldo = op->ldo;
  view.scale = (float)op->scale;
  view.causal = op->causal;
  view.out = real<T>(op->out);
  view.lse = wide(op->lse);
  return view;
}

static status_code_t attention_cuda(device_t *device, const op_attention_t *op) {
  return with_real(device, [&](auto zero) -> status_code_t {
    using T = decltype(zero);
    const attention_t<T> view = attention_view<T>(op);
    TRY(check_heads(view.of));
    return launch(device, "attention", attention_shape(view.of, view.of.heads, 3), attention_kernel<T>, view);
  });
}

static status_code_t attention_backward_cuda(device_t *device, const op_attention_backward_t *op) {
  return with_real(device, [&](auto zero) -> status_code_t {
    using T = decltype(zero);
    attention_t<T> view = attention_view<T>(&op->forward);
    const int64_t rows = positions_of(&op->forward, op->forward.sequences), items = rows * view.of.heads;
    void *dots = nullptr;
    TRY(check_heads(view.of));
    TRY(cuda_scratch(device, (size_t)items * sizeof(float), &dots));
    view.dots = static_cast<float *>(dots);
    view.dout = real<T>(op->dout);
    view.dq = real<T>(op->dq);
    view.dk = real<T>(op->dk);
    view.dv = real<T>(op->dv);
    TRY(launch(device, "attention_backward dots", launch_over(items, WARPS, WARPS * WARP),
               attention_dots_kernel<T>, view, rows));
    TRY(launch(device, "attention_backward dq", attention_shape(view.of, view.of.heads, 4),
               attention_dq_kernel<T>, view));
    return launch(device, "attention_backward dkv", attention_shape(view.of, view.of.kv_heads, 4),
                  attention_dkv_kernel<T>, view);
  });
}

void cuda_fill_attention(ops_t *ops) {
  ops->attention = attention_cuda;
  ops->attention_backward = attention_backward_cuda;
}
