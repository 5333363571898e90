/* The activations and their derivatives, in fp32. */
#ifndef CUDA_ACTIVATION_H
#define CUDA_ACTIVATION_H

#include "cuda/kernel.h"

static __device__ __forceinline__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

/* Quick-GELU: x sigmoid(1.702 x). GELU: x Phi(x), with the error function. */
template <activation_t KIND> static __device__ __forceinline__ float activate(float x) {
  if constexpr (KIND == ACTIVATION_QUICK_GELU) return x * sigmoid(1.702f * x);
  if constexpr (KIND == ACTIVATION_GELU) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  return x;
}

template <activation_t KIND> static __device__ __forceinline__ float activate_slope(float x) {
  if constexpr (KIND == ACTIVATION_QUICK_GELU) {
    float s = sigmoid(1.702f * x);
    return s + 1.702f * x * s * (1.0f - s);
  }
  if constexpr (KIND == ACTIVATION_GELU) {
    float density = 0.39894228040143268f * expf(-0.5f * x * x);
    return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) + x * density;
  }
  return 1.0f;
}

/* CALL with the activation as a constant. */
template <class F> static inline status_code_t with_activation(activation_t kind, F &&call) {
  if (kind == ACTIVATION_QUICK_GELU)
    return call(std::integral_constant<activation_t, ACTIVATION_QUICK_GELU>{});
  if (kind == ACTIVATION_GELU) return call(std::integral_constant<activation_t, ACTIVATION_GELU>{});
  return call(std::integral_constant<activation_t, ACTIVATION_NONE>{});
}

#endif
