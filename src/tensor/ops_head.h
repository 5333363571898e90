/* The operations of the heads, a part of the op table (tensor/ops.h, where the conventions are): what logits
 * over a vocabulary that may be split become. */
#ifndef TENSOR_OPS_HEAD_H
#define TENSOR_OPS_HEAD_H

#include "tensor/device.h"

/* A vocabulary shard: ids begin .. begin + count - 1 (count true ids; the shard's padding lies behind them
 * and is never looked at). logits (n, ld) wide; scaled logit z = scale * logit. */
typedef struct {
  int64_t rows, ld, begin, count;
  const wide_t *logits;
  double scale;
} vocab_shard_t;

/* max (n) = largest z of each row (-inf where count is 0). */
typedef struct {
  vocab_shard_t shard;
  wide_t *max;
} op_vocab_max_t;

/* Runs of ids, ascending and apart, which may reach beyond a shard; none: all ids. */
enum { VOCAB_RANGES = 64 };
typedef struct {
  int32_t begin, end; /* begin .. end - 1 */
} vocab_range_t;
typedef struct {
  int32_t count;
  vocab_range_t range[VOCAB_RANGES];
} vocab_ids_t;

/* Gumbel-max: the id with the largest z + noise (the smallest among equals), noise = -log(-log(u)), u =
 * random_open_unit of word 0 of random_words(seed, RANDOM_SAMPLING, sample, position << 32 | id), with
 * samples given as two 32-bit halves (n, 2: low, high); GREEDY: no noise. Values are compared as they are
 * stored. Only IDS whose key (vocab_key of (float) z) is >= cut (n; NULL: all) take part, and none whose
 * value is -inf or no number. */
typedef struct {
  uint64_t seed;
  bool greedy;
  vocab_ids_t ids;
  const index_t *samples, *positions;
  const index_t *cut;
} vocab_draw_t;

/* What a shard knows of a row, all that log-probability, entropy and the token drawn are made of.
 * records (n, VOCAB_RECORD):
 * - MAX: largest z (-inf where count is 0); SUM, WEIGHTED: sums of exp(z - max) and of exp(z - max) (z - max)
 *   (a z of -inf adds nothing); EQUAL: the number of ids whose z is max;
 * - of the target, an id given by TARGETS (n), or drawn (DRAW, host memory, where TARGETS is NULL): ID, the
 *   global id (exact in the wide type: ids are below VOCAB_IDS_MAX), BELOW, its z - max, and VALUE, its z,
 * with the noise where it was drawn. -1, 0 and -inf where the shard has none. */
typedef enum {
  VOCAB_RECORD_MAX,
  VOCAB_RECORD_SUM,
  VOCAB_RECORD_WEIGHTED,
  VOCAB_RECORD_EQUAL,
  VOCAB_RECORD_BELOW,
  VOCAB_RECORD_VALUE,
  VOCAB_RECORD_ID,
  VOCAB_RECORD
} vocab_record_t;
enum { VOCAB_IDS_MAX = 1 << 24 };
typedef struct {
  vocab_shard_t shard;
  const index_t *targets;
  const vocab_draw_t *draw;
  wide_t *records;
} op_vocab_statistics_t;

/* From the records of all shards (shards, n, VOCAB_RECORD), ascending ids: the largest max; sums rescaled to
 * it, added in the shards' order; the target of the shard where its value is largest (the first among
 * equals).
 * - logprob (n) = target's z - max - log(sum), NaN where no shard has a target; entropy (n) = log(sum) -
 *   weighted / sum;
 * - tokens (n): the target's id, -1 where logprob is not finite;
 * - ties (n): where no id is likelier than the target the number of those as likely, it among them, else 0
 *   (of targets that were given);
 * - normaliser (n, 2): max and sum, for vocab_backward.
 * All but logprob may be NULL. */
typedef struct {
  int64_t shards, rows;
  const wide_t *records;
  wide_t *logprob, *entropy, *ties, *normaliser;
  index_t *tokens;
} op_vocab_combine_t;

/* dlogits (n, ld) real = dlogprob[n] * scale * (1[target] - exp(z - max) / sum); zero on the padding.
 * normaliser (n, 2): max and sum over all shards. */
typedef struct {
  vocab_shard_t shard;
  const wide_t *normaliser, *dlogprob;
  const index_t *targets;
  real_t *dlogits;
} op_vocab_backward_t;

/* One radix pass towards top-k and top-p cuts: for IDS (host; NULL: all) with (key >> shift) >> 8 ==
 * prefix[row] (shift 24: all), histogram (n, VOCAB_BUCKETS, 2) of bucket (key >> shift) & 255: count, and
 * mass exp(z - max). To be summed over tp. */
enum { VOCAB_BUCKETS = 256 };
typedef struct {
  vocab_shard_t shard;
  const vocab_ids_t *ids;
  const wide_t *max;
  const index_t *prefix;
  int32_t shift;
  wide_t *histogram;
} op_vocab_histogram_t;

/* Walks the histograms of all shards from the highest bucket down to the one in which the measure of the keys
 * from there on, and of those above the prefix, reaches the target (the lowest that is not empty if it never
 * does), and appends that bucket to prefix (n; shift 24: sets it). The measure is the number of ids where
 * IDS > 0, with IDS as target; else it is mass, and the target SHARE of the mass that may be kept: of all,
 * where FIRST, else of what the selection before kept. At shift 0 the keys >= prefix are kept: cut (n) =
 * prefix, or where not FIRST the larger of cut and prefix.
 * state (n, VOCAB_WALK) is the operation's own from pass to pass: target, measure above the prefix, mass
 * above it (at the end: that is kept). */
enum { VOCAB_WALK = 3 };
typedef struct {
  int64_t rows;
  int32_t shift;
  bool first;
  int32_t ids;
  double share;
  const wide_t *histogram;
  index_t *prefix, *cut;
  wide_t *state;
} op_vocab_walk_t;

/* The places in SHARD (ids less its first) of range R of IDS (NULL, or none: one range of all): *BEGIN ..
 * *END - 1, which may be none. */
static inline int32_t vocab_range_count(const vocab_ids_t *ids) {
  return ids && ids->count > 0 ? ids->count : 1;
}
static inline void vocab_range_places(const vocab_shard_t *shard, const vocab_ids_t *ids, int32_t r,
                                      int64_t *begin, int64_t *end) {
  *begin = 0;
  *end = shard->count;
  if (!ids || ids->count == 0) return;
  int64_t first = ids->range[r].begin - shard->begin, stop = ids->range[r].end - shard->begin;
  if (first > 0) *begin = first;
  if (stop < shard->count) *end = stop;
}

/* Order-preserving 32-bit key of a float: a < b <=> vocab_key(a) < vocab_key(b). */
static inline uint32_t vocab_key(float z) {
  union {
    float f;
    uint32_t u;
  } bits = {.f = z};
  return bits.u & 0x80000000u ? ~bits.u : bits.u | 0x80000000u;
}

#endif
