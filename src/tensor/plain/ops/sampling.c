/* Gumbel-max sampling (Gumbel 1954; Maddison et al. 2014), and the histograms that top-k and top-p cuts are
 * found with. */
#include "tensor/plain/ops/vocab.h"

#include "base/random.h"

#include <math.h>

enum { BUCKETS = 256, BUCKET_BITS = 8, KEY_BITS = 32 };

static uint32_t key_of(const vocab_shard_t *shard, int64_t i, int64_t j) {
  return vocab_key((float)vocab_scaled(shard, i, j));
}

static double gumbel_plain(const op_sample_t *op, int64_t i, int64_t id) {
  const int32_t *halves = (const int32_t *)op->samples + 2 * i;
  uint64_t sample = (uint64_t)(uint32_t)halves[1] << 32 | (uint32_t)halves[0];
  uint64_t place = (uint64_t)(uint32_t)((const int32_t *)op->positions)[i] << 32 | (uint64_t)id;
  return -log(-log(random_open_unit(random_words(op->seed, RANDOM_SAMPLING, sample, place).v[0])));
}

/* Values are compared as they are stored, so that the winner does not depend on how the vocabulary is split.
 */
static void sample_row_plain(const op_sample_t *op, int64_t i) {
  const vocab_shard_t *shard = &op->shard;
  element_t best = -INFINITY;
  int64_t best_id = -1;
  for (int64_t j = 0; j < shard->count; j++) {
    int64_t id = shard->begin + j;
    if (op->cut && key_of(shard, i, j) < ((const uint32_t *)op->cut)[i]) continue;
    element_t value = (element_t)(vocab_scaled(shard, i, j) + (op->greedy ? 0.0 : gumbel_plain(op, i, id)));
    if (best_id >= 0 && !(value > best)) continue;
    best = value;
    best_id = id;
  }
  ((element_t *)op->value)[i] = best;
  ((int32_t *)op->id)[i] = (int32_t)best_id;
}

static status_t sample_plain(device_t *device, const op_sample_t *op) {
  int64_t rows = op->shard.rows;
  access_t access = access_begin(device, "sample");
  vocab_operands(&access, &op->shard);
  if (!op->greedy) {
    access_index(&access, "samples", op->samples, 2 * rows, INT32_MIN, INT32_MAX, false);
    access_index(&access, "positions", op->positions, rows, 0, INT32_MAX, false);
  }
  if (op->cut) access_index(&access, "cut", op->cut, rows, INT32_MIN, INT32_MAX, false);
  writes(&access, "value", op->value, 1, rows, rows);
  access_operand(&access, "id", op->id, sizeof(int32_t), 1, rows, rows, ACCESS_WRITE, NULL);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < rows; i++)
    sample_row_plain(op, i);
  access_end(&access);
  return STATUS_OK;
}

static void histogram_row(const op_vocab_histogram_t *op, int64_t i) {
  const vocab_shard_t *shard = &op->shard;
  double counts[BUCKETS] = {0}, masses[BUCKETS] = {0};
  bool all = op->shift == KEY_BITS - BUCKET_BITS;
  for (int64_t j = 0; j < shard->count; j++) {
    uint32_t key = key_of(shard, i, j) >> op->shift;
    if (!all && key >> BUCKET_BITS != ((const uint32_t *)op->prefix)[i]) continue;
    counts[key & (BUCKETS - 1)] += 1.0;
    masses[key & (BUCKETS - 1)] += exp(vocab_scaled(shard, i, j) - (double)((const element_t *)op->max)[i]);
  }
  for (int64_t b = 0; b < BUCKETS; b++) {
    element_t *bucket = (element_t *)op->histogram + (i * BUCKETS + b) * 2;
    bucket[0] = (element_t)counts[b];
    bucket[1] = (element_t)masses[b];
  }
}

static status_t vocab_histogram_plain(device_t *device, const op_vocab_histogram_t *op) {
  int64_t rows = op->shard.rows;
  access_t access = access_begin(device, "vocab_histogram");
  access_require(&access,
                 op->shift >= 0 && op->shift <= KEY_BITS - BUCKET_BITS && op->shift % BUCKET_BITS == 0,
                 "shift %d, expected 0, 8, 16 or 24", op->shift);
  vocab_operands(&access, &op->shard);
  reads(&access, "max", op->max, 1, rows, rows);
  if (op->shift != KEY_BITS - BUCKET_BITS)
    access_index(&access, "prefix", op->prefix, rows, INT32_MIN, INT32_MAX, false);
  writes(&access, "histogram", op->histogram, rows, (int64_t)BUCKETS * 2, (int64_t)BUCKETS * 2);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < rows; i++)
    histogram_row(op, i);
  access_end(&access);
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_sampling)(ops_t *ops) {
  ops->sample = sample_plain;
  ops->vocab_histogram = vocab_histogram_plain;
}
