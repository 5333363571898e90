/* bf16 as CUDA's header has it, by arithmetic of the host. */
#ifndef HOST_CUDA_BF16_H
#define HOST_CUDA_BF16_H

#include <cuda_runtime.h>

struct __nv_bfloat16 {
  uint16_t bits;
};

static inline float __bfloat162float(__nv_bfloat16 value) {
  return host_bits<float>((uint32_t)value.bits << 16);
}
/* To nearest, ties to even. */
static inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  uint32_t bits = host_bits<uint32_t>(value);
  if (value != value) return {(uint16_t)(bits >> 16 | 0x40)};
  return {(uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}
static inline __nv_bfloat16 __float2bfloat16(float value) {
  return __float2bfloat16_rn(value);
}

#endif
