/* CUDA's run-time library and cuBLASLt on the host. */
#include <cublasLt.h>
#include <cuda_bf16.h>

#include <stdlib.h>
#include <time.h>
#include <vector>

struct host_graph {
  std::vector<std::function<void()>> works;
};
struct host_stream {
  host_graph *captured; /* NULL: nothing is */
};
struct host_event {
  double seconds;
};

static size_t used_bytes;
enum { HEADER = 256 };

const char *cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "an error of the host's CUDA";
}
const char *cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "error";
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) {
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *of, int) {
  *of = {};
  strcpy(of->name, "the host");
  of->totalGlobalMem = (size_t)1 << 32;
  of->sharedMemPerBlockOptin = 227 << 10;
  of->major = 9;
  of->multiProcessorCount = 4;
  of->l2CacheSize = 1 << 20;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = 0;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) {
  *version = 0;
  return cudaSuccess;
}

/* ---- Memory: filled with NaN, so that what nobody has written is seen ---- */

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
  *total = (size_t)1 << 32;
  *available = *total - used_bytes;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int) {
  *pool = NULL;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) {
  return cudaSuccess;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *value) {
  uint64_t bytes = used_bytes;
  memcpy(value, &bytes, sizeof bytes);
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) {
  return cudaSuccess;
}
cudaError_t cudaMallocAsync(void **out, size_t bytes, cudaStream_t) {
  char *block = static_cast<char *>(aligned_alloc(HEADER, (bytes + 2 * HEADER - 1) / HEADER * HEADER));
  if (!block) return cudaErrorMemoryAllocation;
  memcpy(block, &bytes, sizeof bytes);
  memset(block + HEADER, 0xff, bytes);
  used_bytes += bytes;
  *out = block + HEADER;
  return cudaSuccess;
}
cudaError_t cudaFreeAsync(void *pointer, cudaStream_t) {
  size_t bytes;
  char *block = static_cast<char *>(pointer) - HEADER;
  memcpy(&bytes, block, sizeof bytes);
  used_bytes -= bytes;
  free(block);
  return cudaSuccess;
}
cudaError_t cudaMalloc(void **out, size_t bytes) {
  return cudaMallocAsync(out, bytes, NULL);
}
cudaError_t cudaFree(void *pointer) {
  return cudaFreeAsync(pointer, NULL);
}
cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned) {
  *out = malloc(bytes);
  return *out ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void *pointer) {
  free(pointer);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  host_enqueue(stream, [=] { memmove(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  host_enqueue(stream, [=] { memset(to, value, bytes); });
  return cudaSuccess;
}

/* ---- Streams, graphs, events ---- */

void host_enqueue(cudaStream_t stream, std::function<void()> work) {
  if (stream->captured)
    stream->captured->works.push_back(work);
  else
    work();
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *lowest, int *highest) {
  *lowest = *highest = 0;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned, int) {
  *out = new host_stream();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return stream->captured ? cudaErrorInvalidValue : cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->captured = new host_graph();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out) {
  *out = stream->captured;
  stream->captured = NULL;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long) {
  *out = new host_graph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
  for (const std::function<void()> &work : graph->works)
    work();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *out) {
  *out = new host_event();
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned) {
  return cudaEventCreate(out);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  event->seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t) {
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = (float)(1e3 * (end->seconds - begin->seconds));
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char *, void **out, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult *result) {
  *out = nullptr;
  *result = cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int) {
  return cudaSuccess;
}

/* ---- MPI: takes this device's memory, which is the host's, where the environment says so ---- */

extern "C" int MPIX_Query_cuda_support(void);
int MPIX_Query_cuda_support(void) {
  const char *wanted = getenv("LLAVA_TEST_CUDA_AWARE");
  return wanted && strcmp(wanted, "1") == 0;
}

/* ---- cuBLASLt ---- */

const char *cublasLtGetStatusString(cublasStatus_t) {
  return "status of the host's cuBLASLt";
}
size_t cublasLtGetVersion() {
  return 0;
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t *out) {
  *out = NULL;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t to, cublasComputeType_t, cudaDataType) {
  *to = {};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t to, cublasLtMatmulDescAttributes_t which,
                                              const void *value, size_t bytes) {
  void *const fields[] = {&to->trans_a, &to->trans_b, &to->epilogue, &to->bias};
  memcpy(fields[which], value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t to, cudaDataType type, uint64_t rows,
                                        uint64_t cols, int64_t ld) {
  *to = {type, rows, cols, ld, 0, 1};
  return ld < (int64_t)rows ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t to,
                                                cublasLtMatrixLayoutAttribute_t which, const void *value,
                                                size_t bytes) {
  if (which == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT)
    memcpy(&to->count, value, bytes);
  else
    memcpy(&to->stride, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t, const void *,
                                                    size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

static uint64_t depth(cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a) {
  return operation->trans_a == CUBLAS_OP_T ? a->rows : a->cols;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t *, int *count) {
  *count = depth(operation, a) % 2 == 0;
  return *count > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

/* Element (i, j), column-major, of op(matrix) in the batch's product P. */
static double element(const void *data, const cublasLtMatrixLayoutOpaque_t &layout, bool trans, int32_t p,
                      uint64_t i, uint64_t j) {
  const int64_t row = (int64_t)(trans ? j : i), col = (int64_t)(trans ? i : j);
  const int64_t at = p * layout.stride + col * layout.ld + row;
  if (layout.type == CUDA_R_32F) return (double)static_cast<const float *>(data)[at];
  return (double)__bfloat162float(static_cast<const __nv_bfloat16 *>(data)[at]);
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *, void *, size_t, cudaStream_t stream) {
  const cublasLtMatmulDescOpaque_t op = *operation;
  const cublasLtMatrixLayoutOpaque_t la = *a_layout, lb = *b_layout, lc = *c_layout, ld = *d_layout;
  const uint64_t k = depth(operation, a_layout);
  const double scale = (double)*static_cast<const float *>(alpha),
               kept = (double)*static_cast<const float *>(beta);
  const uint64_t b_depth = op.trans_b == CUBLAS_OP_T ? lb.cols : lb.rows;
  if (b_depth != k || ld.rows != lc.rows || ld.cols != lc.cols) return CUBLAS_STATUS_INVALID_VALUE;
  host_enqueue(stream, [=] {
    const cublasLtMatrixLayoutOpaque_t vector = {ld.type, ld.rows, 1, (int64_t)ld.rows, 0, 1};
    for (int32_t p = 0; p < ld.count; p++)
      for (uint64_t j = 0; j < ld.cols; j++)
        for (uint64_t i = 0; i < ld.rows; i++) {
          double sum = 0.0;
          for (uint64_t x = 0; x < k; x++)
            sum += element(a, la, op.trans_a == CUBLAS_OP_T, p, i, x) *
                   element(b, lb, op.trans_b == CUBLAS_OP_T, p, x, j);
          sum *= scale;
          if (kept != 0.0) sum += kept * element(c, lc, false, p, i, j);
          if (op.epilogue == CUBLASLT_EPILOGUE_BIAS) sum += element(op.bias, vector, false, 0, i, 0);
          const int64_t at = p * ld.stride + (int64_t)j * ld.ld + (int64_t)i;
          if (ld.type == CUDA_R_32F)
            static_cast<float *>(d)[at] = (float)sum;
          else
            static_cast<__nv_bfloat16 *>(d)[at] = __float2bfloat16_rn((float)sum);
        }
  });
  return CUBLAS_STATUS_SUCCESS;
}
