/* The state of sequences that are being decoded: a few integers for each row, bound by the launch. */
#include "cuda/kernel.h"

enum { DECODE_THREADS = 128 };

static __device__ __forceinline__ bool sequence_runs(const decode_sequences_t &sequences,
                                                     const int32_t *which, int64_t i) {
  const int32_t s = which[i];
  return s >= 0 && reinterpret_cast<const int32_t *>(sequences.ended)[s] == 0;
}

static __device__ __forceinline__ int32_t *state_of(const decode_sequences_t &sequences, int64_t s) {
  return reinterpret_cast<int32_t *>(sequences.state) + s * DECODE_STATE;
}

/* A block for each row, for its page table. */
static __global__ void __launch_bounds__(DECODE_THREADS) decode_begin_kernel(const op_decode_begin_t op) {
  kernel_begin();
  const decode_sequences_t &all = op.sequences;
  const int64_t i = blockIdx.x;
  const bool runs = sequence_runs(all, reinterpret_cast<const int32_t *>(op.which), i);
  const int64_t s = runs ? reinterpret_cast<const int32_t *>(op.which)[i] : 0;
  const int32_t *state = state_of(all, s);
  const int32_t *table = reinterpret_cast<const int32_t *>(all.pages) + s * all.max_pages;
  int32_t *pages = reinterpret_cast<int32_t *>(op.pages) + i * all.max_pages;
  for (int32_t p = threadIdx.x; p < all.max_pages; p += DECODE_THREADS)
    pages[p] = runs ? table[p] : 0;
  if (threadIdx.x != 0) return;
  const int32_t position = runs ? state[DECODE_POSITION] : 0;
  reinterpret_cast<int32_t *>(op.tokens)[i] = runs ? state[DECODE_TOKEN] : -1;
  reinterpret_cast<int32_t *>(op.positions)[i] = position;
  reinterpret_cast<int32_t *>(op.slots)[i] =
      runs ? table[position / op.page_size] * op.page_size + position % op.page_size : -1;
  reinterpret_cast<int32_t *>(op.lengths)[i] = runs ? position + 1 : 0;
  reinterpret_cast<int32_t *>(op.row)[i] = runs ? (int32_t)i : -1;
  reinterpret_cast<int32_t *>(op.draws)[i] = runs ? state[DECODE_COUNT] : 0;
  for (int w = 0; w < 2; w++)
    reinterpret_cast<int32_t *>(op.samples)[2 * i + w] = runs ? state[DECODE_SAMPLE + w] : 0;
}

static status_code_t decode_begin_cuda(device_t *device, const op_decode_begin_t *op) {
  if (op->rows <= 0) return STATUS_OK;
  return launch(device, "decode_begin", {dim3((unsigned)op->rows), dim3(DECODE_THREADS), 0},
                decode_begin_kernel, *op);
}

static __global__ void __launch_bounds__(DECODE_THREADS) decode_advance_kernel(const op_decode_advance_t op) {
  kernel_begin();
  const decode_sequences_t &all = op.sequences;
  const int64_t i = (int64_t)blockIdx.x * DECODE_THREADS + threadIdx.x;
  if (i >= op.rows || !sequence_runs(all, reinterpret_cast<const int32_t *>(op.which), i)) return;
  const int64_t s = reinterpret_cast<const int32_t *>(op.which)[i];
  int32_t *state = state_of(all, s);
  const int32_t token = reinterpret_cast<const int32_t *>(op.drawn)[i], count = state[DECODE_COUNT] + 1;
  const int64_t place = s * all.max_tokens + count - 1;
  reinterpret_cast<int32_t *>(all.tokens)[place] = token;
  reinterpret_cast<float *>(all.logprobs)[place] = reinterpret_cast<const float *>(op.logprobs)[i];
  reinterpret_cast<float *>(all.entropies)[place] = reinterpret_cast<const float *>(op.entropies)[i];
  state[DECODE_TOKEN] = token;
  state[DECODE_POSITION]++;
  state[DECODE_COUNT] = count;
  bool ends = token < 0 || count == all.max_tokens;
  for (int e = 0; e < op.end_count; e++)
    ends = ends || token == op.ends[e];
  if (ends) reinterpret_cast<int32_t *>(all.ended)[s] = token < 0 ? -count : count;
}

static status_code_t decode_advance_cuda(device_t *device, const op_decode_advance_t *op) {
  return launch(device, "decode_advance", launch_over(op->rows, DECODE_THREADS, DECODE_THREADS),
                decode_advance_kernel, *op);
}

void cuda_fill_decode(ops_t *ops) {
  ops->decode_begin = decode_begin_cuda;
  ops->decode_advance = decode_advance_cuda;
}
