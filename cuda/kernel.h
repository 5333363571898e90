/* What kernels share: elements to and from fp32, accesses of 16 bytes, sums over warps and blocks in a fixed
 * order. */
#ifndef CUDA_KERNEL_H
#define CUDA_KERNEL_H

#include "cuda/cuda_device.h"

enum { WARP = 32 };

/* NAME: the block's dynamic shared memory, of TYPE. */
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name)                                                                           \
  extern __shared__ __align__(128) unsigned char dynamic_shared_bytes[];                                     \
  type *name = reinterpret_cast<type *>(dynamic_shared_bytes)
#endif

/* Kernels start while those before them in the stream still run (launch, in cuda_device.h), and wait for them
 * before they touch memory that others write or read: kernel_begin is a kernel's first statement, or, in a
 * kernel that has something to do before, kernel_release; kernel_wait then stands before the first access.
 * Before a kernel of a library stands one that only waits. A kernel that ended without it could be overtaken
 * by the next, so that tests/structure/check_kernels.sh looks for it in each. On GPUs before compute
 * capability 9.0 both are nothing, and kernels start one after another.
 */
static __device__ __forceinline__ void kernel_release() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
/* All kernels before this one have ended, and what they wrote can be read. */
static __device__ __forceinline__ void kernel_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
static __device__ __forceinline__ void kernel_begin() {
  kernel_release();
  kernel_wait();
}

static __device__ __forceinline__ float load_float(float value) {
  return value;
}
static __device__ __forceinline__ float load_float(bf16 value) {
  return __bfloat162float(value);
}
template <class T> static __device__ __forceinline__ T store_float(float value);
template <> __device__ __forceinline__ float store_float<float>(float value) {
  return value;
}
template <> __device__ __forceinline__ bf16 store_float<bf16>(float value) {
  return __float2bfloat16_rn(value);
}

/* 16 bytes of elements: N of them, moved by one instruction where the address is a multiple of 16. */
template <class T> struct alignas(16) pack_t {
  enum { N = 16 / sizeof(T) };
  T v[N];
};
template <class T> static __device__ __forceinline__ pack_t<T> pack_load(const T *from) {
  pack_t<T> pack;
  *reinterpret_cast<uint4 *>(&pack) = *reinterpret_cast<const uint4 *>(from);
  return pack;
}
template <class T> static __device__ __forceinline__ void pack_store(T *to, const pack_t<T> &pack) {
  *reinterpret_cast<uint4 *>(to) = *reinterpret_cast<const uint4 *>(&pack);
}

/* The sum over the warp, on all of its lanes: the same tree in every run. */
static __device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int step = WARP / 2; step > 0; step /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}
static __device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int step = WARP / 2; step > 0; step /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}

/* The sum over a block of THREADS, a multiple of a warp, on all of its threads. All threads call it. */
template <int THREADS> static __device__ __forceinline__ float block_sum(float value) {
  __shared__ float parts[THREADS / WARP];
  value = warp_sum(value);
  if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = value;
  __syncthreads();
  float sum = 0.0f;
#pragma unroll
  for (int w = 0; w < THREADS / WARP; w++)
    sum += parts[w];
  __syncthreads();
  return sum;
}

#endif
