/* Instructions for tensor cores and for copies to shared memory: one function each, as PTX, or as the host
 * does it (threads of a warp that exchange through memory, tests/cuda/host). */
#ifndef CUDA_MMA_H
#define CUDA_MMA_H

#include "cuda/kernel.h"

#ifdef __CUDACC__

static __device__ __forceinline__ uint32_t shared_address(const void *pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/* Two elements in 32 bits, the first in the low half. */
static __device__ __forceinline__ uint32_t pack_two(float first, float second) {
  uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
  return bits;
}

/* Four 8 x 8 matrices: lanes 8i .. 8i+7 give the addresses of the rows of matrix i, to[i] are two neighbours
 * of row lane / 4. */
static __device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const bf16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
/* The same, each matrix transposed. */
static __device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], const bf16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}

/* c (16, 8) += a (16, 16) b (16, 8). */
static __device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                                    uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
               "{%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* 16 bytes to shared memory, behind the thread's back; zeros where not IS_THERE. */
static __device__ __forceinline__ void copy_begin(void *to, const void *from, bool is_there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared_address(to)), "l"(from), "r"(is_there ? 16 : 0)
               : "memory");
}
/* Waits for all that the thread has begun. */
static __device__ __forceinline__ void copy_end() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}
/* Those that the thread has begun since the last call become a group; waits until the LEFT newest groups are
 * left. */
static __device__ __forceinline__ void copy_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int LEFT> static __device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" : : "n"(LEFT) : "memory");
}

/* 2^x; 0 for minus infinity. */
static __device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

#else

enum { HOST_WARPS = 32 };

static inline uint32_t pack_two(float first, float second) {
  const bf16 pair[2] = {__float2bfloat16_rn(first), __float2bfloat16_rn(second)};
  uint32_t bits;
  memcpy(&bits, pair, sizeof bits);
  return bits;
}

/* What all lanes of the warp gave; valid until the next barrier of the warp. */
template <class T> static inline const T *host_exchange(const T &own) {
  static T all[HOST_WARPS][WARP];
  T *warp = all[threadIdx.x / WARP];
  warp[threadIdx.x % WARP] = own;
  __syncwarp();
  return warp;
}

static inline void host_load_matrices(uint32_t (&to)[4], const bf16 *row, bool transposed) {
  const bf16 *const *rows = host_exchange(row);
  const int lane = threadIdx.x % WARP;
  for (int i = 0; i < 4; i++) {
    bf16 pair[2];
    for (int j = 0; j < 2; j++)
      pair[j] =
          transposed ? rows[8 * i + lane % 4 * 2 + j][lane / 4] : rows[8 * i + lane / 4][lane % 4 * 2 + j];
    memcpy(&to[i], pair, sizeof pair);
  }
  __syncwarp();
}
static inline void load_matrices(uint32_t (&to)[4], const bf16 *row) {
  host_load_matrices(to, row, false);
}
static inline void load_matrices_transposed(uint32_t (&to)[4], const bf16 *row) {
  host_load_matrices(to, row, true);
}

struct host_fragments_t {
  bf16 a[4][2], b[2][2];
};

static inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  host_fragments_t own;
  memcpy(own.a, a, sizeof own.a);
  memcpy(own.b, b, sizeof own.b);
  const host_fragments_t *all = host_exchange(own);
  const int lane = threadIdx.x % WARP;
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 16; k++) {
      /* k: of the upper or lower eight, of a lane, one of two. */
      const int upper = k / 8, from = k % 8 / 2, one = k % 2;
      c[i] += load_float(all[lane / 4 * 4 + from].a[upper * 2 + i / 2][one]) *
              load_float(all[(lane % 4 * 2 + i % 2) * 4 + from].b[upper][one]);
    }
  __syncwarp();
}

static inline void copy_begin(void *to, const void *from, bool is_there) {
  if (is_there)
    memcpy(to, from, 16);
  else
    memset(to, 0, 16);
}
static inline void copy_end() {}
static inline void copy_group() {}
template <int LEFT> static inline void copy_wait() {}

static inline float power_of_two(float x) {
  return exp2f(x);
}

#endif

#endif
