/* As much of CUDA as the device's sources use, carried out by the host: kernels are ordinary functions, the
 * threads of a block are fibers that take turns at barriers, blocks run one after the other, and all is done
 * when a call returns (but for what is captured, which is kept and run by cudaGraphLaunch). So the suite of
 * operations checks what kernels compute without a GPU; it says nothing about races and speed. */
#ifndef HOST_CUDA_RUNTIME_H
#define HOST_CUDA_RUNTIME_H

#include <functional>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __constant__ static
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __expf expf
#define __logf logf
#define __sinf sinf
#define __cosf cosf
#define __powf powf
#define fmaf host_fmaf
#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(host_dynamic_shared)

/* The product is exact, as fmaf's is; without the call. */
static inline float host_fmaf(float a, float b, float c) {
  return (float)((double)a * (double)b + (double)c);
}

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
static inline float2 make_float2(float x, float y) {
  return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
extern unsigned char host_dynamic_shared[];

/* ---- What threads do together ---- */

void __syncthreads();
int __syncthreads_or(int value);
void __syncwarp(unsigned mask = 0xffffffffu);
unsigned __ballot_sync(unsigned mask, int value);
/* The 8 bytes that lane FROM of the warp gives. */
uint64_t host_shuffle(uint64_t value, unsigned from);
unsigned host_lane();

template <class T> static inline T host_shuffle_value(T value, unsigned from) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle of at most 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = host_shuffle(bits, from);
  memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T> static inline T __shfl_sync(unsigned, T value, int from, int width = 32) {
  unsigned lane = host_lane(), segment = lane / (unsigned)width * (unsigned)width;
  return host_shuffle_value(value, segment + (unsigned)from % (unsigned)width);
}
template <class T> static inline T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
  return host_shuffle_value(value, host_lane() ^ (unsigned)mask);
}
template <class T> static inline T __shfl_down_sync(unsigned, T value, unsigned by, int width = 32) {
  unsigned lane = host_lane(), end = (lane / (unsigned)width + 1) * (unsigned)width;
  return host_shuffle_value(value, lane + by < end ? lane + by : lane);
}
template <class T> static inline T __shfl_up_sync(unsigned, T value, unsigned by, int width = 32) {
  unsigned lane = host_lane(), begin = lane / (unsigned)width * (unsigned)width;
  return host_shuffle_value(value, lane >= begin + by ? lane - by : lane);
}
static inline int __any_sync(unsigned mask, int value) {
  return __ballot_sync(mask, value) != 0;
}
static inline int __all_sync(unsigned mask, int value) {
  return __ballot_sync(mask, !value) == 0;
}

/* ---- Arithmetic ---- */

static inline int __popc(unsigned value) {
  return __builtin_popcount(value);
}
static inline int __ffs(int value) {
  return __builtin_ffs(value);
}
static inline int __clz(int value) {
  return value ? __builtin_clz((unsigned)value) : 32;
}
static inline float rsqrtf(float value) {
  return 1.0f / sqrtf(value);
}
static inline float __fdividef(float a, float b) {
  return a / b;
}
static inline float __fmul_rn(float a, float b) {
  volatile float product = a * b;
  return product;
}
static inline float __fadd_rn(float a, float b) {
  volatile float sum = a + b;
  return sum;
}
static inline unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned)((uint64_t)a * b >> 32);
}
template <class To, class From> static inline To host_bits(From from) {
  To to;
  static_assert(sizeof to == sizeof from, "as many bits");
  memcpy(&to, &from, sizeof to);
  return to;
}
static inline float __int_as_float(int value) {
  return host_bits<float>(value);
}
static inline int __float_as_int(float value) {
  return host_bits<int>(value);
}
static inline float __uint_as_float(unsigned value) {
  return host_bits<float>(value);
}
static inline unsigned __float_as_uint(float value) {
  return host_bits<unsigned>(value);
}
template <class T> static inline T __ldg(const T *from) {
  return *from;
}
template <class T> static inline T atomicAdd(T *to, T value) {
  T before = *to;
  *to = before + value;
  return before;
}
template <class T> static inline T atomicMax(T *to, T value) {
  T before = *to;
  *to = before > value ? before : value;
  return before;
}
static inline void __threadfence() {}
template <class A, class B> static inline std::common_type_t<A, B> min(A a, B b) {
  return a < b ? a : b;
}
template <class A, class B> static inline std::common_type_t<A, B> max(A a, B b) {
  return a > b ? a : b;
}

/* ---- The run-time library ---- */

typedef enum {
  cudaSuccess,
  cudaErrorInvalidValue,
  cudaErrorMemoryAllocation,
  cudaErrorNotReady,
  cudaErrorInvalidConfiguration
} cudaError_t;
typedef struct host_stream *cudaStream_t;
typedef struct host_event *cudaEvent_t;
typedef struct host_pool *cudaMemPool_t;
typedef struct host_graph *cudaGraph_t;
typedef struct host_graph *cudaGraphExec_t;
typedef enum { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice } cudaMemcpyKind;
typedef enum {
  cudaMemPoolAttrReleaseThreshold,
  cudaMemPoolAttrReservedMemCurrent,
  cudaMemPoolAttrUsedMemCurrent
} cudaMemPoolAttr;
typedef enum { cudaFuncAttributeMaxDynamicSharedMemorySize } cudaFuncAttribute;
typedef enum { cudaStreamCaptureModeThreadLocal } cudaStreamCaptureMode;
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocDefault = 0 };

struct cudaDeviceProp {
  char name[256];
  struct {
    char bytes[16];
  } uuid;
  size_t totalGlobalMem, sharedMemPerBlockOptin;
  int major, minor, multiProcessorCount, l2CacheSize;
};

typedef enum { cudaLaunchAttributeProgrammaticStreamSerialization } cudaLaunchAttributeID;
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  union {
    int programmaticStreamSerializationAllowed;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute *attrs;
  unsigned numAttrs;
};

const char *cudaGetErrorString(cudaError_t error);
const char *cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *of, int device);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes);
cudaError_t cudaMalloc(void **out, size_t bytes);
cudaError_t cudaFree(void *pointer);
cudaError_t cudaMallocAsync(void **out, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void *pointer, cudaStream_t stream);
cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *pointer);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaDeviceGetStreamPriorityRange(int *lowest, int *highest);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int priority);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph);
cudaError_t cudaEventCreate(cudaEvent_t *out);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end);
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value);
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess, cudaDriverEntryPointSymbolNotFound };
enum { cudaEnableDefault };
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **out, unsigned version,
                                             unsigned long long flags,
                                             cudaDriverEntryPointQueryResult *result);

/* Runs WORK, or keeps it where the stream is being captured. */
void host_enqueue(cudaStream_t stream, std::function<void()> work);
/* KERNEL for all threads of all blocks. */
cudaError_t host_run(const cudaLaunchConfig_t &config, const std::function<void()> &kernel);

template <class... P, class... A>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...),
                                             A &&...arguments) {
  const cudaLaunchConfig_t shape = *config;
  const unsigned threads = shape.blockDim.x * shape.blockDim.y * shape.blockDim.z;
  if (threads == 0 || threads > 1024 || shape.gridDim.y > 65535 || shape.gridDim.z > 65535)
    return cudaErrorInvalidConfiguration;
  std::function<void()> call = [=] { kernel(arguments...); };
  host_enqueue(shape.stream, [=] { (void)host_run(shape, call); });
  return cudaSuccess;
}

#endif
