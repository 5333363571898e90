/* What kernels on weights in NF4 share: the tables, and a block's scale. Each step rounds to fp32, as on the
 * host. */
#ifndef CUDA_NF4_H
#define CUDA_NF4_H

#include "cuda/kernel.h"

extern "C" {
#include "tensor/weight_nf4.h"
}

/* The code book and the map of scales, by value. */
struct nf4_tables_t {
  float code[NF4_CODES], scale_map[256];
};

static inline nf4_tables_t nf4_tables() {
  nf4_tables_t tables;
  memcpy(tables.code, nf4_code, sizeof tables.code);
  memcpy(tables.scale_map, nf4_scale_map, sizeof tables.scale_map);
  return tables;
}

/* What byte SCALE stands for in GROUP. */
static __device__ __forceinline__ float nf4_scale_of(const float (&scale_map)[256], uint8_t scale,
                                                     float group, float offset) {
  return __fadd_rn(__fmul_rn(scale_map[scale], group), offset);
}

/* The group of block BLOCK of a row. */
static __device__ __forceinline__ float nf4_group_of(const nf4_view_t &view, int64_t row, int64_t block) {
  return view.groups[(uint64_t)(view.first + row * view.whole_row_blocks + block) / NF4_GROUP];
}

#endif
