/* Operations on a shard of the vocabulary. */
#include "tensor/cpu/state.h"

#include <math.h>

/* Nanoseconds per logit, for the work threshold. */
static const double max_cost = 0.1, exp_cost = 0.5, sample_cost = 5.0, histogram_cost = 2.0;

static double vocab_work_of_cpu(const vocab_shard_t *shard, double cost) {
  return (double)shard->rows * (double)shard->count * cost;
}

static status_t vocab_max_cpu(device_t *device, const op_vocab_max_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.vocab_max, op, op->shard.rows, 1, vocab_work_of_cpu(&op->shard, max_cost));
  return STATUS_OK;
}

static status_t vocab_sums_cpu(device_t *device, const op_vocab_sums_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.vocab_sums, op, op->shard.rows, 1, vocab_work_of_cpu(&op->shard, exp_cost));
  return STATUS_OK;
}

static status_t vocab_logprob_cpu(device_t *device, const op_vocab_logprob_t *op) {
  (void)device;
  for (int64_t r = 0; r < op->rows; r++) {
    const float *sums = (const float *)op->sums + VOCAB_SUMS * r;
    double log_sum = log((double)sums[0]);
    ((float *)op->logprob)[r] = (float)((double)sums[2] - log_sum);
    if (op->entropy) ((float *)op->entropy)[r] = (float)(log_sum - (double)sums[1] / (double)sums[0]);
  }
  return STATUS_OK;
}

static status_t vocab_backward_cpu(device_t *device, const op_vocab_backward_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.vocab_backward, op, op->shard.rows, 1,
          vocab_work_of_cpu(&op->shard, exp_cost));
  return STATUS_OK;
}

static status_t vocab_histogram_cpu(device_t *device, const op_vocab_histogram_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.vocab_histogram, op, op->shard.rows, 1,
          vocab_work_of_cpu(&op->shard, histogram_cost));
  return STATUS_OK;
}

static status_t sample_cpu(device_t *device, const op_sample_t *op) {
  cpu_state_t *state = cpu_state(device);
  TRY(cpu_scratch(state, op->shard.count + 1));
  cpu_for(state, state->kernels.sample, op, op->shard.rows, 1, vocab_work_of_cpu(&op->shard, sample_cost));
  return STATUS_OK;
}

void cpu_fill_vocab(ops_t *ops) {
  ops->vocab_max = vocab_max_cpu;
  ops->vocab_sums = vocab_sums_cpu;
  ops->vocab_logprob = vocab_logprob_cpu;
  ops->vocab_backward = vocab_backward_cpu;
  ops->vocab_histogram = vocab_histogram_cpu;
  ops->sample = sample_cpu;
}
