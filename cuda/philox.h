/* The generator of base/random.h (Philox 4x32-10) for kernels: the same words. Plain C, without CUDA: tested
 * on the host against the other. */
#ifndef CUDA_PHILOX_H
#define CUDA_PHILOX_H

#include "base/random.h"

#ifdef __CUDACC__
#define HOST_DEVICE static __host__ __device__ __forceinline__
#else
#define HOST_DEVICE static inline
#endif

/* Word 0 of random_words(SEED, PURPOSE, A, B). */
HOST_DEVICE uint32_t philox_word(uint64_t seed, random_purpose_t purpose, uint64_t a, uint64_t b) {
  const uint64_t key = seed ^ ((uint64_t)purpose << 56);
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  uint32_t c0 = (uint32_t)a, c1 = (uint32_t)(a >> 32), c2 = (uint32_t)b, c3 = (uint32_t)(b >> 32);
  for (int round = 0; round < 10; round++) {
    const uint64_t left = (uint64_t)0xd2511f53u * c0, right = (uint64_t)0xcd9e8d57u * c2;
    const uint32_t n0 = (uint32_t)(right >> 32) ^ c1 ^ k0, n2 = (uint32_t)(left >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)right;
    c3 = (uint32_t)left;
    c0 = n0;
    c2 = n2;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return c0;
}

#endif
