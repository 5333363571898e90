/* Vectors of floats of the SIMD level that the file is compiled for, and elementary functions without
 * branches that the compiler can vectorise. Only files of simd/ include this: all is static, so that no code
 * of one level is ever linked into another. */
#ifndef TENSOR_CPU_SIMD_VECTOR_H
#define TENSOR_CPU_SIMD_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

/* SIMD_LEVEL (generic, avx2, avx512) is given on the compiler's command line. */
#define SIMD_JOIN_(name, level) name##_##level
#define SIMD_JOIN(name, level) SIMD_JOIN_(name, level)
#define SIMD_NAME(name) SIMD_JOIN(name, SIMD_LEVEL)

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float vec_t __attribute__((vector_size(LANES * 4)));
typedef float vec_loose_t __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

ALWAYS_INLINE vec_t vec_load(const float *from) {
  return *(const vec_loose_t *)from;
}

ALWAYS_INLINE void vec_store(float *to, vec_t value) {
  *(vec_loose_t *)to = value;
}

/* A number of bf16, exactly: the upper half of a float. */
ALWAYS_INLINE float float_of_half(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* LANES of them. */
ALWAYS_INLINE vec_t vec_load_half(const uint16_t *from) {
#if defined(__AVX512F__)
  __m256i halves = _mm256_loadu_si256((const void *)from);
  return (vec_t)_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16);
#elif defined(__AVX2__)
  __m128i halves = _mm_loadu_si128((const void *)from);
  return (vec_t)_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
#else
  vec_t value;
  for (int i = 0; i < LANES; i++)
    value[i] = float_of_half(from[i]);
  return value;
#endif
}

ALWAYS_INLINE vec_t vec_load_half_part(const uint16_t *from, int64_t n) {
  uint16_t halves[LANES] = {0};
  memcpy(halves, from, (size_t)n * sizeof *halves);
  return vec_load_half(halves);
}

/* The first N <= LANES floats, zero behind them; nothing beyond N is read. */
ALWAYS_INLINE vec_t vec_load_part(const float *from, int64_t n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), from);
#else
  vec_t value = {0};
  memcpy(&value, from, (size_t)n * sizeof(float));
  return value;
#endif
}

/* Writes the first N <= LANES floats. */
ALWAYS_INLINE void vec_store_part(float *to, vec_t value, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1u), value);
#else
  memcpy(to, &value, (size_t)n * sizeof(float));
#endif
}

ALWAYS_INLINE float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

ALWAYS_INLINE uint32_t bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* e^x within 2 ulp: e^x = 2^n e^r, n = round(x / log 2), |r| <= log(2)/2, a polynomial of degree 6 for e^r. 0
 * below -87.3 (no denormals), 2.4e38 at the most; NaN stays NaN. */
ALWAYS_INLINE float exp_float(float x) {
  const float round_up = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
  float bounded = x > 88.3f ? 88.3f : x;
  bounded = bounded < -87.3f ? -87.3f : bounded;
  float shifted = bounded * 1.44269504088896341f + round_up;
  float n = shifted - round_up;
  float r = bounded - n * 0.693145751953125f;
  r = r - n * 1.42860682030941723212e-6f;
  float p = 1.3829872e-3f;
  p = p * r + 8.3744950e-3f;
  p = p * r + 4.1668226e-2f;
  p = p * r + 1.6666456e-1f;
  p = p * r + 4.9999994e-1f;
  p = p * (r * r) + r;
  p = p + 1.0f;
  float power = float_of_bits((bits_of_float(shifted) << 23) + 0x3f800000u);
  float result = p * power;
  return x < -87.3f ? 0.0f : result;
}

typedef int32_t ivec_t __attribute__((vector_size(LANES * 4)));

/* YES where MASK's lanes are all ones, NO where they are zero. */
ALWAYS_INLINE vec_t vec_select(ivec_t mask, vec_t yes, vec_t no) {
  return (vec_t)((mask & (ivec_t)yes) | (~mask & (ivec_t)no));
}

/* The larger of each lane; B where A is NaN. */
ALWAYS_INLINE vec_t vec_max(vec_t a, vec_t b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#else
  return vec_select(a > b, a, b);
#endif
}

/* All ones in the first N lanes (any N). */
ALWAYS_INLINE ivec_t vec_first(int64_t n) {
  ivec_t lane = {0};
#pragma GCC unroll 16
  for (int i = 0; i < LANES; i++)
    lane[i] = i;
  return lane < (int32_t)n;
}

/* exp_float of each lane, for lanes that are at most 88. */
ALWAYS_INLINE vec_t vec_exp(vec_t x) {
  vec_t bounded = vec_select(x < -87.3f, (vec_t){0} - 87.3f, x);
  vec_t shifted = bounded * 1.44269504088896341f + 12582912.0f;
  vec_t n = shifted - 12582912.0f;
  vec_t r = bounded - n * 0.693145751953125f;
  r = r - n * 1.42860682030941723212e-6f;
  vec_t p = r * 1.3829872e-3f + 8.3744950e-3f;
  p = p * r + 4.1668226e-2f;
  p = p * r + 1.6666456e-1f;
  p = p * r + 4.9999994e-1f;
  p = p * (r * r) + r;
  p = p + 1.0f;
  vec_t power = (vec_t)(((ivec_t)shifted << 23) + 0x3f800000);
  return (vec_t)(~(x < -87.3f) & (ivec_t)(p * power));
}

/* Lane i of the result is lane i ^ STEP of V. */
#if defined(__AVX512F__)
#define VEC_SWAP(v, s)                                                                                       \
  __builtin_shufflevector(v, v, 0 ^ s, 1 ^ s, 2 ^ s, 3 ^ s, 4 ^ s, 5 ^ s, 6 ^ s, 7 ^ s, 8 ^ s, 9 ^ s,        \
                          10 ^ s, 11 ^ s, 12 ^ s, 13 ^ s, 14 ^ s, 15 ^ s)
#elif defined(__AVX2__)
#define VEC_SWAP(v, s) __builtin_shufflevector(v, v, 0 ^ s, 1 ^ s, 2 ^ s, 3 ^ s, 4 ^ s, 5 ^ s, 6 ^ s, 7 ^ s)
#else
#define VEC_SWAP(v, s) __builtin_shufflevector(v, v, 0 ^ s, 1 ^ s, 2 ^ s, 3 ^ s)
#endif

/* Sum of all lanes. */
ALWAYS_INLINE float vec_sum(vec_t v) {
#if defined(__AVX512F__)
  v += VEC_SWAP(v, 8);
#endif
#if defined(__AVX2__)
  v += VEC_SWAP(v, 4);
#endif
  v += VEC_SWAP(v, 2);
  v += VEC_SWAP(v, 1);
  return v[0];
}

/* Largest lane. */
ALWAYS_INLINE float vec_largest(vec_t v) {
#if defined(__AVX512F__)
  v = vec_max(v, VEC_SWAP(v, 8));
#endif
#if defined(__AVX2__)
  v = vec_max(v, VEC_SWAP(v, 4));
#endif
  v = vec_max(v, VEC_SWAP(v, 2));
  v = vec_max(v, VEC_SWAP(v, 1));
  return v[0];
}

/* log(x) of a positive normal number within 2 ulp: x = 2^e m, m in [sqrt(1/2), sqrt 2), log m by the atanh
 * series. */
ALWAYS_INLINE float log_float(float x) {
  uint32_t bits = bits_of_float(x);
  uint32_t moved = bits + (0x3f800000u - 0x3f3504f3u);
  float e = (float)((int32_t)(moved >> 23) - 127);
  float m = float_of_bits((moved & 0x007fffffu) + 0x3f3504f3u);
  float f = m - 1.0f;
  float s = f / (2.0f + f);
  float z = s * s;
  float p = 0.24279078841f;
  p = p * z + 0.28498786688f;
  p = p * z + 0.40000972152f;
  p = p * z + 0.66666662693f;
  float half = 0.5f * f * f;
  float log_m = f - (half - s * (half + p * z));
  return e * 0.693147180559945f + log_m;
}

/* 1 / (1 + e^-x). */
ALWAYS_INLINE float sigmoid_float(float x) {
  return 1.0f / (1.0f + exp_float(-x));
}

/* What GELU (tanh) takes the sigmoid of: 2 sqrt(2 / pi) (x + 0.044715 x^3). */
ALWAYS_INLINE float gelu_tanh_argument(float x) {
  return x * (1.5957691216057308f + 0.071354816f * x * x);
}

/* erf(x) within 2 ulp: an odd polynomial below 0.93, 1 - e^p(|x|) above. */
ALWAYS_INLINE float erf_float(float x) {
  float z = x * x;
  float near = -5.96761703e-4f;
  near = near * z + 4.99119423e-3f;
  near = near * z - 2.67681349e-2f;
  near = near * z + 1.12819925e-1f;
  near = near * z - 3.76125336e-1f;
  near = near * z + 1.28379166e-1f;
  near = near * x + x;
  float a = x < 0.0f ? -x : x;
  float t = a < 4.0f ? a : 4.0f; /* 1 - erf(4) is below a float's precision */
  float u = t * t;
  float p = -1.72853470e-5f;
  p = p * t + 3.83197126e-4f;
  float q = -3.88396438e-3f;
  q = q * t + 2.42546219e-2f;
  p = p * u + q;
  p = p * t - 1.06777877e-1f;
  p = p * t - 6.34846687e-1f;
  p = p * t - 1.28717512e-1f;
  p = p * t - t;
  float far = 1.0f - exp_float(p);
  far = x < 0.0f ? -far : far;
  return a > 0.927734375f ? far : near;
}

#endif
