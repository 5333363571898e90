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

static status_t vocab_sums_plain(device_t *device, const op_vocab_sums_t *op) {
  const vocab_shard_t *shard = &op->shard;
  access_t access = access_begin(device, "vocab_sums");
  vocab_operands(&access, shard);
  reads(&access, "max", op->max, 1, shard->rows, shard->rows);
  access_index(&access, "targets", op->targets, shard->rows, 0, INT32_MAX, false);
  writes(&access, "sums", op->sums, shard->rows, VOCAB_SUMS, VOCAB_SUMS);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < shard->rows; i++) {
    element_t *sums = (element_t *)op->sums + i * VOCAB_SUMS;
    double max = (double)((const element_t *)op->max)[i], sum = 0.0, weighted = 0.0, equal = 0.0;
    for (int64_t j = 0; j < shard->count; j++) {
      double below = vocab_scaled(shard, i, j) - max;
      sum += exp(below);
      weighted += exp(below) * below;
      equal += (element_t)vocab_scaled(shard, i, j) >= ((const element_t *)op->max)[i];
    }
    int64_t target = ((const int32_t *)op->targets)[i] - shard->begin;
    bool here = target >= 0 && target < shard->count;
    sums[0] = (element_t)sum;
    sums[1] = (element_t)weighted;
    sums[2] = (element_t)(here ? vocab_scaled(shard, i, target) - max : 0.0);
    sums[3] = (element_t)equal;
  }
  access_end(&access);
  return STATUS_OK;
}

static status_t vocab_logprob_plain(device_t *device, const op_vocab_logprob_t *op) {
  access_t access = access_begin(device, "vocab_logprob");
  reads(&access, "sums", op->sums, op->rows, VOCAB_SUMS, VOCAB_SUMS);
  writes(&access, "logprob", op->logprob, 1, op->rows, op->rows);
  if (op->entropy) writes(&access, "entropy", op->entropy, 1, op->rows, op->rows);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < op->rows; i++) {
    const element_t *sums = (const element_t *)op->sums + i * VOCAB_SUMS;
    double log_sum = log((double)sums[0]);
    ((element_t *)op->logprob)[i] = (element_t)((double)sums[2] - log_sum);
    if (op->entropy) ((element_t *)op->entropy)[i] = (element_t)(log_sum - (double)sums[1] / (double)sums[0]);
  }
  access_end(&access);
  return STATUS_OK;
}

static status_t vocab_backward_plain(device_t *device, const op_vocab_backward_t *op) {
  const vocab_shard_t *shard = &op->shard;
  access_t access = access_begin(device, "vocab_backward");
  vocab_operands(&access, shard);
  reads(&access, "max", op->max, 1, shard->rows, shard->rows);
  reads(&access, "sums", op->sums, shard->rows, VOCAB_SUMS, VOCAB_SUMS);
  reads(&access, "dlogprob", op->dlogprob, 1, shard->rows, shard->rows);
  access_index(&access, "targets", op->targets, shard->rows, 0, INT32_MAX, false);
  writes(&access, "dlogits", op->dlogits, shard->rows, shard->ld, shard->ld);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < shard->rows; i++) {
    element_t *dlogits = (element_t *)op->dlogits + i * shard->ld;
    double max = (double)((const element_t *)op->max)[i],
           sum = (double)((const element_t *)op->sums)[i * VOCAB_SUMS];
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
  ops->vocab_sums = vocab_sums_plain;
  ops->vocab_logprob = vocab_logprob_plain;
  ops->vocab_backward = vocab_backward_plain;
}
