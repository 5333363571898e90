/* Attention of single queries to the paged cache: bound by memory, every key and value read once for all
 * query heads of its group. A block works on a part of fixed size of a sequence, a key-value head and up to
 * eight of its query heads, with all of its loads in flight at once; the parts' results go to scratch, and
 * the last block of a sequence and head puts them together in their order, so that the bits depend on the
 * sequence alone. */
#include "cuda/last_block.h"
#include "cuda/map.h"

extern "C" {
#include "cuda/attention_plan.h"
}

#include <type_traits>

enum { PAGED_THREADS = 128, PAGED_WARPS = PAGED_THREADS / WARP, EACH = 8 /* elements of a lane */ };

/* T: the compute type; C: the cache's. */
template <class T, class C> struct paged_t {
  int32_t heads, kv_heads, head_size, page_size, max_pages, splits;
  float scale;
  const T *q;
  int64_t ldq;
  const C *k_cache, *v_cache;
  const int32_t *pages, *lengths;
  float *parts;   /* (rows, heads, splits, head_size): sums over values, relative to ... */
  float2 *bounds; /* (rows, heads, splits): ... the maximum of the scores, and the sum of exponentials */
  T *out;
  int64_t ldo;
  int64_t first; /* row of this launch */
};

/* What a lane loads of a head, as it lies. */
template <class E> struct alignas(16) run_t { E v[EACH]; };

/* Elements COL .. of a head that begins at FROM; zeros beyond COUNT. */
template <bool PACKED, class E>
static __device__ __forceinline__ run_t<E> head_load(const E *from, int32_t col, int32_t count) {
  run_t<E> run = {};
  if constexpr (PACKED) {
    constexpr int N = pack_t<E>::N;
    if (col < count) {
#pragma unroll
      for (int j = 0; j < EACH; j += N)
        *reinterpret_cast<uint4 *>(run.v + j) = *reinterpret_cast<const uint4 *>(from + col + j);
    }
  } else {
#pragma unroll
    for (int j = 0; j < EACH; j++)
      if (col + j < count) run.v[j] = from[col + j];
  }
  return run;
}

/* Where each position of the part lies in the cache; pages behind the sequence's end are not used. */
template <class T, class C>
static __device__ __forceinline__ int64_t place_of(const paged_t<T, C> &op, int64_t row, int32_t kv,
                                                   int32_t position) {
  const int32_t number = position / op.page_size, in_page = position - number * op.page_size;
  const int64_t page = op.pages[row * op.max_pages + (number < op.max_pages ? number : 0)];
  return ((page * op.kv_heads + kv) * op.page_size + in_page) * op.head_size;
}

/* Sums over LANES lanes of each of COUNT = LANES / 2 values, which halve as they are exchanged: that of
 * value lane % COUNT. */
template <int LANES>
static __device__ __forceinline__ float sums_scattered(float (&value)[LANES / 2], int32_t lane) {
  const unsigned all = 0xffffffffu;
#pragma unroll
  for (int i = 0; i < LANES / 2; i++)
    value[i] += __shfl_xor_sync(all, value[i], LANES / 2);
#pragma unroll
  for (int half = LANES / 4; half > 0; half /= 2)
#pragma unroll
    for (int i = 0; i < half; i++) {
      const bool upper = lane & half;
      const float sent = upper ? value[i] : value[i + half], kept = upper ? value[i + half] : value[i];
      value[i] = kept + __shfl_xor_sync(all, sent, half);
    }
  return value[0];
}

/* The parts of COUNT heads from ITEM on, to OUT. */
template <class T, class C, int GROUP>
static __device__ __forceinline__ void combine(const paged_t<T, C> &op, int64_t item, int32_t count,
                                               int32_t splits, T *out,
                                               float (&weights)[GROUP][SPLIT_POSITIONS]) {
  __shared__ float maxima[GROUP], totals[GROUP];
  const int32_t thread = threadIdx.x, warp = thread / WARP, lane = thread % WARP;
  for (int g = warp; g < count; g += PAGED_WARPS) {
    const float2 *bounds = op.bounds + (item + g) * op.splits;
    float max = -INFINITY, sum = 0.0f;
    for (int32_t s = lane; s < splits; s += WARP)
      max = fmaxf(max, load_fresh(&bounds[s]).x);
    max = warp_max(max);
    for (int32_t s = lane; s < splits; s += WARP) {
      const float2 bound = load_fresh(&bounds[s]);
      sum += bound.y * expf(bound.x - max);
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      maxima[g] = max;
      totals[g] = sum;
    }
  }
  __syncthreads();
  /* Each thread has sums of its own: heads of up to 256 elements, two for each thread. */
  constexpr int SUMS = ATTENTION_HEAD_MOST / PAGED_THREADS;
  float sum[GROUP][SUMS] = {};
  for (int32_t begin = 0; begin < splits; begin += SPLIT_POSITIONS) {
    const int32_t now = splits - begin < SPLIT_POSITIONS ? splits - begin : SPLIT_POSITIONS;
    for (int32_t i = thread; i < count * now; i += PAGED_THREADS)
      weights[i / now][i % now] =
          expf(load_fresh(&op.bounds[(item + i / now) * op.splits + begin + i % now]).x - maxima[i / now]);
    __syncthreads();
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
      const float *parts = op.parts + ((item + g) * op.splits + begin) * op.head_size;
#pragma unroll
      for (int k = 0; k < SUMS; k++) {
        const int32_t d = thread + k * PAGED_THREADS;
        if (g >= count || d >= op.head_size) continue;
#pragma unroll 8
        for (int32_t s = 0; s < now; s++)
          sum[g][k] = fmaf(load_fresh(parts + s * op.head_size + d), weights[g][s], sum[g][k]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int g = 0; g < GROUP; g++)
#pragma unroll
    for (int k = 0; k < SUMS; k++) {
      const int32_t d = thread + k * PAGED_THREADS;
      if (g < count && d < op.head_size) out[g * op.head_size + d] = store_float<T>(sum[g][k] / totals[g]);
    }
}

/* LANES lanes share a head of up to 8 LANES elements; blockIdx: part, key-value head and group of GROUP query
 * heads, row. */
template <class T, class C, int LANES, int GROUP, bool PACKED>
static __global__ void __launch_bounds__(PAGED_THREADS)
    paged_kernel(const __grid_constant__ paged_t<T, C> op) {
  kernel_begin();
  enum { TEAMS = PAGED_THREADS / LANES, WARP_TEAMS = WARP / LANES, COLS = LANES * EACH };
  enum { STEPS = SPLIT_POSITIONS / TEAMS }; /* positions of a team: p = team + i TEAMS */
  static_assert(STEPS == LANES / 2, "as many as sums_scattered takes");
  __shared__ float scores[GROUP][SPLIT_POSITIONS];
  __shared__ float sums[PAGED_WARPS][GROUP][COLS];
  __shared__ int64_t places[SPLIT_POSITIONS];
  const int32_t split = blockIdx.x, group = op.heads / op.kv_heads, groups = (group + GROUP - 1) / GROUP,
                kv = blockIdx.y / groups, in_group = blockIdx.y % groups * GROUP,
                head = kv * group + in_group, count = group - in_group < GROUP ? group - in_group : GROUP;
  const int64_t row = op.first + blockIdx.z, item = row * op.heads + head;
  const int32_t thread = threadIdx.x, lane = thread % LANES, team = thread / LANES, col = lane * EACH,
                warp = thread / WARP, first = split * SPLIT_POSITIONS;
  T *out_row = op.out + row * op.ldo + (int64_t)head * op.head_size;
  const int32_t length = op.lengths[row];
  if (thread < SPLIT_POSITIONS) places[thread] = place_of(op, row, kv, first + thread);
  run_t<T> query[GROUP];
#pragma unroll
  for (int g = 0; g < GROUP; g++)
    query[g] = head_load<PACKED>(op.q + row * op.ldq + (int64_t)(head + g) * op.head_size, col,
                                 g < count ? op.head_size : 0);
  if (length == 0 && split == 0) /* a row of padding */
    for (int32_t d = thread; d < count * op.head_size; d += PAGED_THREADS)
      out_row[d] = store_float<T>(0.0f);
  if (first >= length) return;
  const int32_t positions = length - first < SPLIT_POSITIONS ? length - first : SPLIT_POSITIONS;
  __syncthreads();

  run_t<C> k[STEPS], v[STEPS];
#pragma unroll
  for (int i = 0; i < STEPS; i++) {
    const int32_t p = team + i * TEAMS;
    k[i] = head_load<PACKED>(op.k_cache + places[p], col, p < positions ? op.head_size : 0);
  }
#pragma unroll
  for (int i = 0; i < STEPS; i++) {
    const int32_t p = team + i * TEAMS;
    v[i] = head_load<PACKED>(op.v_cache + places[p], col, p < positions ? op.head_size : 0);
  }
#pragma unroll
  for (int g = 0; g < GROUP; g++) {
    float dots[STEPS];
#pragma unroll
    for (int i = 0; i < STEPS; i++) {
      dots[i] = 0.0f;
#pragma unroll
      for (int j = 0; j < EACH; j++)
        dots[i] = fmaf(load_float(query[g].v[j]), load_float(k[i].v[j]), dots[i]);
    }
    const float dot = sums_scattered<LANES>(dots, lane);
    if (lane < STEPS) scores[g][team + lane * TEAMS] = dot * op.scale;
  }
  __syncthreads();

  for (int g = warp; g < count; g += PAGED_WARPS) {
    float max = -INFINITY, sum = 0.0f;
    for (int32_t p = thread % WARP; p < positions; p += WARP)
      max = fmaxf(max, scores[g][p]);
    max = warp_max(max);
    for (int32_t p = thread % WARP; p < SPLIT_POSITIONS; p += WARP) {
      const float power = p < positions ? expf(scores[g][p] - max) : 0.0f;
      scores[g][p] = power;
      sum += power;
    }
    sum = warp_sum(sum);
    if (thread % WARP == 0) op.bounds[(item + g) * op.splits + split] = make_float2(max, sum);
  }
  __syncthreads();

  /* Over the positions of a team, the teams of a warp, the warps. */
#pragma unroll
  for (int g = 0; g < GROUP; g++) {
    float out[EACH] = {};
#pragma unroll
    for (int i = 0; i < STEPS; i++) {
      const float power = g < count ? scores[g][team + i * TEAMS] : 0.0f;
#pragma unroll
      for (int j = 0; j < EACH; j++)
        out[j] = fmaf(power, load_float(v[i].v[j]), out[j]);
    }
#pragma unroll
    for (int j = 0; j < EACH; j++) {
#pragma unroll
      for (int step = LANES; step < WARP; step *= 2)
        out[j] += __shfl_xor_sync(0xffffffffu, out[j], step);
      if (team % WARP_TEAMS == 0) sums[warp][g][col + j] = out[j];
    }
  }
  __syncthreads();
  for (int32_t i = thread; i < count * COLS; i += PAGED_THREADS) {
    const int32_t g = i / COLS, d = i % COLS;
    float sum = 0.0f;
    if (d >= op.head_size) continue;
#pragma unroll
    for (int w = 0; w < PAGED_WARPS; w++)
      sum += sums[w][g][d];
    op.parts[((item + g) * op.splits + split) * op.head_size + d] = sum;
  }
  const int32_t splits = split_count(length);
  if (block_is_last((int64_t)blockIdx.z * gridDim.y + blockIdx.y, (unsigned)splits))
    combine<T, C, GROUP>(op, item, count, splits, out_row, scores);
}

/* ---- Launches ---- */

/* CALL with the least of the sizes there are kernels for that N is not above, a constant. */
template <int... SIZES, class F> static inline status_code_t with_size(int32_t n, F &&call) {
  status_code_t status = STATUS_OK;
  (void)((n <= SIZES && ((status = call(std::integral_constant<int, SIZES>())), true)) || ...);
  return status;
}

template <class T, class C, int LANES, int GROUP, bool PACKED>
static status_code_t paged_launch(device_t *device, int64_t rows, paged_t<T, C> op) {
  const int32_t group = op.heads / op.kv_heads, groups = op.kv_heads * ((group + GROUP - 1) / GROUP);
  const int64_t rows_most = shared_results_of(MAP_ROWS_MOST) / groups;
  for (op.first = 0; op.first < rows; op.first += rows_most) {
    const int64_t now = rows - op.first < rows_most ? rows - op.first : rows_most;
    TRY(launch(device, "attention_paged",
               {dim3((unsigned)op.splits, (unsigned)groups, (unsigned)now), dim3(PAGED_THREADS), 0},
               paged_kernel<T, C, LANES, GROUP, PACKED>, op));
  }
  return STATUS_OK;
}

/* PACKED: heads of queries and of the cache can be accessed by 16 bytes. */
template <class T, class C>
static status_code_t paged_choose(device_t *device, int64_t rows, bool packed, const paged_t<T, C> &op) {
  const int32_t group = op.heads / op.kv_heads;
  return with_size<8, 16, 32>((op.head_size + EACH - 1) / EACH, [&](auto lanes) {
    constexpr int LANES = decltype(lanes)::value;
    if (!packed) return paged_launch<T, C, LANES, 1, false>(device, rows, op);
    return with_size<1, 4, SPLIT_GROUP_MOST>(
        group < SPLIT_GROUP_MOST ? group : SPLIT_GROUP_MOST, [&](auto heads) {
          return paged_launch<T, C, LANES, decltype(heads)::value, true>(device, rows, op);
        });
  });
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
                              op->ldo,
                              0};
  const bool packed = op->head_size % EACH == 0 && op->ldq % pack_t<T>::N == 0 && is_packed(op->q) &&
                      is_packed(op->k_cache) && is_packed(op->v_cache);
  return paged_choose(device, op->rows, packed, work);
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
