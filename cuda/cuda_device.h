/* What the cuda device keeps, and what its files share: errors, launches, pointers of the kernels' types.
 * Included by the C++ files of this folder only. */
#ifndef CUDA_CUDA_DEVICE_H
#define CUDA_CUDA_DEVICE_H

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "cuda/cuda.h"
#include "tensor/ops.h"
}

using bf16 = __nv_bfloat16;

/* ---- Errors: a library's becomes ours, and goes up ---- */

status_t cuda_status(cudaError_t error, const char *call);
status_t cublas_status(cublasStatus_t error, const char *call);
#define TRY_CUDA(call) TRY(cuda_status((call), #call))
#define TRY_CUBLAS(call) TRY(cublas_status((call), #call))

/* ---- State ---- */

/* Streams that cannot be mixed up: what operations run in, and collectives beside them. */
struct compute_stream_t {
  cudaStream_t raw;
};
struct background_stream_t {
  cudaStream_t raw;
};

/* Each belongs to one file. */
struct copies_t;   /* copies.cc: pinned staging, downloads that wait for their event */
struct clock_t_;   /* clock.cc: times of regions */
struct products_t; /* gemm.cc: cuBLASLt and the algorithms chosen */
struct graphs_t;   /* graph.cc: captured work */
struct groups_t;   /* collective.h: communicators */
struct cudnn_t;    /* attention_cudnn.cc: its plans */

enum { SCRATCH_BLOCKS = 32 };
struct scratch_t {
  void *block[SCRATCH_BLOCKS]; /* the last is in use; graphs may hold those before, each half as large at most
                                */
  size_t bytes[SCRATCH_BLOCKS];
  int count;
};

struct cuda_state_t {
  ops_t ops;
  cuda_options_t options;
  int ordinal, ranks_sharing;      /* the GPU, and how many ranks of the node it has */
  int multiprocessors, capability; /* capability: 10 * major + minor */
  bool has_warpgroups;             /* products of warpgroups: capability 90, and kernels for it were built */
  size_t l2_bytes, shared_most;    /* shared memory that one block may have */
  char detail[192];
  compute_stream_t compute;
  background_stream_t background;
  cudaMemPool_t pool;
  scratch_t scratch;
  bool capturing; /* a graph: no waits, no uploads, no memory */
  copies_t *copies;
  clock_t_ *clock;
  products_t *products;
  graphs_t *graphs;
  groups_t *groups;
  cudnn_t *cudnn;             /* NULL: attention is by own kernels */
  struct nvmlDevice_st *nvml; /* the GPU as NVML knows it (nvml.h); NULL: not */
  status_code_t (*nf4_decode)(device_t *device, const weight_t *weight, real_t *to);
  status_code_t (*matrix_vector)(device_t *device, const op_gemm_t *op, bool *taken);
};

static inline cuda_state_t *cuda_state(const device_t *device) {
  return static_cast<cuda_state_t *>(device->state);
}

/* *OUT: BYTES of device memory (aligned to 256) that an operation's kernels may use until the operation after
 * it asks for scratch. Stays where it is for as long as it is large enough, so that graphs can hold it.
 * Errors: STATUS_MEMORY. */
status_t cuda_scratch(device_t *device, size_t bytes, void **out);

/* Waits for EVENT, taking part in the watchdog's rounds and looking after the communicators meanwhile. The
 * callers mark the wait (watchdog_enter). */
status_t cuda_wait(device_t *device, cudaEvent_t event);

/* ---- Pointers: device memory as kernels see it ---- */

template <class T> static inline T *real(real_t *pointer) {
  return reinterpret_cast<T *>(pointer);
}
template <class T> static inline const T *real(const real_t *pointer) {
  return reinterpret_cast<const T *>(pointer);
}
static inline float *wide(wide_t *pointer) {
  return reinterpret_cast<float *>(pointer);
}
static inline const float *wide(const wide_t *pointer) {
  return reinterpret_cast<const float *>(pointer);
}
static inline int32_t *indices(index_t *pointer) {
  return reinterpret_cast<int32_t *>(pointer);
}
static inline const int32_t *indices(const index_t *pointer) {
  return reinterpret_cast<const int32_t *>(pointer);
}

/* Whether it can be accessed by 16 bytes. */
static inline bool is_packed(const void *pointer) {
  return (reinterpret_cast<uintptr_t>(pointer) & 15) == 0;
}

/* CALL with a value of the compute type: `with_real(device, [&](auto zero) { using T = decltype(zero); ...`.
 */
template <class F> static inline status_code_t with_real(const device_t *device, F &&call) {
  return device->real_type == DTYPE_BF16 ? call(bf16{}) : call(float{});
}

/* ---- Launches ---- */

struct launch_t {
  dim3 grid, block;
  size_t shared; /* bytes of dynamic shared memory */
};

/* N items, PER_BLOCK of them to a block of THREADS. */
static inline launch_t launch_over(int64_t n, int64_t per_block, unsigned threads) {
  return {dim3((unsigned)((n + per_block - 1) / per_block)), dim3(threads), 0};
}

/* Before and after the start of a kernel: CONFIG points to ATTRIBUTE. Errors: STATUS_DEVICE naming NAME and
 * the shape. */
cudaError_t launch_begin(device_t *device, const launch_t &shape, const void *kernel,
                         cudaLaunchAttribute *attribute, cudaLaunchConfig_t *config);
status_t launch_end(device_t *device, const char *name, const launch_t &shape, cudaError_t error);

/* KERNEL in the compute stream with ARGUMENTS, converted to its parameters' types: the one place where
 * kernels are started. A kernel may start while those before it run: it waits for them itself (kernel_wait in
 * kernel.h). An empty grid starts nothing. */
template <class... P, class... A>
static inline status_code_t launch(device_t *device, const char *name, const launch_t &shape,
                                   void (*kernel)(P...), const A &...arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel gets all of its arguments");
  cudaLaunchConfig_t config = {};
  cudaLaunchAttribute attribute = {};
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return STATUS_OK;
  cudaError_t error =
      launch_begin(device, shape, reinterpret_cast<const void *>(kernel), &attribute, &config);
  if (error == cudaSuccess) error = cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
  return launch_end(device, name, shape, error);
}

/* ---- Each file adds its own to what the device offers ---- */

status_t cuda_fill_copies(device_t *device);
void cuda_free_copies(device_t *device);
/* Carries out what is left of the downloads up to number LAST; how many were asked for so far. */
status_t copies_finish(device_t *device, uint64_t last);
uint64_t copies_count(const device_t *device);
status_t cuda_fill_clock(device_t *device);
void cuda_free_clock(device_t *device);
status_t cuda_fill_graph(device_t *device);
void cuda_free_graph(device_t *device);
bool graphs_exist(const device_t *device);
status_t cuda_fill_products(device_t *device);
void cuda_free_products(device_t *device);
status_t cuda_fill_collectives(device_t *device);
void cuda_free_collectives(device_t *device);
/* The sum, or the largest, by NCCL or MPI, in an order that they choose. */
status_t cuda_allreduce(device_t *device, const device_comm_t *comm, void *data, dtype_t type, size_t n,
                        comm_op_t op);
/* Whether the CPU takes part in a communicator's collectives, which no graph can hold; whether all are well.
 */
bool collectives_need_host(const device_t *device);
status_t collectives_check(device_t *device);
const char *collectives_version(void); /* of the library */

void cuda_fill_elementwise(ops_t *ops);
void cuda_fill_optimizer(ops_t *ops);
void cuda_fill_norm(ops_t *ops);
void cuda_fill_norm_backward(ops_t *ops);
void cuda_fill_rows(ops_t *ops);
void cuda_fill_rotary(ops_t *ops);
void cuda_fill_attention(ops_t *ops);
status_t attention_backward_cuda(device_t *device, const op_attention_backward_t *op);
int64_t cuda_list_work(device_t *device, const sequences_t *sequences, int32_t *list); /* attention's */
void cuda_fill_attention_paged(ops_t *ops);
void cuda_fill_vocab(ops_t *ops);
void cuda_fill_loss(ops_t *ops);
void cuda_fill_decode(ops_t *ops);

/* Kernels for weights in other formats than the compute type, NULL until their file has filled them in.
 * NF4_DECODE: the values (rows, cols) of a weight in NF4, in the compute type, to TO. MATRIX_VECTOR:
 * op_gemm_t with few rows of a, the weight read once where it lies; TAKEN says whether there is a kernel for
 * this product, and if not, nothing was done. */
void cuda_fill_nf4(cuda_state_t *state);
void cuda_fill_matrix_vector(cuda_state_t *state);

#endif
