/* Derivatives of losses with respect to log-probabilities, values and rewards: a few numbers for each token,
 * in double. */
#include "tensor/cpu/state.h"

#include <math.h>

/* Log-ratios above this one would overflow. */
static const double largest_log_ratio = 700.0;

/* X moved into LOW..HIGH; NaN stays NaN. */
static double loss_clip_cpu(double x, double low, double high) {
  return x < low ? low : x > high ? high : x;
}

/* Where the clipped term is the larger one the clip is active and the derivative zero. Where both are equal
 * it is that of the unclipped term, which inside the interval is the derivative of either. */
static double policy_derivative_cpu(double logprob, double old_logprob, double slope, double clip) {
  double log_ratio = logprob - old_logprob;
  double ratio = exp(log_ratio > largest_log_ratio ? largest_log_ratio : log_ratio);
  double loss = slope * ratio, clipped = slope * loss_clip_cpu(ratio, 1.0 - clip, 1.0 + clip);
  return clipped > loss ? 0.0 : loss;
}

static double value_derivative_cpu(double value, double old_value, double ret, double weight, double clip) {
  double error = value - ret, clipped = loss_clip_cpu(value, old_value - clip, old_value + clip) - ret;
  return clipped * clipped > error * error ? 0.0 : weight * error;
}

/* 1 / (1 + exp(-x)) without overflow. */
static double loss_sigmoid_cpu(double x) {
  double e = exp(-fabs(x));
  return (x >= 0.0 ? 1.0 : e) / (1.0 + e);
}

static status_t policy_loss_cpu(device_t *device, const op_policy_loss_t *op) {
  const float *logprob = (const float *)op->logprob, *old = (const float *)op->old_logprob,
              *slope = (const float *)op->slope;
  (void)device;
  for (int64_t i = 0; i < op->n; i++)
    ((float *)op->dlogprob)[i] =
        (float)policy_derivative_cpu((double)logprob[i], (double)old[i], (double)slope[i], op->clip);
  return STATUS_OK;
}

static status_t value_loss_cpu(device_t *device, const op_value_loss_t *op) {
  const float *value = (const float *)op->value, *old = (const float *)op->old_value,
              *ret = (const float *)op->ret, *weight = (const float *)op->weight;
  (void)device;
  for (int64_t i = 0; i < op->n; i++)
    ((float *)op->dvalue)[i] = (float)value_derivative_cpu((double)value[i], (double)old[i], (double)ret[i],
                                                           (double)weight[i], op->clip);
  return STATUS_OK;
}

/* The group of pairs FIRST .. FIRST + group - 1. */
static void pair_loss_group_cpu(const op_pair_loss_t *op, int64_t first) {
  const float *rewards = (const float *)op->rewards + 2 * first;
  const int32_t *preferred = (const int32_t *)op->preferred + first;
  float *drewards = (float *)op->drewards + 2 * first;
  double sum = 0.0, count = 0.0;
  for (int64_t p = 0; p < op->group; p++) {
    if (preferred[p] < 0) continue;
    sum += (double)rewards[2 * p] + (double)rewards[2 * p + 1];
    count += 1.0;
  }
  double sign = sum > 0.0 ? 1.0 : sum < 0.0 ? -1.0 : 0.0;
  for (int64_t p = 0; p < op->group; p++) {
    double gap = (double)rewards[2 * p + 1] - (double)rewards[2 * p];
    double dgap = preferred[p] == 1 ? -loss_sigmoid_cpu(-gap) : loss_sigmoid_cpu(gap);
    bool used = preferred[p] >= 0;
    drewards[2 * p] = used ? (float)(op->weight * (op->center_coef * sign - dgap) / count) : 0;
    drewards[2 * p + 1] = used ? (float)(op->weight * (op->center_coef * sign + dgap) / count) : 0;
  }
}

static status_t pair_loss_cpu(device_t *device, const op_pair_loss_t *op) {
  (void)device;
  for (int64_t p = 0; p < op->pairs; p += op->group)
    pair_loss_group_cpu(op, p);
  return STATUS_OK;
}

void cpu_fill_loss(ops_t *ops) {
  ops->policy_loss = policy_loss_cpu;
  ops->value_loss = value_loss_cpu;
  ops->pair_loss = pair_loss_cpu;
}
