/* Derivatives of losses with respect to log-probabilities, values and rewards, in double. */
#include "tensor/plain/ops/element.h"

#include <math.h>

/* Log-ratios above this one would overflow. */
static const double largest_log_ratio = 700.0;

/* X moved into LOW..HIGH; NaN stays NaN. */
static double loss_clip(double x, double low, double high) {
  return x < low ? low : x > high ? high : x;
}

/* Where the clipped term is the larger one the clip is active and the derivative zero. Where both are equal
 * it is that of the unclipped term, which inside the interval is the derivative of either. */
static double policy_derivative(double logprob, double old_logprob, double slope, double clip) {
  double log_ratio = logprob - old_logprob;
  double ratio = exp(log_ratio > largest_log_ratio ? largest_log_ratio : log_ratio);
  double loss = slope * ratio, clipped = slope * loss_clip(ratio, 1.0 - clip, 1.0 + clip);
  return clipped > loss ? 0.0 : loss;
}

static double value_derivative(double value, double old_value, double ret, double weight, double clip) {
  double error = value - ret, clipped = loss_clip(value, old_value - clip, old_value + clip) - ret;
  return clipped * clipped > error * error ? 0.0 : weight * error;
}

/* 1 / (1 + exp(-x)) without overflow. */
static double loss_sigmoid(double x) {
  double e = exp(-fabs(x));
  return (x >= 0.0 ? 1.0 : e) / (1.0 + e);
}

static status_t policy_loss_plain(device_t *device, const op_policy_loss_t *op) {
  access_t access = access_begin(device, "policy_loss");
  reads(&access, "logprob", op->logprob, 1, op->n, op->n);
  reads(&access, "old_logprob", op->old_logprob, 1, op->n, op->n);
  reads(&access, "slope", op->slope, 1, op->n, op->n);
  writes(&access, "dlogprob", op->dlogprob, 1, op->n, op->n);
  TRY(access_ready(&access));
  const element_t *logprob = (const element_t *)op->logprob, *old = (const element_t *)op->old_logprob,
                  *slope = (const element_t *)op->slope;
  for (int64_t i = 0; i < op->n; i++)
    ((element_t *)op->dlogprob)[i] =
        (element_t)policy_derivative((double)logprob[i], (double)old[i], (double)slope[i], op->clip);
  access_end(&access);
  return STATUS_OK;
}

static status_t value_loss_plain(device_t *device, const op_value_loss_t *op) {
  access_t access = access_begin(device, "value_loss");
  reads(&access, "value", op->value, 1, op->n, op->n);
  reads(&access, "old_value", op->old_value, 1, op->n, op->n);
  reads(&access, "ret", op->ret, 1, op->n, op->n);
  reads(&access, "weight", op->weight, 1, op->n, op->n);
  writes(&access, "dvalue", op->dvalue, 1, op->n, op->n);
  TRY(access_ready(&access));
  const element_t *value = (const element_t *)op->value, *old = (const element_t *)op->old_value,
                  *ret = (const element_t *)op->ret, *weight = (const element_t *)op->weight;
  for (int64_t i = 0; i < op->n; i++)
    ((element_t *)op->dvalue)[i] = (element_t)value_derivative((double)value[i], (double)old[i],
                                                               (double)ret[i], (double)weight[i], op->clip);
  access_end(&access);
  return STATUS_OK;
}

/* The group of pairs FIRST .. FIRST + group - 1. */
static void pair_loss_group(const op_pair_loss_t *op, int64_t first) {
  const element_t *rewards = (const element_t *)op->rewards + 2 * first;
  const int32_t *preferred = (const int32_t *)op->preferred + first;
  element_t *drewards = (element_t *)op->drewards + 2 * first;
  double sum = 0.0, count = 0.0;
  for (int64_t p = 0; p < op->group; p++) {
    if (preferred[p] < 0) continue;
    sum += (double)rewards[2 * p] + (double)rewards[2 * p + 1];
    count += 1.0;
  }
  double sign = sum > 0.0 ? 1.0 : sum < 0.0 ? -1.0 : 0.0;
  for (int64_t p = 0; p < op->group; p++) {
    double gap = (double)rewards[2 * p + 1] - (double)rewards[2 * p];
    double dgap = preferred[p] == 1 ? -loss_sigmoid(-gap) : loss_sigmoid(gap);
    bool used = preferred[p] >= 0;
    drewards[2 * p] = used ? (element_t)(op->weight * (op->center_coef * sign - dgap) / count) : 0;
    drewards[2 * p + 1] = used ? (element_t)(op->weight * (op->center_coef * sign + dgap) / count) : 0;
  }
}

static status_t pair_loss_plain(device_t *device, const op_pair_loss_t *op) {
  access_t access = access_begin(device, "pair_loss");
  access_require(&access, op->group > 0 && op->pairs % op->group == 0,
                 "%lld pairs in groups of %lld, expected whole groups", (long long)op->pairs,
                 (long long)op->group);
  reads(&access, "rewards", op->rewards, op->pairs, 2, 2);
  access_index(&access, "preferred", op->preferred, op->pairs, -1, 1, false);
  writes(&access, "drewards", op->drewards, op->pairs, 2, 2);
  TRY(access_ready(&access));
  for (int64_t p = 0; p < op->pairs; p += op->group)
    pair_loss_group(op, p);
  access_end(&access);
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_loss)(ops_t *ops) {
  ops->policy_loss = policy_loss_plain;
  ops->value_loss = value_loss_plain;
  ops->pair_loss = pair_loss_plain;
}
