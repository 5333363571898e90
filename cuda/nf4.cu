/* Weights in NF4 to the compute type, for the products of training and prefill: 0.5 + 1/64 bytes read and b
 * written per value (b those of the compute type). Each step rounds to fp32, as on the host. */
#include "cuda/map.h"
#include "cuda/nf4.h"

/* A thread makes runs of NF4_RUN values, in NF4_ROWS rows at once. */
enum {
  NF4_THREADS = 256,
  NF4_RUN = 8,
  NF4_RUN_BYTES = NF4_RUN / 2,
  NF4_ROWS = 4,
  NF4_BLOCKS = 8 /* a multiprocessor */
};
static_assert(NF4_RUN_BYTES == sizeof(uint32_t), "the codes of a run are loaded at once");

/* Which codes are looked up lies in banks of its own: no two threads wait for each other. */
static __device__ __forceinline__ void tables_load(nf4_tables_t *to, const nf4_tables_t &from) {
  for (int i = threadIdx.x; i < 256; i += NF4_THREADS) {
    to->scale_map[i] = from.scale_map[i];
    if (i < NF4_CODES) to->code[i] = from.code[i];
  }
  __syncthreads();
}

/* Runs that lie within a block each: skip and cols are multiples of NF4_RUN. */
template <class T>
static __global__ void __launch_bounds__(NF4_THREADS)
    nf4_decode_runs_kernel(const nf4_view_t view, const __grid_constant__ nf4_tables_t tables, int64_t rows,
                           int64_t cols, T *to) {
  kernel_begin();
  __shared__ nf4_tables_t table;
  tables_load(&table, tables);
  const float offset = *view.offset;
  const int64_t col = ((int64_t)blockIdx.x * NF4_THREADS + threadIdx.x) * NF4_RUN, at = view.skip + col,
                block = at / NF4_BLOCK, step = (int64_t)gridDim.y * NF4_ROWS;
  if (col >= cols) return;
  for (int64_t first = (int64_t)blockIdx.y * NF4_ROWS; first < rows; first += step) {
    uint32_t codes[NF4_ROWS];
    uint8_t scales[NF4_ROWS];
    float groups[NF4_ROWS];
#pragma unroll
    for (int i = 0; i < NF4_ROWS; i++) {
      const int64_t row = first + i < rows ? first + i : first;
      codes[i] =
          *reinterpret_cast<const uint32_t *>(view.codes + row * view.row_blocks * NF4_BLOCK_BYTES + at / 2);
      scales[i] = view.scales[row * view.row_blocks + block];
      groups[i] = nf4_group_of(view, row, block);
    }
#pragma unroll
    for (int i = 0; i < NF4_ROWS; i++) {
      const float scale = nf4_scale_of(table.scale_map, scales[i], groups[i], offset);
      float values[NF4_RUN];
#pragma unroll
      for (int j = 0; j < NF4_RUN; j++) /* the first of a byte's two is the upper half */
        values[j] = __fmul_rn(table.code[codes[i] >> (j / 2 * 8 + (j % 2 ? 0 : 4)) & 15u], scale);
      if (first + i < rows) run_store<NF4_RUN>(to + (first + i) * cols + col, values);
    }
  }
}

/* Any columns: a value's scale is looked up again where a block begins. */
template <class T>
static __global__ void __launch_bounds__(NF4_THREADS)
    nf4_decode_kernel(const nf4_view_t view, const __grid_constant__ nf4_tables_t tables, int64_t rows,
                      int64_t cols, T *to) {
  kernel_begin();
  __shared__ nf4_tables_t table;
  tables_load(&table, tables);
  const float offset = *view.offset;
  const int64_t first = ((int64_t)blockIdx.x * NF4_THREADS + threadIdx.x) * NF4_RUN;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const uint8_t *codes = view.codes + row * view.row_blocks * NF4_BLOCK_BYTES;
    int64_t block = -1;
    float scale = 0.0f;
    for (int64_t col = first; col < first + NF4_RUN && col < cols; col++) {
      const int64_t at = view.skip + col;
      if (at / NF4_BLOCK != block) {
        block = at / NF4_BLOCK;
        scale = nf4_scale_of(table.scale_map, view.scales[row * view.row_blocks + block],
                             nf4_group_of(view, row, block), offset);
      }
      const uint8_t pair = codes[at / 2];
      to[row * cols + col] = store_float<T>(__fmul_rn(table.code[at % 2 ? pair & 15 : pair >> 4], scale));
    }
  }
}

static status_code_t nf4_decode_cuda(device_t *device, const weight_t *weight, real_t *to) {
  if (weight->rows <= 0 || weight->cols <= 0) return STATUS_OK;
  const nf4_tables_t tables = nf4_tables();
  const nf4_view_t view = weight_nf4_view(weight);
  const bool runs =
      view.skip % NF4_RUN == 0 && weight->cols % NF4_RUN == 0 && is_packed(view.codes) && is_packed(to);
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    launch_t shape = launch_over(weight->cols, NF4_THREADS * NF4_RUN, NF4_THREADS);
    /* As many blocks as run at once: each begins with the tables. */
    const int64_t row_blocks = runs ? (weight->rows + NF4_ROWS - 1) / NF4_ROWS : weight->rows,
                  most = (int64_t)cuda_state(device)->multiprocessors * NF4_BLOCKS / shape.grid.x + 1;
    shape.grid.y = (unsigned)(row_blocks < most ? row_blocks : most);
    return launch(device, "nf4_decode", shape, runs ? nf4_decode_runs_kernel<T> : nf4_decode_kernel<T>, view,
                  tables, weight->rows, weight->cols, real<T>(to));
  });
}

void cuda_fill_nf4(cuda_state_t *state) {
  state->nf4_decode = nf4_decode_cuda;
}
