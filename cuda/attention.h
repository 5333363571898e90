/* What the files of packed attention share. */
#ifndef CUDA_ATTENTION_H
#define CUDA_ATTENTION_H

#include "cuda/kernel.h"

extern "C" {
#include "cuda/attention_plan.h"
}

/* op_attention_t and op_attention_backward_t as kernels see them. */
template <class T> struct attention_t {
  const attention_tile_t *tiles;
  int32_t heads, group, head_size; /* group: query heads of a key-value head */
  int64_t ldq, ldkv, ldo;
  float scale;
  bool causal, packed; /* packed: all rows can be accessed by 16 bytes */
  const T *q, *k, *v;
  T *out;
  float *lse;
  const T *dout;
  const float *dots; /* (T, H): dout out of each row */
  T *dq, *dk, *dv;
};

static __device__ __forceinline__ int32_t smaller(int32_t a, int32_t b) {
  return a < b ? a : b;
}

/* Of OP, without what the backward pass has. Errors: STATUS_DEVICE where heads are too large. */
template <class T> static status_code_t attention_operands(const op_attention_t *op, attention_t<T> *out) {
  const sequences_t *all = op->sequences;
  constexpr int N = pack_t<T>::N;
  if (all->head_size > ATTENTION_HEAD_MOST)
    return error_set(STATUS_DEVICE, "device 'cuda': attention on heads of %d; the largest are of %d",
                     all->head_size, ATTENTION_HEAD_MOST);
  *out = {reinterpret_cast<const attention_tile_t *>(all->work),
          all->heads,
          all->heads / all->kv_heads,
          all->head_size,
          op->ldq,
          op->ldkv,
          op->ldo,
          (float)op->scale,
          op->causal,
          all->head_size % N == 0 && op->ldq % N == 0 && op->ldkv % N == 0 && op->ldo % N == 0 &&
              is_packed(op->q) && is_packed(op->k) && is_packed(op->v) && is_packed(op->out),
          real<T>(op->q),
          real<T>(op->k),
          real<T>(op->v),
          real<T>(op->out),
          wide(op->lse)};
  return STATUS_OK;
}

/* A block for each of TILES tiles and HEADS heads. */
static inline launch_t launch_tiles(int64_t tiles, int32_t heads, unsigned threads, size_t shared) {
  return {dim3((unsigned)(tiles * heads)), dim3(threads), shared};
}

/* attention_any.cu: without tensor cores. TILES: how many there are. */
template <class T> status_code_t attention_any(device_t *device, int64_t tiles, const attention_t<T> &op);
template <class T>
status_code_t attention_backward_any(device_t *device, int64_t tiles, const attention_t<T> &op);
extern template status_code_t attention_any<float>(device_t *, int64_t, const attention_t<float> &);
extern template status_code_t attention_any<bf16>(device_t *, int64_t, const attention_t<bf16> &);
extern template status_code_t attention_backward_any<float>(device_t *, int64_t, const attention_t<float> &);
extern template status_code_t attention_backward_any<bf16>(device_t *, int64_t, const attention_t<bf16> &);

#endif
