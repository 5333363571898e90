/* cuDNN, loaded at run time, and its plans for packed attention. Its frontend is included by cudnn.cc alone.
 */
#ifndef CUDA_CUDNN_H
#define CUDA_CUDNN_H

#include "cuda/cuda_device.h"

extern "C" {
#include "cuda/cudnn_shape.h"
}

/* The library's name and version, or why there is none. */
const char *cudnn_version(void);

/* The library for work in STREAM. Free with cudnn_close, behind its plans. Errors: STATUS_DEVICE where it is
 * not there, too old, or not in this build. */
struct cudnn_library_t;
status_t cudnn_open(cudaStream_t stream, cudnn_library_t **out);
void cudnn_close(cudnn_library_t *library);

/* Whether the library has gradients of packed sequences with the same bits in every run for GPUs of
 * CAPABILITY. */
bool cudnn_has_gradients(int capability);

/* What a plan is given: matrices in bf16, lse (positions, heads) in fp32; where each sequence begins in the
 * matrices (sequences + 1, int64_t, in elements of each one's stride) and its length (sequences, int32_t). */
enum cudnn_operand_t {
  CUDNN_Q,
  CUDNN_K,
  CUDNN_V,
  CUDNN_OUT,
  CUDNN_LSE,
  CUDNN_DOUT,
  CUDNN_DQ,
  CUDNN_DK,
  CUDNN_DV,
  CUDNN_OFFSETS_Q,
  CUDNN_OFFSETS_KV,
  CUDNN_OFFSETS_OUT,
  CUDNN_OFFSETS_LSE,
  CUDNN_LENGTHS,
  CUDNN_OPERANDS
};
struct cudnn_operands_t {
  void *at[CUDNN_OPERANDS]; /* NULL: the plan has none */
};

/* A GPU that need not be there: properties as cuDNN writes them down. */
struct cudnn_gpu_t {
  int capability, multiprocessors; /* capability: 10 * major + minor */
  const char *properties;
};

/* Whether the library, which must be there, reads GPU's properties. Errors: STATUS_DEVICE with its reason. */
status_t cudnn_gpu_check(const cudnn_gpu_t &gpu);

/* A plan for SHAPE, for LIBRARY's GPU, or for the one that GPU describes where not NULL; it cannot be run
 * then. KIN: a forward plan for other bounds, whose kernels serve this one too; NULL: none. Compiles kernels,
 * which takes seconds. Gradients have the same bits in every run. Errors: STATUS_DEVICE with the library's
 * reason. */
struct cudnn_plan_t;
status_t cudnn_plan_create(cudnn_library_t *library, const cudnn_gpu_t *gpu, const cudnn_shape_t &shape,
                           const cudnn_plan_t *kin, cudnn_plan_t **out);
void cudnn_plan_free(cudnn_plan_t *plan);

/* Bytes that its runs need. */
size_t cudnn_plan_workspace(const cudnn_plan_t *plan);

/* Enqueues the plan's kernels. */
status_t cudnn_plan_run(cudnn_library_t *library, const cudnn_plan_t *plan, const cudnn_operands_t &operands,
                        void *workspace);

#endif
