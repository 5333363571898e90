/* Attention of single queries to the paged cache: bound by memory, every key and value read once for all
 * query heads of its group. A block works on a part of fixed size of a sequence, a key-value head and up to
 * eight of its query heads; the parts' results go to scratch and are put together in their order, so that the
 * bits depend on the sequence alone. */
#include "cuda/map.h"

extern "C" {
#include "cuda/attention_plan.h"
}

#include <type_traits>

enum { PAGED_THREADS = 128, PAGED_WARPS = PAGED_THREADS / WARP, EACH = 8 /* elements of a lane */ };

/* T: the compute type; C: the cache's. */
template <class T, class C> struct paged_t {
  int32_t heads, kv_heads, head_size, page_size, max_pages, splits;
  bool packed; /* heads of queries and of the cache can be accessed by 16 bytes */
  float scale;
  const T *q;
  int64_t ldq;
  const C *k_cache, *v_cache;
  const int32_t *pages, *lengths;
  float *parts;   /* (rows, heads, splits, head_size): sums over values, relative to ... */
  float2 *bounds; /* (rows, heads, splits): ... the maximum of the scores, and the sum of exponentials */
  T *out;
  int64_t ldo;
};

/* Elements COL .. of a head that begins at FROM; zeros beyond COUNT. */
template <class E>
static __device__ __forceinline__ void head_load(const E *from, int32_t col, int32_t count, bool packed,
                                                 float (&to)[EACH]) {
  if (packed && col < count) {
    run_load<EACH>(from + col, to);
  } else {
#pragma unroll
    for (int j = 0; j < EACH; j++)
      to[j] = col + j < count ? load_float(from[col + j]) : 0.0f;
  }
}

/* LANES lanes share a head of up to 8 LANES elements; blockIdx: part, key-value head and group of GROUP query
 * heads, row. */
template <class T, class C, int LANES, int GROUP>
static __global__ void __launch_bounds__(PAGED_THREADS) paged_kernel(const paged_t<T, C> op) {
  kernel_begin();
  enum { TEAMS = PAGED_THREADS / LANES, WARP_TEAMS = WARP / LANES, COLS = LANES * EACH };
  __shared__ float scores[GROUP][SPLIT_POSITIONS];
  __shared__ float sums[PAGED_WARPS][GROUP][COLS];
  __shared__ int64_t places[SPLIT_POSITIONS];
  const int32_t row = blockIdx.z, length = op.lengths[row], split = blockIdx.x,
                first = split * SPLIT_POSITIONS, group = op.heads / op.kv_heads,
                groups = (group + GROUP - 1) / GROUP, kv = blockIdx.y / groups,
                in_group = blockIdx.y % groups * GROUP, head = kv * group + in_group,
                count = group - in_group < GROUP ? group - in_group : GROUP;
  const int32_t thread = threadIdx.x, lane = thread % LANES, team = thread / LANES, col = lane * EACH,
                warp = thread / WARP;
  if (first >= length) return;
  const int32_t positions = length - first < SPLIT_POSITIONS ? length - first : SPLIT_POSITIONS;
  for (int32_t p = thread; p < positions; p += PAGED_THREADS) {
    const int32_t at = first + p;
    const int64_t page = op.pages[(int64_t)row * op.max_pages + at / op.page_size];
    places[p] = ((page * op.kv_heads + kv) * op.page_size + at % op.page_size) * op.head_size;
  }
  float q[GROUP][EACH];
#pragma unroll
  for (int g = 0; g < GROUP; g++) {
#pragma unroll
    for (int j = 0; j < EACH; j++)
      q[g][j] = 0.0f;
    if (g < count)
      head_load(op.q + row * op.ldq + (int64_t)(head + g) * op.head_size, col, op.head_size, op.packed, q[g]);
  }
  __syncthreads();

  /* All lanes of a warp go around equally often, since they exchange. */
#pragma unroll 4
  for (int32_t p = team; p - team < positions; p += TEAMS) {
    float k[EACH] = {};
    if (p < positions) head_load(op.k_cache + places[p], col, op.head_size, op.packed, k);
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
      float dot = 0.0f;
#pragma unroll
      for (int j = 0; j < EACH; j++)
        dot = fmaf(q[g][j], k[j], dot);
#pragma unroll
      for (int step = LANES / 2; step > 0; step /= 2)
        dot += __shfl_xor_sync(0xffffffffu, dot, step);
      if (lane == 0 && p < positions) scores[g][p] = dot * op.scale;
    }
  }
  __syncthreads();

  for (int g = warp; g < count; g += PAGED_WARPS) {
    float max = -INFINITY, sum = 0.0f;
    for (int32_t p = thread % WARP; p < positions; p += WARP)
      max = fmaxf(max, scores[g][p]);
    max = warp_max(max);
    for (int32_t p = thread % WARP; p < positions; p += WARP) {
      const float power = expf(scores[g][p] - max);
      scores[g][p] = power;
      sum += power;
    }
    sum = warp_sum(sum);
    if (thread % WARP == 0)
      op.bounds[((int64_t)row * op.heads + head + g) * op.splits + split] = make_float2(max, sum);
  }
  __syncthreads();

  float out[GROUP][EACH] = {};
#pragma unroll 4
  for (int32_t p = team; p < positions; p += TEAMS) {
    float v[EACH];
    head_load(op.v_cache + places[p], col, op.head_size, op.packed, v);
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
      const float power = g < count ? scores[g][p] : 0.0f;
#pragma unroll
      for (int j = 0; j < EACH; j++)
        out[g][j] = fmaf(power, v[j], out[g][j]);
    }
  }
  /* Over the teams of a warp, then over the warps. */
#pragma unroll
  for (int g = 0; g < GROUP; g++)
#pragma unroll
    for (int j = 0; j < EACH; j++) {
#pragma unroll
      for (int step = LANES; step < WARP; step *= 2)
        out[g][j] += __shfl_xor_sync(0xffffffffu, out[g][j], step);
      if (team % WARP_TEAMS == 0) sums[warp][g][col + j] = out[g][j];
    }
  __syncthreads();
  for (int32_t i = thread; i < count * COLS; i += PAGED_THREADS) {
    const int32_t g = i / COLS, d = i % COLS;
    float sum = 0.0f;
    if (d >= op.head_size) continue;
#pragma unroll
    for (int w = 0; w < PAGED_WARPS; w++)
      sum += sums[w][g][d];
    op.parts[(((int64_t)row * op.heads + head + g) * op.splits + split) * op.head_size + d] = sum;
  }
}

/* A block for each row and head. */
template <class T, class C>
static __global__ void __launch_bounds__(PAGED_THREADS) paged_combine_kernel(const paged_t<T, C> op) {
  kernel_begin();
  const int64_t row = blockIdx.y, item = row * op.heads + blockIdx.x;
  const int32_t splits = split_count(op.lengths[row]);
  const float2 *bounds = op.bounds + item * op.splits;
  const float *parts = op.parts + item * op.splits * op.head_size;
  float max = -INFINITY, sum = 0.0f;
  for (int32_t s = 0; s < splits; s++)
    max = fmaxf(max, bounds[s].x);
  for (int32_t s = 0; s < splits; s++)
    sum += bounds[s].y * expf(bounds[s].x - max);
  for (int32_t d = threadIdx.x; d < op.head_size; d += PAGED_THREADS) {
    float value = 0.0f;
    for (int32_t s = 0; s < splits; s++)
      value += parts[(int64_t)s * op.head_size + d] * expf(bounds[s].x - max);
    op.out[row * op.ldo + (int64_t)blockIdx.x * op.head_size + d] =
        store_float<T>(splits > 0 ? value / sum : 0.0f); /* a row of padding */
  }
}

/* ---- Launches ---- */

/* CALL with the least of the sizes there are kernels for that N is not above, a constant. */
template <int... SIZES, class F> static inline status_code_t with_size(int32_t n, F &&call) {
  status_code_t status = STATUS_OK;
  (void)((n <= SIZES && ((status = call(std::integral_constant<int, SIZES>())), true)) || ...);
  return status;
}

template <class T, class C>
static status_code_t paged_launch(device_t *device, int64_t rows, const paged_t<T, C> &op) {
  const int32_t group = op.heads / op.kv_heads;
  status_code_t status = with_size<8, 16, 32>((op.head_size + EACH - 1) / EACH, [&](auto lanes) {
    return with_size<1, 4, SPLIT_GROUP_MOST>(
        group < SPLIT_GROUP_MOST ? group : SPLIT_GROUP_MOST, [&](auto heads) {
          constexpr int GROUP = decltype(heads)::value;
          const dim3 grid((unsigned)op.splits, (unsigned)(op.kv_heads * ((group + GROUP - 1) / GROUP)),
                          (unsigned)rows);
          return launch(device, "attention_paged", {grid, dim3(PAGED_THREADS), 0},
                        paged_kernel<T, C, decltype(lanes)::value, GROUP>, op);
        });
  });
  TRY(status);
  return launch(device, "attention_paged combine",
                {dim3((unsigned)op.heads, (unsigned)rows), dim3(PAGED_THREADS), 0},
                paged_combine_kernel<T, C>, op);
}

template <class T, class C>
static status_code_t attention_paged(device_t *device, const op_attention_paged_t *op) {
  const int32_t splits = split_count((int64_t)op->max_pages * op->page_size);
  const size_t items = (size_t)op->rows * (size_t)op->heads * (size_t)splits;
  void *scratch = nullptr;
  TRY(cuda_scratch(device, items * (sizeof(float2) + (size_t)op->head_size * sizeof(float)), &scratch));
  float2 *bounds = static_cast<float2 *>(scratch);
  const paged_t<T, C> work = {op->heads,
                              op->kv_heads,
                              op->head_size,
                              op->page_size,
                              op->max_pages,
                              splits,
                              op->head_size % EACH == 0 && op->ldq % pack_t<T>::N == 0 && is_packed(op->q) &&
                                  is_packed(op->k_cache) && is_packed(op->v_cache),
                              (float)op->scale,
                              real<T>(op->q),
                              op->ldq,
                              static_cast<const C *>(op->k_cache),
                              static_cast<const C *>(op->v_cache),
                              indices(op->pages),
                              indices(op->lengths),
                              reinterpret_cast<float *>(bounds + items),
                              bounds,
                              real<T>(op->out),
                              op->ldo};
  return paged_launch(device, op->rows, work);
}

static status_code_t attention_paged_cuda(device_t *device, const op_attention_paged_t *op) {
  if (op->rows <= 0) return STATUS_OK;
  if (op->head_size > ATTENTION_HEAD_MOST)
    return error_set(STATUS_DEVICE, "device 'cuda': paged attention on heads of %d; the largest are of %d",
                     op->head_size, ATTENTION_HEAD_MOST);
  if (device->real_type == DTYPE_BF16) return attention_paged<bf16, bf16>(device, op);
  return op->half ? attention_paged<float, bf16>(device, op) : attention_paged<float, float>(device, op);
}

void cuda_fill_attention_paged(ops_t *ops) {
  ops->attention_paged = attention_paged_cuda;
}
