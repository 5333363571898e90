/* Log-probabilities and entropies over a vocabulary that may be split, and their gradient. */
#include "tensor/plain/ops/vocab.h"

#include <math.h>

static status_t vocab_max_plain(device_t *device, const op_vocab_max_t *op) {
  access_t access = access_begin(device, "vocab_max");
  vocab_operands(&access, &op->shard);
  writes(&access, "max", op->max, 1, op->shard.rows, op->shard.rows);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < op->shard.rows; i++) {
    double max = -INFINITY;
    for (int64_t j = 0; j < op->shard.count; j++)
      max = fmax(max, vocab_scaled(&op->shard, i, j));
    ((element_t *)op->max)[i] = (element_t)max;
  }
  access_end(&access);
  return STATUS_OK;
}

/* The target of row I that was given, where it is in this shard. */
static vocab_winner_t vocab_given(const op_vocab_statistics_t *op, int64_t i) {
  int64_t target = ((const int32_t *)op->targets)[i], place = target - op->shard.begin;
  if (place < 0 || place >= op->shard.count) return (vocab_winner_t){-1, (element_t)-INFINITY};
  return (vocab_winner_t){target, (element_t)vocab_scaled(&op->shard, i, place)};
}

static void vocab_record_row(const op_vocab_statistics_t *op, int64_t i) {
  const vocab_shard_t *shard = &op->shard;
  element_t *record = (element_t *)op->records + i * VOCAB_RECORD, max = (element_t)-INFINITY;
  double sum = 0.0, weighted = 0.0, equal = 0.0;
  for (int64_t j = 0; j < shard->count; j++)
    max = (element_t)fmax((double)max, vocab_scaled(shard, i, j));
  for (int64_t j = 0; j < shard->count; j++) {
    double z = vocab_scaled(shard, i, j), below = z - (double)max;
    equal += (element_t)z >= max;
    if (z == -INFINITY) continue;
    sum += exp(below);
    weighted += exp(below) * below;
  }
  vocab_winner_t target = op->targets ? vocab_given(op, i) : PLAIN_NAME(plain_draw)(op->draw, shard, i);
  bool here = target.id >= 0;
  record[VOCAB_RECORD_MAX] = max;
  record[VOCAB_RECORD_SUM] = (element_t)sum;
  record[VOCAB_RECORD_WEIGHTED] = (element_t)weighted;
  record[VOCAB_RECORD_EQUAL] = (element_t)equal;
  record[VOCAB_RECORD_BELOW] =
      here ? (element_t)(vocab_scaled(shard, i, target.id - shard->begin) - (double)max) : 0;
  record[VOCAB_RECORD_VALUE] = target.value;
  record[VOCAB_RECORD_ID] = (element_t)target.id;
}

static status_t vocab_statistics_plain(device_t *device, const op_vocab_statistics_t *op) {
  const vocab_shard_t *shard = &op->shard;
  access_t access = access_begin(device, "vocab_statistics");
  vocab_operands(&access, shard);
  access_require(&access, !op->targets != !op->draw, "either targets or how to draw them are expected");
  access_require(&access, shard->begin + shard->count <= VOCAB_IDS_MAX, "ids up to %lld, expected below %d",
                 (long long)(shard->begin + shard->count), VOCAB_IDS_MAX);
  if (op->targets) access_index(&access, "targets", op->targets, shard->rows, 0, INT32_MAX, false);
  if (op->draw) PLAIN_NAME(plain_draw_operands)(&access, op->draw, shard->rows);
  writes(&access, "records", op->records, shard->rows, VOCAB_RECORD, VOCAB_RECORD);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < shard->rows; i++)
    vocab_record_row(op, i);
  access_end(&access);
  return STATUS_OK;
}

/* What all shards together know of a row; target_value -inf and id -1: none has the target. */
typedef struct {
  double max, sum, weighted, equal, target_below, target_value;
  int64_t id;
} vocab_whole_t;

static const element_t *vocab_record_of(const op_vocab_combine_t *op, int64_t shard, int64_t i) {
  return (const element_t *)op->records + (shard * op->rows + i) * VOCAB_RECORD;
}

static vocab_whole_t vocab_combine_row(const op_vocab_combine_t *op, int64_t i) {
  vocab_whole_t whole = {.max = -INFINITY, .target_below = NAN, .target_value = -INFINITY, .id = -1};
  for (int64_t s = 0; s < op->shards; s++)
    whole.max = fmax(whole.max, (double)vocab_record_of(op, s, i)[VOCAB_RECORD_MAX]);
  for (int64_t s = 0; s < op->shards; s++) {
    const element_t *record = vocab_record_of(op, s, i);
    double sum = (double)record[VOCAB_RECORD_SUM], value = (double)record[VOCAB_RECORD_VALUE];
    if (sum == 0.0) continue; /* it has no ids, or none that is possible */
    double below = (double)record[VOCAB_RECORD_MAX] - whole.max;
    whole.sum += exp(below) * sum;
    whole.weighted += exp(below) * ((double)record[VOCAB_RECORD_WEIGHTED] + below * sum);
    if (below == 0.0) whole.equal += (double)record[VOCAB_RECORD_EQUAL];
    if (record[VOCAB_RECORD_ID] < 0 || (whole.id >= 0 && !(value > whole.target_value))) continue;
    whole.id = (int64_t)record[VOCAB_RECORD_ID];
    whole.target_value = value;
    whole.target_below = (double)record[VOCAB_RECORD_BELOW] + below;
  }
  return whole;
}

static void vocab_write_row(const op_vocab_combine_t *op, int64_t i, const vocab_whole_t *whole) {
  double log_sum = log(whole->sum);
  element_t logprob = (element_t)(whole->target_below - log_sum);
  ((element_t *)op->logprob)[i] = logprob;
  if (op->entropy) ((element_t *)op->entropy)[i] = (element_t)(log_sum - whole->weighted / whole->sum);
  if (op->tokens) ((int32_t *)op->tokens)[i] = isfinite(logprob) ? (int32_t)whole->id : -1;
  if (op->ties)
    ((element_t *)op->ties)[i] = (element_t)(whole->target_value >= whole->max ? whole->equal : 0.0);
  if (!op->normaliser) return;
  ((element_t *)op->normaliser)[2 * i] = (element_t)whole->max;
  ((element_t *)op->normaliser)[2 * i + 1] = (element_t)whole->sum;
}

static status_t vocab_combine_plain(device_t *device, const op_vocab_combine_t *op) {
  access_t access = access_begin(device, "vocab_combine");
  access_require(&access, op->shards >= 1, "%lld shards, expected at least one", (long long)op->shards);
  reads(&access, "records", op->records, op->shards * op->rows, VOCAB_RECORD, VOCAB_RECORD);
  writes(&access, "logprob", op->logprob, 1, op->rows, op->rows);
  if (op->entropy) writes(&access, "entropy", op->entropy, 1, op->rows, op->rows);
  if (op->ties) writes(&access, "ties", op->ties, 1, op->rows, op->rows);
  if (op->normaliser) writes(&access, "normaliser", op->normaliser, op->rows, 2, 2);
  if (op->tokens)
    access_operand(&access, "tokens", op->tokens, sizeof(int32_t), 1, op->rows, op->rows, ACCESS_WRITE, NULL);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < op->rows; i++) {
    vocab_whole_t whole = vocab_combine_row(op, i);
    vocab_write_row(op, i, &whole);
  }
  access_end(&access);
  return STATUS_OK;
}

static status_t vocab_backward_plain(device_t *device, const op_vocab_backward_t *op) {
  const vocab_shard_t *shard = &op->shard;
  access_t access = access_begin(device, "vocab_backward");
  vocab_operands(&access, shard);
  reads(&access, "normaliser", op->normaliser, shard->rows, 2, 2);
  reads(&access, "dlogprob", op->dlogprob, 1, shard->rows, shard->rows);
  access_index(&access, "targets", op->targets, shard->rows, 0, INT32_MAX, false);
  writes(&access, "dlogits", op->dlogits, shard->rows, shard->ld, shard->ld);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < shard->rows; i++) {
    element_t *dlogits = (element_t *)op->dlogits + i * shard->ld;
    double max = (double)((const element_t *)op->normaliser)[2 * i],
           sum = (double)((const element_t *)op->normaliser)[2 * i + 1];
    double grad = (double)((const element_t *)op->dlogprob)[i] * shard->scale;
    int64_t target = ((const int32_t *)op->targets)[i] - shard->begin;
    for (int64_t j = 0; j < shard->count; j++) {
      double p = exp(vocab_scaled(shard, i, j) - max) / sum;
      dlogits[j] = (element_t)(grad * ((j == target ? 1.0 : 0.0) - p));
    }
    for (int64_t j = shard->count; j < shard->ld; j++)
      dlogits[j] = 0;
  }
  access_end(&access);
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_vocab)(ops_t *ops) {
  ops->vocab_max = vocab_max_plain;
  ops->vocab_statistics = vocab_statistics_plain;
  ops->vocab_combine = vocab_combine_plain;
  ops->vocab_backward = vocab_backward_plain;
}
