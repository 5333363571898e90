/* Weights in NF4 to the compute type, for the products of training and prefill: 0.5 + 1/64 bytes read and b
 * written per value (b those of the compute type). Each step rounds to fp32, as on the host. */
#include "cuda/map.h"

extern "C" {
#include "tensor/weight_nf4.h"
}

#include <string.h>

/* The code book and the map of scales, by value. */
struct nf4_tables_t {
  float code[NF4_CODES], scale_map[256];
};

enum { NF4_THREADS = 256, NF4_RUN = 8 };

/* A thread makes NF4_RUN values of a row, whose scale is looked up again where a block begins. */
template <class T>
static __global__ void __launch_bounds__(NF4_THREADS)
    nf4_decode_kernel(const nf4_view_t view, const __grid_constant__ nf4_tables_t tables, int64_t rows,
                      int64_t cols, T *to) {
  kernel_begin();
  __shared__ nf4_tables_t table;
  for (int i = threadIdx.x; i < 256; i += NF4_THREADS) {
    table.scale_map[i] = tables.scale_map[i];
    if (i < NF4_CODES) table.code[i] = tables.code[i];
  }
  __syncthreads();
  const float offset = *view.offset;
  const int64_t first = ((int64_t)blockIdx.x * NF4_THREADS + threadIdx.x) * NF4_RUN;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const uint8_t *codes = view.codes + row * view.row_blocks * NF4_BLOCK_BYTES;
    const uint8_t *scales = view.scales + row * view.row_blocks;
    const int64_t number = view.first + row * view.whole_row_blocks;
    int64_t block = -1;
    float scale = 0.0f;
    for (int64_t col = first; col < first + NF4_RUN && col < cols; col++) {
      const int64_t at = view.skip + col;
      if (at / NF4_BLOCK != block) {
        block = at / NF4_BLOCK;
        scale = __fadd_rn(
            __fmul_rn(table.scale_map[scales[block]], view.groups[(number + block) / NF4_GROUP]), offset);
      }
      const uint8_t pair = codes[at / 2];
      to[row * cols + col] = store_float<T>(__fmul_rn(table.code[at % 2 ? pair & 15 : pair >> 4], scale));
    }
  }
}

static status_code_t nf4_decode_cuda(device_t *device, const weight_t *weight, real_t *to) {
  nf4_tables_t tables;
  if (weight->rows <= 0 || weight->cols <= 0) return STATUS_OK;
  memcpy(tables.code, nf4_code, sizeof tables.code);
  memcpy(tables.scale_map, nf4_scale_map, sizeof tables.scale_map);
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    launch_t shape = launch_over(weight->cols, NF4_THREADS * NF4_RUN, NF4_THREADS);
    shape.grid.y = (unsigned)(weight->rows < MAP_ROWS_MOST ? weight->rows : MAP_ROWS_MOST);
    return launch(device, "nf4_decode", shape, nf4_decode_kernel<T>, weight_nf4_view(weight), tables,
                  weight->rows, weight->cols, real<T>(to));
  });
}

void cuda_fill_nf4(cuda_state_t *state) {
  state->nf4_decode = nf4_decode_cuda;
}
