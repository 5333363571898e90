/* Rotary embedding with the write to the cache, and copies of the cache's pages: bound by memory. Bytes, b
 * those of the compute type: 2b for each element of queries and keys, 2b for each of values that are stored
 * (b more for each key stored); copies 2b. A cache of bf16 beside a compute type of fp32 has b = 2. */
#include "cuda/map.h"

enum { ROTARY_THREADS = 256, PAIRS_MOST = 256 };

struct frequencies_t {
  double of[PAIRS_MOST]; /* angle per position of each pair */
};

/* C: the cache's type. */
template <class T, class C> struct rotary_t {
  int32_t heads, kv_heads, head_size, page_size;
  T *qkv;
  int64_t ld;
  const int32_t *positions, *slots;
  bool inverse, half;
  C *k_cache, *v_cache;
};

/* To bf16, to nearest. */
template <int N> static __device__ __forceinline__ void run_round(float (&v)[N]) {
#pragma unroll
  for (int j = 0; j < N; j++)
    v[j] = load_float(store_float<bf16>(v[j]));
}

/* Where the row of key-value head KV of slot SLOT begins in the cache. */
template <class T, class C>
static __device__ __forceinline__ int64_t cache_place(const rotary_t<T, C> &op, int32_t slot, int32_t kv) {
  const int64_t page = slot / op.page_size, in_page = slot % op.page_size;
  return ((page * op.kv_heads + kv) * op.page_size + in_page) * op.head_size;
}

/* A block for each row: cosines and sines once, from angles that are reduced in double. */
template <class T, class C, int PACK>
static __global__ void __launch_bounds__(ROTARY_THREADS)
    rotary_kernel(const rotary_t<T, C> op, const __grid_constant__ frequencies_t frequency) {
  kernel_begin();
  __shared__ float cosine[PAIRS_MOST], sine[PAIRS_MOST];
  const int64_t row = blockIdx.x;
  const int32_t half = op.head_size / 2, slot = op.k_cache ? op.slots[row] : -1;
  T *qkv = op.qkv + row * op.ld;
  for (int32_t i = threadIdx.x; i < half; i += ROTARY_THREADS) {
    const double turn = 6.283185307179586, angle = (double)op.positions[row] * frequency.of[i];
    float s;
    sincosf((float)(angle - turn * rint(angle / turn)), &s, &cosine[i]);
    sine[i] = op.inverse ? -s : s;
  }
  __syncthreads();
  const int32_t packs = half / PACK, turned = (op.heads + op.kv_heads) * packs;
  for (int32_t item = threadIdx.x; item < turned; item += ROTARY_THREADS) {
    const int32_t head = item / packs, i = item % packs * PACK;
    T *left = qkv + (int64_t)head * op.head_size + i, *right = left + half;
    float a[PACK], b[PACK];
    run_load<PACK>(left, a);
    run_load<PACK>(right, b);
#pragma unroll
    for (int j = 0; j < PACK; j++) {
      const float x = a[j], y = b[j];
      /* Not left to the compiler, which may choose otherwise where a cache takes the other kernel. */
      a[j] = fmaf(x, cosine[i + j], -__fmul_rn(y, sine[i + j]));
      b[j] = fmaf(y, cosine[i + j], __fmul_rn(x, sine[i + j]));
    }
    if (op.half && head >= op.heads) {
      run_round(a);
      run_round(b);
    }
    run_store<PACK>(left, a);
    run_store<PACK>(right, b);
    if (slot < 0 || head < op.heads) continue;
    C *cached = op.k_cache + cache_place(op, slot, head - op.heads) + i;
    run_store<PACK>(cached, a);
    run_store<PACK>(cached + half, b);
  }
  if (slot < 0 && !op.half) return;
  T *values = qkv + (int64_t)(op.heads + op.kv_heads) * op.head_size;
  for (int32_t item = threadIdx.x; item < op.kv_heads * 2 * packs; item += ROTARY_THREADS) {
    const int32_t kv = item / (2 * packs), i = item % (2 * packs) * PACK;
    float v[PACK];
    run_load<PACK>(values + (int64_t)kv * op.head_size + i, v);
    if (op.half) {
      run_round(v);
      run_store<PACK>(values + (int64_t)kv * op.head_size + i, v);
    }
    if (slot >= 0) run_store<PACK>(op.v_cache + cache_place(op, slot, kv) + i, v);
  }
}

template <class T, class C>
static status_code_t rotary(device_t *device, const op_rotary_t *op, const frequencies_t &frequency) {
  constexpr int N = pack_t<T>::N;
  const rotary_t<T, C> work = {op->heads,
                               op->kv_heads,
                               op->head_size,
                               op->page_size,
                               real<T>(op->qkv),
                               op->ld,
                               indices(op->positions),
                               indices(op->slots),
                               op->inverse,
                               op->half,
                               static_cast<C *>(op->k_cache),
                               static_cast<C *>(op->v_cache)};
  const bool packed = op->head_size % (2 * N) == 0 && op->ld % N == 0 && is_packed(op->qkv) &&
                      is_packed(op->k_cache) && is_packed(op->v_cache);
  return launch(device, "rotary", {dim3((unsigned)op->rows), dim3(ROTARY_THREADS), 0},
                packed ? rotary_kernel<T, C, N> : rotary_kernel<T, C, 1>, work, frequency);
}

static status_code_t rotary_cuda(device_t *device, const op_rotary_t *op) {
  frequencies_t frequency;
  if (op->rows <= 0) return STATUS_OK;
  if (op->head_size / 2 > PAIRS_MOST)
    return error_set(STATUS_DEVICE, "device 'cuda': rotary on heads of %d; the largest are of %d",
                     op->head_size, 2 * PAIRS_MOST);
  for (int32_t i = 0; i < op->head_size / 2; i++)
    frequency.of[i] = rope_frequency(op->base, &op->scaling, op->head_size, i);
  if (device->real_type == DTYPE_BF16) return rotary<bf16, bf16>(device, op, frequency);
  return op->half ? rotary<float, bf16>(device, op, frequency) : rotary<float, float>(device, op, frequency);
}

/* ---- Copies of pages ---- */

template <class T> struct cache_copy_t {
  int32_t count;
  int64_t layer_elements, page_elements;
  const int32_t *from, *to;
  T *k_cache, *v_cache;
  /* Row: of caches, layers and pages, the last the innermost. */
  template <int N> __device__ void run(int64_t row, int64_t col) const {
    const int64_t page = row % count, layer = row / count / 2;
    T *cache = (row / count % 2 ? v_cache : k_cache) + layer * layer_elements + col;
    float all[N];
    run_load<N>(cache + from[page] * page_elements, all);
    run_store<N>(cache + to[page] * page_elements, all);
  }
};

static status_code_t cache_copy_cuda(device_t *device, const op_cache_copy_t *op) {
  if (op->count <= 0) return STATUS_OK;
  const auto copy = [&](auto zero) {
    using T = decltype(zero);
    const cache_copy_t<T> f = {op->count,
                               op->layer_elements,
                               op->page_elements,
                               indices(op->from),
                               indices(op->to),
                               static_cast<T *>(op->k_cache),
                               static_cast<T *>(op->v_cache)};
    return map_rows<T>(
        device, "cache_copy", (int64_t)op->count * 2 * op->layers, op->page_elements,
        is_packed(op->k_cache) && is_packed(op->v_cache) && op->layer_elements % pack_t<T>::N == 0, f);
  };
  return op->half ? copy(bf16{}) : with_real(device, copy);
}

void cuda_fill_rotary(ops_t *ops) {
  ops->rotary = rotary_cuda;
  ops->cache_copy = cache_copy_cuda;
}
