/* The driver's maps of matrices, which the host has none of: who asks for them is told so. */
#ifndef HOST_CUDA_TYPEDEFS_H
#define HOST_CUDA_TYPEDEFS_H

#include <cuda_runtime.h>

typedef uint32_t cuuint32_t;
typedef uint64_t cuuint64_t;
typedef enum { CUDA_SUCCESS } CUresult;
struct alignas(64) CUtensorMap {
  cuuint64_t opaque[16];
};
typedef enum { CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 } CUtensorMapDataType;
typedef enum { CU_TENSOR_MAP_INTERLEAVE_NONE } CUtensorMapInterleave;
typedef enum { CU_TENSOR_MAP_SWIZZLE_128B } CUtensorMapSwizzle;
typedef enum { CU_TENSOR_MAP_L2_PROMOTION_L2_256B } CUtensorMapL2promotion;
typedef enum { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE } CUtensorMapFloatOOBfill;
typedef CUresult (*PFN_cuTensorMapEncodeTiled_v12000)(
    CUtensorMap *map, CUtensorMapDataType type, cuuint32_t dimensions, void *from, const cuuint64_t *sizes,
    const cuuint64_t *strides, const cuuint32_t *box, const cuuint32_t *steps,
    CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
    CUtensorMapFloatOOBfill fill);

typedef enum {
  cudaDriverEntryPointSuccess,
  cudaDriverEntryPointSymbolNotFound
} cudaDriverEntryPointQueryResult;
enum { cudaEnableDefault = 0 };
static inline cudaError_t cudaGetDriverEntryPointByVersion(const char *, void **found, unsigned,
                                                           unsigned long long,
                                                           cudaDriverEntryPointQueryResult *result) {
  *found = nullptr;
  *result = cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

#endif
