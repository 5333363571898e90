/* Operations on a shard of the vocabulary. */
#include "tensor/cpu/state.h"

#include <math.h>

/* Nanoseconds per logit, for the work threshold. */
static const double max_cost = 0.1, exp_cost = 0.5, greedy_cost = 0.2, sample_cost = 5.0,
                    histogram_cost = 2.0;

enum { KEY_BITS = 32, BUCKET_BITS = 8 };

static double vocab_work_of_cpu(const vocab_shard_t *shard, double cost) {
  return (double)shard->rows * (double)shard->count * cost;
}

static status_t vocab_max_cpu(device_t *device, const op_vocab_max_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.vocab_max, op, op->shard.rows, 1, vocab_work_of_cpu(&op->shard, max_cost));
  return STATUS_OK;
}

static status_t vocab_statistics_cpu(device_t *device, const op_vocab_statistics_t *op) {
  cpu_state_t *state = cpu_state(device);
  double cost = max_cost + exp_cost + (op->targets ? 0.0 : op->draw->greedy ? greedy_cost : sample_cost);
  if (op->draw) TRY(cpu_scratch(state, op->shard.count + 1));
  cpu_for(state, state->kernels.vocab_statistics, op, op->shard.rows, 1, vocab_work_of_cpu(&op->shard, cost));
  return STATUS_OK;
}

static const float *combined_record(const op_vocab_combine_t *op, int64_t shard, int64_t r) {
  return (const float *)op->records + (shard * op->rows + r) * VOCAB_RECORD;
}

static void combine_row_cpu(const op_vocab_combine_t *op, int64_t r) {
  double max = -INFINITY, sum = 0.0, weighted = 0.0, equal = 0.0, below = NAN;
  float best = -INFINITY, id = -1.0f;
  for (int64_t s = 0; s < op->shards; s++)
    max = fmax(max, (double)combined_record(op, s, r)[VOCAB_RECORD_MAX]);
  for (int64_t s = 0; s < op->shards; s++) {
    const float *record = combined_record(op, s, r);
    double part = (double)record[VOCAB_RECORD_SUM], gap = (double)record[VOCAB_RECORD_MAX] - max;
    if (part == 0.0) continue; /* it has no ids, or none that is possible */
    double share = exp(gap);
    sum += share * part;
    weighted += share * ((double)record[VOCAB_RECORD_WEIGHTED] + gap * part);
    if (gap == 0.0) equal += (double)record[VOCAB_RECORD_EQUAL];
    if (record[VOCAB_RECORD_ID] < 0.0f || (id >= 0.0f && !(record[VOCAB_RECORD_VALUE] > best))) continue;
    id = record[VOCAB_RECORD_ID];
    best = record[VOCAB_RECORD_VALUE];
    below = (double)record[VOCAB_RECORD_BELOW] + gap;
  }
  double log_sum = log(sum);
  float logprob = (float)(below - log_sum);
  ((float *)op->logprob)[r] = logprob;
  if (op->entropy) ((float *)op->entropy)[r] = (float)(log_sum - weighted / sum);
  if (op->tokens) ((int32_t *)op->tokens)[r] = isfinite(logprob) ? (int32_t)id : -1;
  if (op->ties) ((float *)op->ties)[r] = (double)best >= max ? (float)equal : 0.0f;
  if (!op->normaliser) return;
  ((float *)op->normaliser)[2 * r] = (float)max;
  ((float *)op->normaliser)[2 * r + 1] = (float)sum;
}

static status_t vocab_combine_cpu(device_t *device, const op_vocab_combine_t *op) {
  (void)device;
  for (int64_t r = 0; r < op->rows; r++)
    combine_row_cpu(op, r);
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

/* Mass of the buckets from BEGIN on. */
static double walk_mass(const float *histogram, int begin) {
  double mass = 0.0;
  for (int b = VOCAB_BUCKETS - 1; b >= begin; b--)
    mass += (double)histogram[2 * b + 1];
  return mass;
}

static void walk_row_cpu(const op_vocab_walk_t *op, int64_t r) {
  const float *histogram = (const float *)op->histogram + r * VOCAB_BUCKETS * 2;
  const float *measure = op->ids > 0 ? histogram : histogram + 1;
  float *state = (float *)op->state + VOCAB_WALK * r;
  uint32_t *prefix = (uint32_t *)op->prefix + r, *cut = (uint32_t *)op->cut + r;
  double target = (double)state[0], above = (double)state[1], mass = (double)state[2];
  if (op->shift == KEY_BITS - BUCKET_BITS) {
    target = op->ids > 0 ? op->ids : op->share * (op->first ? walk_mass(histogram, 0) : mass);
    above = mass = 0.0;
    *prefix = 0;
  }
  int bucket = 0;
  double reached = above;
  for (int b = VOCAB_BUCKETS - 1; b >= 0; b--) {
    if (measure[2 * b] <= 0.0f) continue;
    bucket = b;
    above = reached;
    reached += (double)measure[2 * b];
    if (reached >= target) break;
  }
  *prefix = *prefix << BUCKET_BITS | (uint32_t)bucket;
  /* The cut's own bucket (ties of one key) belongs to what is kept. */
  mass += walk_mass(histogram, op->shift == 0 ? bucket : bucket + 1);
  state[0] = (float)target;
  state[1] = (float)above;
  state[2] = (float)mass;
  if (op->shift == 0) *cut = op->first || *prefix > *cut ? *prefix : *cut;
}

static status_t vocab_walk_cpu(device_t *device, const op_vocab_walk_t *op) {
  (void)device;
  for (int64_t r = 0; r < op->rows; r++)
    walk_row_cpu(op, r);
  return STATUS_OK;
}

void cpu_fill_vocab(ops_t *ops) {
  ops->vocab_max = vocab_max_cpu;
  ops->vocab_statistics = vocab_statistics_cpu;
  ops->vocab_combine = vocab_combine_cpu;
  ops->vocab_backward = vocab_backward_cpu;
  ops->vocab_histogram = vocab_histogram_cpu;
  ops->vocab_walk = vocab_walk_cpu;
}
