/* Gumbel-max sampling (Gumbel 1954; Maddison et al. 2014), and the histograms that top-k and top-p cuts are
 * found with. */
#include "tensor/plain/ops/vocab.h"

#include "base/random.h"

#include <math.h>

enum { BUCKET_BITS = 8, KEY_BITS = 32 };

static uint32_t key_of(const vocab_shard_t *shard, int64_t i, int64_t j) {
  return vocab_key((float)vocab_scaled(shard, i, j));
}

static double gumbel_plain(const vocab_draw_t *draw, int64_t i, int64_t id) {
  const int32_t *halves = (const int32_t *)draw->samples + 2 * i;
  uint64_t sample = (uint64_t)(uint32_t)halves[1] << 32 | (uint32_t)halves[0];
  uint64_t place = (uint64_t)(uint32_t)((const int32_t *)draw->positions)[i] << 32 | (uint64_t)id;
  return -log(-log(random_open_unit(random_words(draw->seed, RANDOM_SAMPLING, sample, place).v[0])));
}

/* Values are compared as they are stored, so that the winner does not depend on how the vocabulary is split.
 */
vocab_winner_t PLAIN_NAME(plain_draw)(const vocab_draw_t *draw, const vocab_shard_t *shard, int64_t i) {
  vocab_winner_t best = {-1, (element_t)-INFINITY};
  for (int32_t r = 0; r < vocab_range_count(&draw->ids); r++) {
    int64_t begin, end;
    vocab_range_places(shard, &draw->ids, r, &begin, &end);
    for (int64_t j = begin; j < end; j++) {
      int64_t id = shard->begin + j;
      if (draw->cut && key_of(shard, i, j) < ((const uint32_t *)draw->cut)[i]) continue;
      double noise = draw->greedy ? 0.0 : gumbel_plain(draw, i, id);
      element_t value = (element_t)(vocab_scaled(shard, i, j) + noise);
      if (value > best.value) best = (vocab_winner_t){id, value};
    }
  }
  return best;
}

/* Runs of ids that ascend and do not meet. */
static void ranges_require(access_t *access, const vocab_ids_t *ids) {
  access_require(access, ids->count >= 0 && ids->count <= VOCAB_RANGES, "%d runs of ids, expected at most %d",
                 ids->count, VOCAB_RANGES);
  for (int32_t r = 0; r < ids->count && r < VOCAB_RANGES; r++)
    access_require(access,
                   ids->range[r].begin < ids->range[r].end &&
                       (r == 0 ? ids->range[r].begin >= 0 : ids->range[r].begin >= ids->range[r - 1].end),
                   "run %d of ids is %d..%d, expected one that is not empty behind the one before", r,
                   ids->range[r].begin, ids->range[r].end);
}

void PLAIN_NAME(plain_draw_operands)(access_t *access, const vocab_draw_t *draw, int64_t rows) {
  ranges_require(access, &draw->ids);
  if (!draw->greedy) {
    access_index(access, "samples", draw->samples, 2 * rows, INT32_MIN, INT32_MAX, false);
    access_index(access, "positions", draw->positions, rows, 0, INT32_MAX, false);
  }
  if (draw->cut) access_index(access, "cut", draw->cut, rows, INT32_MIN, INT32_MAX, false);
}

/* Adds the ids at places BEGIN .. END-1 to the row's buckets. */
static void histogram_range(const op_vocab_histogram_t *op, int64_t i, int64_t begin, int64_t end,
                            double *counts, double *masses) {
  bool all = op->shift == KEY_BITS - BUCKET_BITS;
  for (int64_t j = begin; j < end; j++) {
    uint32_t key = key_of(&op->shard, i, j) >> op->shift;
    if (!all && key >> BUCKET_BITS != ((const uint32_t *)op->prefix)[i]) continue;
    counts[key & (VOCAB_BUCKETS - 1)] += 1.0;
    masses[key & (VOCAB_BUCKETS - 1)] +=
        exp(vocab_scaled(&op->shard, i, j) - (double)((const element_t *)op->max)[i]);
  }
}

static void histogram_row(const op_vocab_histogram_t *op, int64_t i) {
  double counts[VOCAB_BUCKETS] = {0}, masses[VOCAB_BUCKETS] = {0};
  for (int32_t r = 0; r < vocab_range_count(op->ids); r++) {
    int64_t begin, end;
    vocab_range_places(&op->shard, op->ids, r, &begin, &end);
    histogram_range(op, i, begin, end, counts, masses);
  }
  for (int64_t b = 0; b < VOCAB_BUCKETS; b++) {
    element_t *bucket = (element_t *)op->histogram + (i * VOCAB_BUCKETS + b) * 2;
    bucket[0] = (element_t)counts[b];
    bucket[1] = (element_t)masses[b];
  }
}

static void shift_require(access_t *access, int32_t shift) {
  access_require(access, shift >= 0 && shift <= KEY_BITS - BUCKET_BITS && shift % BUCKET_BITS == 0,
                 "shift %d, expected 0, 8, 16 or 24", shift);
}

static status_t vocab_histogram_plain(device_t *device, const op_vocab_histogram_t *op) {
  int64_t rows = op->shard.rows;
  access_t access = access_begin(device, "vocab_histogram");
  shift_require(&access, op->shift);
  vocab_operands(&access, &op->shard);
  if (op->ids) ranges_require(&access, op->ids);
  reads(&access, "max", op->max, 1, rows, rows);
  if (op->shift != KEY_BITS - BUCKET_BITS)
    access_index(&access, "prefix", op->prefix, rows, INT32_MIN, INT32_MAX, false);
  writes(&access, "histogram", op->histogram, rows, (int64_t)VOCAB_BUCKETS * 2, (int64_t)VOCAB_BUCKETS * 2);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < rows; i++)
    histogram_row(op, i);
  access_end(&access);
  return STATUS_OK;
}

/* The bucket in which the measure (COLUMN of the row's HISTOGRAM) reaches TARGET from *ABOVE on, or the
 * lowest that is not empty; *ABOVE becomes what lies above it. */
static int64_t walk_find(const element_t *histogram, int column, double target, double *above) {
  double reached = *above;
  int64_t bucket = 0;
  for (int64_t b = VOCAB_BUCKETS - 1; b >= 0; b--) {
    double measure = (double)histogram[2 * b + column];
    if (measure <= 0.0) continue;
    bucket = b;
    *above = reached;
    if (reached + measure >= target) break;
    reached += measure;
  }
  return bucket;
}

static double walk_mass(const element_t *histogram, int64_t begin) {
  double mass = 0.0;
  for (int64_t b = VOCAB_BUCKETS - 1; b >= begin; b--)
    mass += (double)histogram[2 * b + 1];
  return mass;
}

static void walk_row(const op_vocab_walk_t *op, int64_t i) {
  const element_t *histogram = (const element_t *)op->histogram + i * VOCAB_BUCKETS * 2;
  element_t *state = (element_t *)op->state + i * VOCAB_WALK;
  uint32_t *prefix = (uint32_t *)op->prefix + i, *cut = (uint32_t *)op->cut + i;
  bool begins = op->shift == KEY_BITS - BUCKET_BITS;
  double target = begins ? (double)op->ids : (double)state[0];
  if (begins && op->ids == 0) target = op->share * (op->first ? walk_mass(histogram, 0) : (double)state[2]);
  double above = begins ? 0.0 : (double)state[1], mass = begins ? 0.0 : (double)state[2];
  int64_t bucket = walk_find(histogram, op->ids > 0 ? 0 : 1, target, &above);
  *prefix = (begins ? 0 : *prefix << BUCKET_BITS) | (uint32_t)bucket;
  /* The cut's own bucket (ties of one key) belongs to what is kept. */
  mass += walk_mass(histogram, op->shift == 0 ? bucket : bucket + 1);
  state[0] = (element_t)target;
  state[1] = (element_t)above;
  state[2] = (element_t)mass;
  if (op->shift == 0) *cut = op->first || *prefix > *cut ? *prefix : *cut;
}

static status_t vocab_walk_plain(device_t *device, const op_vocab_walk_t *op) {
  access_t access = access_begin(device, "vocab_walk");
  bool begins = op->shift == KEY_BITS - BUCKET_BITS;
  shift_require(&access, op->shift);
  access_require(&access, op->ids > 0 || op->share > 0.0, "neither a number of ids nor a share of the mass");
  reads(&access, "histogram", op->histogram, op->rows, (int64_t)VOCAB_BUCKETS * 2,
        (int64_t)VOCAB_BUCKETS * 2);
  access_operand(&access, "prefix", op->prefix, sizeof(int32_t), 1, op->rows, op->rows,
                 begins ? ACCESS_WRITE : ACCESS_UPDATE, NULL);
  if (op->shift == 0)
    access_operand(&access, "cut", op->cut, sizeof(int32_t), 1, op->rows, op->rows,
                   op->first ? ACCESS_WRITE : ACCESS_UPDATE, NULL);
  access_operand(&access, "state", op->state, sizeof(element_t), op->rows, VOCAB_WALK, VOCAB_WALK,
                 begins && (op->first || op->ids > 0) ? ACCESS_WRITE : ACCESS_UPDATE, NULL);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < op->rows; i++)
    walk_row(op, i);
  access_end(&access);
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_sampling)(ops_t *ops) {
  ops->vocab_histogram = vocab_histogram_plain;
  ops->vocab_walk = vocab_walk_plain;
}
