/* The table of one SIMD level. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/simd/vector.h"

void SIMD_NAME(kernels_fill_gemm)(kernels_t *table);
void SIMD_NAME(kernels_fill_norm)(kernels_t *table);
void SIMD_NAME(kernels_fill_elementwise)(kernels_t *table);
void SIMD_NAME(kernels_fill_rows)(kernels_t *table);
void SIMD_NAME(kernels_fill_attention)(kernels_t *table);
void SIMD_NAME(kernels_fill_attention_paged)(kernels_t *table);
void SIMD_NAME(kernels_fill_vocab)(kernels_t *table);

void SIMD_NAME(kernels_fill)(kernels_t *table) {
  SIMD_NAME(kernels_fill_gemm)(table);
  SIMD_NAME(kernels_fill_norm)(table);
  SIMD_NAME(kernels_fill_elementwise)(table);
  SIMD_NAME(kernels_fill_rows)(table);
  SIMD_NAME(kernels_fill_attention)(table);
  SIMD_NAME(kernels_fill_attention_paged)(table);
  SIMD_NAME(kernels_fill_vocab)(table);
}
