/* The running softmax of attention on tensor cores, for packed and paged attention alike. Sums and products
 * are rounded one by one where a compiler could otherwise put two together in one kernel and not in another,
 * so that a row has the same bits wherever it is worked on. */
#ifndef CUDA_ATTENTION_SOFTMAX_H
#define CUDA_ATTENTION_SOFTMAX_H

#include "cuda/attention_tile.h"

enum { FORWARD_KEYS = 64 }; /* of a step */

/* Running maximum (of scores times log2 e) and sum of a thread's rows; of the sum, the thread's columns only.
 */
template <int TILES> struct softmax_t {
  float max[TILES][2], sum[TILES][2];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        max[t][half] = -INFINITY;
        sum[t][half] = 0.0f;
      }
  }
  /* The whole sum of a row, on the four threads that have it. */
  __device__ __forceinline__ float total(int t, int half) const {
    float all = sum[t][half];
    all += __shfl_xor_sync(0xffffffffu, all, 1);
    return all + __shfl_xor_sync(0xffffffffu, all, 2);
  }
};

/* Scores S, of rows ROW .. and keys KEY .., become powers under the running maximum; OUT is rescaled to it.
 */
template <int TILES, int OUTS>
static __device__ __forceinline__ void
softmax_step(float (&s)[TILES][FORWARD_KEYS / 8][4], float (&out)[TILES][OUTS][4], softmax_t<TILES> &state,
             int32_t row, int32_t key, int32_t length, const attention_t<bf16> &op) {
  const int32_t lane = lane_id();
  const float scale = op.scale * LOG2_E;
  const bool is_cut = key + FORWARD_KEYS > length || (op.causal && key + FORWARD_KEYS > row + 1);
#pragma unroll
  for (int t = 0; t < TILES; t++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int32_t at = row + t * FRAGMENT + result_row(lane, 2 * half);
      float top = state.max[t][half], sum = 0.0f;
#pragma unroll
      for (int n = 0; n < FORWARD_KEYS / 8; n++)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
          const int32_t col = key + n * 8 + result_col(lane, i);
          s[t][n][i] =
              is_cut && (col >= length || (op.causal && col > at)) ? -INFINITY : __fmul_rn(s[t][n][i], scale);
          top = fmaxf(top, s[t][n][i]);
        }
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2)); /* finite: key 0 is seen by all */
#pragma unroll
      for (int n = 0; n < FORWARD_KEYS / 8; n++)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
          s[t][n][i] = power_of_two(__fadd_rn(s[t][n][i], -top));
          sum += s[t][n][i];
        }
      const float factor = power_of_two(__fadd_rn(state.max[t][half], -top));
      state.max[t][half] = top;
      state.sum[t][half] = fmaf(state.sum[t][half], factor, sum);
      if (__any_sync(0xffffffffu, factor != 1.0f))
#pragma unroll
        for (int d = 0; d < OUTS; d++) {
          out[t][d][2 * half] *= factor;
          out[t][d][2 * half + 1] *= factor;
        }
    }
}

#endif
