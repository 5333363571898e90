/* Attention as the kernels take it, whichever operation asks for it. */
#ifndef CUDA_ATTENTION_H
#define CUDA_ATTENTION_H

#include "cuda/kernel.h"

/* Packed sequences: positions offsets[b] .. offsets[b + 1] - 1 are sequence B's. */
struct packed_sequences_t {
  int32_t count, heads, kv_heads, head_size;
  int64_t longest; /* positions */
  const int32_t *offsets;
};

/* From an operation that has offsets and heads itself, or a pointer to sequences that have them. */
template <class Op> static inline packed_sequences_t sequences_view(const Op *op, int32_t count) {
  packed_sequences_t view = {count, op->heads, op->kv_heads, op->head_size, 0, indices(op->offsets)};
  for (int32_t b = 0; b < count; b++) {
    const int64_t length = op->offsets_host[b + 1] - op->offsets_host[b];
    if (length > view.longest) view.longest = length;
  }
  return view;
}
template <class Op, class S> static inline packed_sequences_t sequences_view(const Op *, const S *of) {
  return {of->count, of->heads, of->kv_heads, of->head_size, of->longest, indices(of->offsets)};
}

/* The positions of all of them. */
template <class Op> static inline int64_t positions_of(const Op *op, int32_t count) {
  return count > 0 ? op->offsets_host[count] : 0;
}
template <class Op, class S> static inline int64_t positions_of(const Op *, const S *of) {
  return of->count > 0 ? of->offsets_host[of->count] : 0;
}

/* Whether the cache of an operation is of bf16, and its pointers: real_t, or void with a mark beside it. */
template <class Op> static inline bool cache_is_half(const Op *, const real_t *) {
  return false;
}
template <class Op> static inline bool cache_is_half(const Op *op, const void *) {
  return op->half;
}
template <class T, class P> static inline T *cache_as(P *pointer) {
  return static_cast<T *>(const_cast<void *>(static_cast<const void *>(pointer)));
}

/* CALL with a value of the compute type and one of the cache's. */
template <class Op, class F>
static inline status_code_t with_cache(const device_t *device, const Op *op, F &&call) {
  if (device->real_type == DTYPE_BF16) return call(bf16{}, bf16{});
  return cache_is_half(op, op->k_cache) ? call(float{}, bf16{}) : call(float{}, float{});
}

#endif
