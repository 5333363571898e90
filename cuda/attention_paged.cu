/* Decode attention over the paged cache: bound by memory, 2 D b bytes for each cached position of a key-value
 * head (b bytes of the cache's type), for each query head that reads it. A block works on a row and a head; a
 * warp takes every eighth run of keys, and the warps' parts are added in their order, so that the bits of a
 * row depend on its length alone. */
#include "cuda/attention.h"

enum { PAGED_WARPS = 8, PAGED_RUN = 4, PAGED_CHUNKS = 8, PAGED_HEAD_MOST = 32 * PAGED_CHUNKS };

template <class T, class C> struct paged_t {
  int32_t heads, kv_heads, head_size, page_size, max_pages;
  const T *q;
  int64_t ldq, ldo;
  const C *k_cache, *v_cache;
  const int32_t *pages, *lengths;
  float scale;
  T *out;
};

template <class T, class C>
static __global__ void __launch_bounds__(PAGED_WARPS *WARP) attention_paged_kernel(const paged_t<T, C> op) {
  __shared__ float part_sums[PAGED_WARPS][PAGED_HEAD_MOST], part_max[PAGED_WARPS], part_sum[PAGED_WARPS];
  const int32_t D = op.head_size, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const int64_t row = blockIdx.x;
  const int32_t head = blockIdx.y, kv = head / (op.heads / op.kv_heads), length = op.lengths[row];
  const int32_t *pages = op.pages + row * op.max_pages;
  float q[PAGED_CHUNKS], sums[PAGED_CHUNKS], max = -INFINITY, sum = 0.0f;
#pragma unroll
  for (int c = 0; c < PAGED_CHUNKS; c++) {
    const int32_t d = c * WARP + lane;
    q[c] = d < D ? op.scale * load_float(op.q[row * op.ldq + (int64_t)head * D + d]) : 0.0f;
    sums[c] = 0.0f;
  }
  for (int32_t first = warp * PAGED_RUN; first < length; first += PAGED_WARPS * PAGED_RUN) {
    float score[PAGED_RUN];
    int64_t at[PAGED_RUN];
#pragma unroll
    for (int i = 0; i < PAGED_RUN; i++) {
      const int32_t key = first + i < length ? first + i : length - 1;
      const int64_t page = pages[key / op.page_size];
      at[i] = ((page * op.kv_heads + kv) * op.page_size + key % op.page_size) * D;
      score[i] = 0.0f;
#pragma unroll
      for (int c = 0; c < PAGED_CHUNKS; c++)
        if (c * WARP + lane < D) score[i] += q[c] * load_float(op.k_cache[at[i] + c * WARP + lane]);
    }
    float larger = max;
#pragma unroll
    for (int i = 0; i < PAGED_RUN; i++) {
      score[i] = first + i < length ? warp_sum(score[i]) : -INFINITY;
      larger = fmaxf(larger, score[i]);
    }
    const float from = larger > -INFINITY ? larger : 0.0f, kept = expf(max - from);
    max = larger;
    sum *= kept;
#pragma unroll
    for (int c = 0; c < PAGED_CHUNKS; c++)
      sums[c] *= kept;
#pragma unroll
    for (int i = 0; i < PAGED_RUN; i++) {
      const float p = expf(score[i] - from);
      sum += p;
#pragma unroll
      for (int c = 0; c < PAGED_CHUNKS; c++)
        if (c * WARP + lane < D) sums[c] += p * load_float(op.v_cache[at[i] + c * WARP + lane]);
    }
  }
#pragma unroll
  for (int c = 0; c < PAGED_CHUNKS; c++)
    part_sums[warp][c * WARP + lane] = sums[c];
  if (lane == 0) {
    part_max[warp] = max;
    part_sum[warp] = sum;
  }
  __syncthreads();
  float whole = -INFINITY;
  for (int w = 0; w < PAGED_WARPS; w++)
    whole = fmaxf(whole, part_max[w]);
  for (int32_t d = threadIdx.x; d < D; d += PAGED_WARPS * WARP) {
    float value = 0.0f, total = 0.0f;
    for (int w = 0; w < PAGED_WARPS && length > 0; w++) {
      const float factor = expf(part_max[w] - whole);
      value += factor * part_sums[w][d];
      total += factor * part_sum[w];
    }
    op.out[row * op.ldo + (int64_t)head * D + d] = store_float<T>(length > 0 ? value / total : 0.0f);
  }
}

static status_code_t attention_paged_cuda(device_t *device, const op_attention_paged_t *op) {
  if (op->rows <= 0) return STATUS_OK;
  if (op->head_size > PAGED_HEAD_MOST)
    return error_set(STATUS_DEVICE, "device 'cuda': attention with heads of %d; the largest are of %d",
                     op->head_size, PAGED_HEAD_MOST);
  return with_cache(device, op, [&](auto zero, auto cache_zero) {
    using T = decltype(zero);
    using C = decltype(cache_zero);
    const paged_t<T, C> work = {op->heads,
                                op->kv_heads,
                                op->head_size,
                                op->page_size,
                                op->max_pages,
                                real<T>(op->q),
                                op->ldq,
                                op->ldo,
                                cache_as<const C>(op->k_cache),
                                cache_as<const C>(op->v_cache),
                                indices(op->pages),
                                indices(op->lengths),
                                (float)op->scale,
                                real<T>(op->out)};
    return launch(device, "attention_paged",
                  {dim3((unsigned)op->rows, (unsigned)op->heads), dim3(PAGED_WARPS * WARP), 0},
                  attention_paged_kernel<T, C>, work);
  });
}

void cuda_fill_attention_paged(ops_t *ops) {
  ops->attention_paged = attention_paged_cuda;
}
