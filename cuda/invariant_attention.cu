/* Decode attention over the paged cache with the bits of attention over packed sequences: the same steps over
 * keys, products and rounding as the kernels there, which depend on the sequence alone. A block works on a
 * sequence, a key-value head and its query heads, which are the rows of one tile, and goes over the keys from
 * the first to the last. Bytes: 2 K D (2 or 4) a cached position; 4 D FLOPs a position and query head, of
 * tensor cores 16 times as many a key-value head. */
#include "cuda/attention_rows.h"
#include "cuda/attention_softmax.h"
#include "cuda/invariant.h"

/* T: the compute type; C: the cache's. Of ROWS what kernels without a cache know, too: queries, out, sizes,
 * without tiles and never causal. */
template <class T, class C> struct cached_t {
  attention_t<T> rows;
  int32_t kv_heads, page_size, max_pages, groups; /* groups: blocks of a key-value head */
  const C *k_cache, *v_cache;
  const int32_t *pages, *lengths;
};

/* What a block works on: COUNT query heads from HEAD on of key-value head KV. */
struct cached_block_t {
  int64_t row;
  int32_t kv, head, count, length;
};

template <int ROWS_MOST, class T, class C>
static __device__ __forceinline__ cached_block_t cached_block(const cached_t<T, C> &op) {
  cached_block_t work;
  const int32_t in_row = (int32_t)(blockIdx.x % (unsigned)(op.kv_heads * op.groups)),
                in_group = in_row % op.groups * ROWS_MOST;
  work.row = blockIdx.x / (unsigned)(op.kv_heads * op.groups);
  work.kv = in_row / op.groups;
  work.head = work.kv * op.rows.group + in_group;
  work.count = smaller(op.rows.group - in_group, ROWS_MOST);
  work.length = op.lengths[work.row];
  return work;
}

/* Where the head of position POSITION lies in the cache. */
template <class T, class C>
static __device__ __forceinline__ int64_t cached_place(const cached_t<T, C> &op, const cached_block_t &work,
                                                       int32_t position) {
  const int32_t number = position / op.page_size;
  const int64_t page = op.pages[work.row * op.max_pages + number];
  return ((page * op.kv_heads + work.kv) * op.page_size + (position - number * op.page_size)) *
         op.rows.head_size;
}

/* A row of padding has no keys. */
template <class T, class C>
static __device__ __forceinline__ void cached_clear(const cached_t<T, C> &op, const cached_block_t &work) {
  T *out = op.rows.out + work.row * op.rows.ldo + (int64_t)work.head * op.rows.head_size;
  for (int32_t d = threadIdx.x; d < work.count * op.rows.head_size; d += (int32_t)blockDim.x)
    out[d] = store_float<T>(0.0f);
}

/* ---- On tensor cores, in bf16 ---- */

/* Keys KEY .. and their values, FORWARD_KEYS of each; zeros beyond the sequence. */
template <int D>
static __device__ __forceinline__ void
cached_load(bf16 *k, bf16 *v, int32_t key, const cached_t<bf16, bf16> &op, const cached_block_t &work) {
#pragma unroll 2
  for (int32_t i = threadIdx.x; i < FORWARD_KEYS * D / CHUNK; i += TILE_THREADS) {
    const int32_t row = i / (D / CHUNK), col = i % (D / CHUNK) * CHUNK;
    const bool is_there = key + row < work.length && col < op.rows.head_size;
    const int64_t place = is_there ? cached_place(op, work, key + row) + col : 0;
    const int32_t to = row * tile_ld<D> + col;
    if (op.rows.packed) {
      copy_begin(k + to, op.k_cache + place, is_there);
      copy_begin(v + to, op.v_cache + place, is_there);
    } else {
      for (int32_t j = 0; j < CHUNK; j++) {
        const bool has = is_there && col + j < op.rows.head_size;
        k[to + j] = has ? op.k_cache[place + j] : store_float<bf16>(0.0f);
        v[to + j] = has ? op.v_cache[place + j] : store_float<bf16>(0.0f);
      }
    }
  }
}

/* All four warps make the scores, each then the sums over values of its own columns; the next keys and values
 * are fetched meanwhile. */
template <int D>
static __global__ void __launch_bounds__(TILE_THREADS)
    cached_tile_kernel(const __grid_constant__ cached_t<bf16, bf16> op) {
  kernel_begin();
  constexpr int KEYS = FORWARD_KEYS, LD = tile_ld<D>, COLUMNS = D / TILE_WARPS;
  DYNAMIC_SHARED(bf16, q);
  bf16 *keys = q + FRAGMENT * LD, *values = keys + 2 * KEYS * LD; /* two of each */
  const cached_block_t work = cached_block<FRAGMENT>(op);
  if (work.length == 0) {
    cached_clear(op, work);
    return;
  }
  const int64_t column = (int64_t)work.head * op.rows.head_size;
  const int32_t lane = lane_id(), mine = (int32_t)threadIdx.x / WARP * COLUMNS;
  float out[1][COLUMNS / 8][4] = {}, s[1][KEYS / 8][4];
  softmax_t<1> state;
  state.clear();
  tile_load<FRAGMENT, D>(q, op.rows.q + work.row * op.rows.ldq + column, op.rows.head_size, 0, work.count,
                         op.rows);
  cached_load<D>(keys, values, 0, op, work);
  for (int32_t key = 0; key < work.length; key += KEYS) {
    const int32_t now = key / KEYS % 2 * KEYS * LD, next = KEYS * LD - now;
    copy_end();
    __syncthreads(); /* these are there, and those before are used */
    if (key + KEYS < work.length) cached_load<D>(keys + next, values + next, key + KEYS, op, work);
    multiply_rows<1, KEYS / 8, D>(s, q, keys + now);
    softmax_step(s, out, state, 0, key, work.length, op.rows);
    multiply_scores<1, KEYS / 8, D>(out, s, values + now + mine);
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int32_t head = result_row(lane, 2 * half);
    const float factor = 1.0f / state.total(0, half);
    bf16 *to = op.rows.out + work.row * op.rows.ldo + column + head * op.rows.head_size;
#pragma unroll
    for (int d = 0; d < COLUMNS / 8; d++)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; i++) {
        const int32_t col = mine + d * 8 + result_col(lane, i);
        if (head < work.count && col < op.rows.head_size) to[col] = store_float<bf16>(out[0][d][i] * factor);
      }
  }
}

/* ---- Without tensor cores ---- */

/* Heads of positions FIRST .. of a cache; zeros beyond the sequence. */
template <int D, class T, class C>
static __device__ __forceinline__ void cached_rows_load(float *to, const C *cache, int32_t first,
                                                        const cached_t<T, C> &op,
                                                        const cached_block_t &work) {
  for (int32_t i = threadIdx.x; i < ROWS * D; i += ANY_THREADS) {
    const int32_t row = i / D, col = i % D;
    float value = 0.0f;
    if (first + row < work.length && col < op.rows.head_size)
      value = load_float(cache[cached_place(op, work, first + row) + col]);
    to[row * ld_of<D> + col] = value;
  }
}

template <class T, class C, int D>
static __global__ void __launch_bounds__(ANY_THREADS)
    cached_rows_kernel(const __grid_constant__ cached_t<T, C> op) {
  kernel_begin();
  DYNAMIC_SHARED(float, q);
  float *k = q + tile_floats<D>, *v = k + tile_floats<D>, *passed = v + tile_floats<D>;
  const cached_block_t work = cached_block<ROWS>(op);
  if (work.length == 0) {
    cached_clear(op, work);
    return;
  }
  const int64_t column = (int64_t)work.head * op.rows.head_size;
  row_softmax_t state = {{-INFINITY, -INFINITY}, {}};
  sums_t<D> out;
  out.clear();
  rows_load<D>(q, op.rows.q + work.row * op.rows.ldq + column, op.rows.head_size, 0, work.count, op.rows);
  for (int32_t key = 0; key < work.length; key += ROWS) {
    float s[2][2];
    cached_rows_load<D>(k, op.k_cache, key, op, work);
    cached_rows_load<D>(v, op.v_cache, key, op, work);
    __syncthreads();
    scores<D>(s, q, k);
#pragma unroll
    for (int i = 0; i < 2; i++)
      softmax_row<D>(s, state, out, i, key, work.length, op.rows.scale);
    out.add(s, passed, v);
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int32_t head = score_row(i);
    const float total = row_sum(state.sum[i]);
    T *to = op.rows.out + work.row * op.rows.ldo + column + (int64_t)head * op.rows.head_size;
    if (head < work.count) out.store(i, 1.0f / total, to, op.rows.head_size);
  }
}

/* ---- Launches ---- */

template <class T, class C>
static cached_t<T, C> cached_operands(const op_attention_paged_t *op, int32_t rows_most) {
  constexpr int N = pack_t<T>::N;
  cached_t<T, C> work = {};
  work.rows.heads = op->heads;
  work.rows.group = op->heads / op->kv_heads;
  work.rows.head_size = op->head_size;
  work.rows.scale = (float)op->scale;
  work.rows.packed = op->head_size % N == 0 && op->ldq % N == 0 && is_packed(op->q) &&
                     is_packed(op->k_cache) && is_packed(op->v_cache);
  work.rows.q = real<T>(op->q);
  work.rows.ldq = op->ldq;
  work.rows.out = real<T>(op->out);
  work.rows.ldo = op->ldo;
  work.kv_heads = op->kv_heads;
  work.page_size = op->page_size;
  work.max_pages = op->max_pages;
  work.groups = (work.rows.group + rows_most - 1) / rows_most;
  work.k_cache = static_cast<const C *>(op->k_cache);
  work.v_cache = static_cast<const C *>(op->v_cache);
  work.pages = indices(op->pages);
  work.lengths = indices(op->lengths);
  return work;
}

static unsigned cached_blocks(const op_attention_paged_t *op, int32_t groups) {
  return (unsigned)(op->rows * op->kv_heads * groups);
}

static status_code_t cached_tiles(device_t *device, const op_attention_paged_t *op) {
  const cached_t<bf16, bf16> work = cached_operands<bf16, bf16>(op, FRAGMENT);
  return with_tile_size(op->head_size, [&](auto size) {
    constexpr int D = decltype(size)::value;
    const size_t shared = (FRAGMENT + 4 * FORWARD_KEYS) * tile_ld<D> * sizeof(bf16);
    return launch(device, "attention_paged, batch-invariant",
                  {dim3(cached_blocks(op, work.groups)), dim3(TILE_THREADS), shared}, cached_tile_kernel<D>,
                  work);
  });
}

template <class T, class C>
static status_code_t cached_rows(device_t *device, const op_attention_paged_t *op) {
  const cached_t<T, C> work = cached_operands<T, C>(op, ROWS);
  return with_head_size<T>(op->head_size, [&](auto size) {
    constexpr int D = decltype(size)::value;
    const size_t shared = (3 * tile_floats<D> + SCORES) * sizeof(float);
    return launch(device, "attention_paged, batch-invariant",
                  {dim3(cached_blocks(op, work.groups)), dim3(ANY_THREADS), shared},
                  cached_rows_kernel<T, C, D>, work);
  });
}

static status_code_t attention_paged_invariant(device_t *device, const op_attention_paged_t *op) {
  const bool is_bf16 = device->real_type == DTYPE_BF16;
  if (op->rows <= 0) return STATUS_OK;
  if (op->head_size > ATTENTION_HEAD_MOST)
    return error_set(STATUS_DEVICE, "device 'cuda': paged attention on heads of %d; the largest are of %d",
                     op->head_size, ATTENTION_HEAD_MOST);
  if (attention_shape(op->head_size, is_bf16).tensor_cores) return cached_tiles(device, op);
  if (is_bf16) return cached_rows<bf16, bf16>(device, op);
  return op->half ? cached_rows<float, bf16>(device, op) : cached_rows<float, float>(device, op);
}

void cuda_fill_invariant_attention(ops_t *ops) {
  ops->attention_paged = attention_paged_invariant;
}
