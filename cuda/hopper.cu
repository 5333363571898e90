/* Maps of matrices for the copy engine of GPUs of compute capability 9.0. */
#include "cuda/attention_hopper.h"

static status_t find_encode(PFN_cuTensorMapEncodeTiled_v12000 *out) {
  static PFN_cuTensorMapEncodeTiled_v12000 encode;
  const unsigned version = 12000;
  void *found = nullptr;
  cudaDriverEntryPointQueryResult result;
  if (!encode) {
    TRY_CUDA(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, version, cudaEnableDefault,
                                              &result));
    if (result != cudaDriverEntryPointSuccess || !found)
      return error_set(
          STATUS_DEVICE,
          "the NVIDIA driver has no cuTensorMapEncodeTiled; a driver for CUDA 12 or later is needed");
    encode = reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found);
  }
  *out = encode;
  return STATUS_OK;
}

status_t hopper_map(CUtensorMap *map, const bf16 *from, int64_t rows, int64_t cols, int64_t ld,
                    int32_t box_rows) {
  const cuuint64_t sizes[] = {(cuuint64_t)cols, (cuuint64_t)rows},
                   strides[] = {(cuuint64_t)ld * sizeof *from};
  const cuuint32_t box[] = {RUN_COLS, (cuuint32_t)box_rows}, steps[] = {1, 1};
  PFN_cuTensorMapEncodeTiled_v12000 encode;
  TRY(find_encode(&encode));
  CUresult result = encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<bf16 *>(from), sizes, strides,
                           box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                           CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_SUCCESS) return STATUS_OK;
  return error_set(STATUS_DEVICE, "cuTensorMapEncodeTiled (%lld rows of %lld, %lld apart): error %d",
                   (long long)rows, (long long)cols, (long long)ld, (int)result);
}
