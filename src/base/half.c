#include "base/half.h"

#include <stdint.h>
#include <string.h>

/* No branches below, only selections between values that are both computed: so the loops vectorise. */

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t half_choose(int first, uint32_t a, uint32_t b) {
  uint32_t mask = 0u - (uint32_t)first;
  return (a & mask) | (b & ~mask);
}

enum { F32_FRACTION = 23, F16_FRACTION = 10, DROPPED = F32_FRACTION - F16_FRACTION };

static const uint32_t infinity = 0x7f800000u, magnitude_mask = 0x7fffffffu;
static const uint32_t bias_step = (uint32_t)(127 - 15) << F32_FRACTION; /* between the exponents' biases */

static inline float f32_of_f16(uint16_t half) {
  const uint32_t smallest_normal = (uint32_t)(127 - 14) << F32_FRACTION;
  uint32_t magnitude = half & 0x7fffu, sign = (uint32_t)(half & 0x8000u) << 16;
  uint32_t shifted = magnitude << DROPPED;
  uint32_t normal = shifted + bias_step;
  uint32_t special = shifted | infinity;
  /* Below the normal numbers: the fraction counts from 2^-14 on, whose own share is taken off again. */
  uint32_t tiny = bits_of(float_of(shifted + smallest_normal) - float_of(smallest_normal));
  uint32_t finite = half_choose(magnitude < 0x400u, tiny, normal);
  return float_of(sign | half_choose(magnitude >= 0x7c00u, special, finite));
}

static inline uint16_t f16_of_f32(float value) {
  /* Added to a number below 2^-14 it leaves the bits of a half, rounded by the addition, in its fraction. */
  const uint32_t rounder = (uint32_t)(127 - 15 + DROPPED + 1) << F32_FRACTION;
  uint32_t bits = bits_of(value), magnitude = bits & magnitude_mask, sign = (bits >> 16) & 0x8000u;
  uint32_t odd = (magnitude >> DROPPED) & 1u;
  uint32_t normal = (magnitude - bias_step + 0xfffu + odd) >> DROPPED;
  uint32_t tiny = bits_of(float_of(magnitude) + float_of(rounder)) - rounder;
  uint32_t nan = 0x7e00u | ((magnitude >> DROPPED) & 0x3ffu);
  uint32_t special = half_choose(magnitude > infinity, nan, 0x7c00u);
  uint32_t finite = half_choose(magnitude < ((uint32_t)(127 - 14) << F32_FRACTION), tiny, normal);
  uint32_t half = half_choose(magnitude >= ((uint32_t)(127 + 16) << F32_FRACTION), special, finite);
  return (uint16_t)(sign | half);
}

static inline uint16_t bf16_of_f32(float value) {
  uint32_t bits = bits_of(value);
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  uint32_t nan = (bits >> 16) | 0x40u;
  return (uint16_t)half_choose((bits & magnitude_mask) > infinity, nan, rounded);
}

void half_from_f16(const void *from, float *to, size_t n) {
  const unsigned char *in = from;
  for (size_t i = 0; i < n; i++) {
    uint16_t half;
    memcpy(&half, in + 2 * i, sizeof half);
    to[i] = f32_of_f16(half);
  }
}

void half_to_f16(const float *from, void *to, size_t n) {
  unsigned char *out = to;
  for (size_t i = 0; i < n; i++) {
    uint16_t half = f16_of_f32(from[i]);
    memcpy(out + 2 * i, &half, sizeof half);
  }
}

void half_from_bf16(const void *from, float *to, size_t n) {
  const unsigned char *in = from;
  for (size_t i = 0; i < n; i++) {
    uint16_t half;
    memcpy(&half, in + 2 * i, sizeof half);
    to[i] = float_of((uint32_t)half << 16);
  }
}

void half_to_bf16(const float *from, void *to, size_t n) {
  unsigned char *out = to;
  for (size_t i = 0; i < n; i++) {
    uint16_t half = bf16_of_f32(from[i]);
    memcpy(out + 2 * i, &half, sizeof half);
  }
}

void half_round_bf16(float *x, size_t n) {
  for (size_t i = 0; i < n; i++)
    x[i] = float_of((uint32_t)bf16_of_f32(x[i]) << 16);
}
