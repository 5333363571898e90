/* The activations and their derivatives, in fp32. */
#ifndef CUDA_ACTIVATION_H
#define CUDA_ACTIVATION_H

#include "cuda/kernel.h"

static __device__ __forceinline__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

/* With a hyperbolic tangent, GELU is x sigmoid(z), z = 2 sqrt(2 / pi) (x + 0.044715 x^3). */
static constexpr float GELU_SCALE = 1.5957691216057308f, GELU_CUBE = 0.044715f;

/* Quick-GELU: x sigmoid(1.702 x). GELU: x Phi(x), with the error function. */
template <activation_t KIND> static __device__ __forceinline__ float activate(float x) {
  if constexpr (KIND == ACTIVATION_QUICK_GELU) return x * sigmoid(1.702f * x);
  if constexpr (KIND == ACTIVATION_GELU) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  if constexpr (KIND == ACTIVATION_GELU_TANH) return x * sigmoid(GELU_SCALE * (x + GELU_CUBE * x * x * x));
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
  if constexpr (KIND == ACTIVATION_GELU_TANH) {
    float s = sigmoid(GELU_SCALE * (x + GELU_CUBE * x * x * x));
    return s + x * s * (1.0f - s) * GELU_SCALE * (1.0f + 3.0f * GELU_CUBE * x * x);
  }
  return 1.0f;
}

/* CALL with the activation as a constant. */
template <class F> static inline status_code_t with_activation(activation_t kind, F &&call) {
  if (kind == ACTIVATION_QUICK_GELU)
    return call(std::integral_constant<activation_t, ACTIVATION_QUICK_GELU>{});
  if (kind == ACTIVATION_GELU) return call(std::integral_constant<activation_t, ACTIVATION_GELU>{});
  if (kind == ACTIVATION_GELU_TANH) return call(std::integral_constant<activation_t, ACTIVATION_GELU_TANH>{});
  return call(std::integral_constant<activation_t, ACTIVATION_NONE>{});
}

#endif
