/* Blocks that share a result: each writes its part, and the last one that is done puts the parts together, so
 * that one kernel does what would take two. */
#ifndef CUDA_LAST_BLOCK_H
#define CUDA_LAST_BLOCK_H

#include "cuda/kernel.h"

/* Results that one launch can have: counters that are 0 whenever no kernel runs. */
enum { SHARED_RESULTS_MOST = (1 << 16) - 1 }; /* as a grid's y */
static __device__ unsigned shared_results[SHARED_RESULTS_MOST];

static inline int64_t shared_results_of(int64_t wanted) {
  return wanted < SHARED_RESULTS_MOST ? wanted : (int64_t)SHARED_RESULTS_MOST;
}

/* Whether this is the last of the BLOCKS of RESULT, which may read what the others wrote by load_fresh. All
 * threads call it, after the block's part was written. */
static __device__ __forceinline__ bool block_is_last(int64_t result, unsigned blocks) {
  __shared__ unsigned before;
  if (blocks == 1) {
    __syncthreads();
    return true;
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    before = atomicAdd(&shared_results[result], 1u);
    if (before == blocks - 1) shared_results[result] = 0;
  }
  __syncthreads();
  const bool is_last = before == blocks - 1;
  if (is_last) __threadfence();
  return is_last;
}

/* Past the first-level cache, which does not know what other multiprocessors write. */
template <class T> static __device__ __forceinline__ T load_fresh(const T *from) {
#ifdef __CUDACC__
  return __ldcg(from);
#else
  return *from;
#endif
}

#endif
