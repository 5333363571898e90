/* Derivatives of losses, in double: a few numbers for each token, bound by the launch. */
#include "cuda/kernel.h"

enum { LOSS_THREADS = 128 };

/* X moved into LOW..HIGH; NaN stays NaN. */
static __device__ __forceinline__ double loss_clip(double x, double low, double high) {
  return x < low ? low : x > high ? high : x;
}

/* The derivative is zero where the clipped term is the larger one; log-ratios above the largest would
 * overflow what is stored. */
static __global__ void __launch_bounds__(LOSS_THREADS)
    policy_loss_kernel(int64_t n, const float *logprob, const float *old_logprob, const float *slope,
                       double clip, float *dlogprob) {
  kernel_begin();
  const double largest_log_ratio = 700.0, largest = 3.4028234e38;
  const int64_t i = (int64_t)blockIdx.x * LOSS_THREADS + threadIdx.x;
  if (i >= n) return;
  const double log_ratio = (double)logprob[i] - (double)old_logprob[i];
  const double ratio = exp(log_ratio > largest_log_ratio ? largest_log_ratio : log_ratio);
  const double by = (double)slope[i], loss = by * ratio;
  const double clipped = by * loss_clip(ratio, 1.0 - clip, 1.0 + clip);
  dlogprob[i] = clipped > loss ? 0.0f : (float)loss_clip(loss, -largest, largest);
}

static status_code_t policy_loss_cuda(device_t *device, const op_policy_loss_t *op) {
  return launch(device, "policy_loss", launch_over(op->n, LOSS_THREADS, LOSS_THREADS), policy_loss_kernel,
                op->n, wide(op->logprob), wide(op->old_logprob), wide(op->slope), op->clip,
                wide(op->dlogprob));
}

static __global__ void __launch_bounds__(LOSS_THREADS)
    value_loss_kernel(int64_t n, const float *value, const float *old_value, const float *ret,
                      const float *weight, double clip, float *dvalue) {
  kernel_begin();
  const int64_t i = (int64_t)blockIdx.x * LOSS_THREADS + threadIdx.x;
  if (i >= n) return;
  const double error = (double)value[i] - (double)ret[i], old = (double)old_value[i];
  const double clipped = loss_clip((double)value[i], old - clip, old + clip) - (double)ret[i];
  dvalue[i] = clipped * clipped > error * error ? 0.0f : (float)((double)weight[i] * error);
}

static status_code_t value_loss_cuda(device_t *device, const op_value_loss_t *op) {
  return launch(device, "value_loss", launch_over(op->n, LOSS_THREADS, LOSS_THREADS), value_loss_kernel,
                op->n, wide(op->value), wide(op->old_value), wide(op->ret), wide(op->weight), op->clip,
                wide(op->dvalue));
}

/* 1 / (1 + exp(-x)) without overflow. */
static __device__ __forceinline__ double loss_sigmoid(double x) {
  const double e = exp(-fabs(x));
  return (x >= 0.0 ? 1.0 : e) / (1.0 + e);
}

/* A thread for each group of pairs. */
static __global__ void __launch_bounds__(LOSS_THREADS)
    pair_loss_kernel(int64_t groups, int64_t group, const float *rewards, const int32_t *preferred,
                     double center_coef, double weight, float *drewards) {
  kernel_begin();
  const int64_t g = (int64_t)blockIdx.x * LOSS_THREADS + threadIdx.x, first = g * group;
  if (g >= groups) return;
  double sum = 0.0, count = 0.0;
  for (int64_t p = first; p < first + group; p++) {
    if (preferred[p] < 0) continue;
    sum += (double)rewards[2 * p] + (double)rewards[2 * p + 1];
    count += 1.0;
  }
  const double sign = sum > 0.0 ? 1.0 : sum < 0.0 ? -1.0 : 0.0;
  for (int64_t p = first; p < first + group; p++) {
    const double gap = (double)rewards[2 * p + 1] - (double)rewards[2 * p];
    const double dgap = preferred[p] == 1 ? -loss_sigmoid(-gap) : loss_sigmoid(gap);
    const bool used = preferred[p] >= 0;
    drewards[2 * p] = used ? (float)(weight * (center_coef * sign - dgap) / count) : 0.0f;
    drewards[2 * p + 1] = used ? (float)(weight * (center_coef * sign + dgap) / count) : 0.0f;
  }
}

static status_code_t pair_loss_cuda(device_t *device, const op_pair_loss_t *op) {
  if (op->pairs <= 0) return STATUS_OK;
  const int64_t groups = op->pairs / op->group;
  return launch(device, "pair_loss", launch_over(groups, LOSS_THREADS, LOSS_THREADS), pair_loss_kernel,
                groups, op->group, wide(op->rewards), indices(op->preferred), op->center_coef, op->weight,
                wide(op->drewards));
}

void cuda_fill_loss(ops_t *ops) {
  ops->policy_loss = policy_loss_cuda;
  ops->value_loss = value_loss_cuda;
  ops->pair_loss = pair_loss_cuda;
}
