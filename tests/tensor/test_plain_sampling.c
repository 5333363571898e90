/* Sampling of the plain device: the distribution that it draws from, splits of the vocabulary, top-k and
 * top-p cuts. */
#include "base/random.h"
#include "tensor/ops.h"
#include "tensor/plain/plain.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEED = 5, BUCKETS = VOCAB_BUCKETS };

static void ok(status_code_t status) {
  if (status != STATUS_OK) fail_msg("%s", error_message());
}

static device_t *device_make(plain_type_t type) {
  device_t *device = NULL;
  ok(plain_create(type, true, &device));
  return device;
}

static wide_t *upload_wide(device_t *device, const double *values, size_t n) {
  wide_t *array = NULL;
  ok(wide_alloc(device, ARENA_OTHER, n, &array));
  ok(wide_upload(device, array, values, DTYPE_F64, n));
  return array;
}

static index_t *upload_index(device_t *device, const int32_t *values, size_t n) {
  index_t *array = NULL;
  ok(index_alloc(device, ARENA_OTHER, n, &array));
  ok(index_upload(device, array, values, n));
  return array;
}

/* Draws one id per row of LOGITS (rows, ld) on ids BEGIN.. (count), sample i at position 3. CUT NULL: no cut.
 */
static void draw(device_t *device, const double *logits, int64_t rows, int64_t ld, int64_t begin,
                 int64_t count, double scale, const int32_t *cut, bool greedy, double *value, int32_t *id) {
  int32_t *halves = calloc((size_t)rows, 2 * sizeof *halves),
          *positions = calloc((size_t)rows, sizeof *positions);
  assert_non_null(halves);
  assert_non_null(positions);
  for (int64_t i = 0; i < rows; i++) {
    halves[2 * i] = (int32_t)i;
    positions[i] = 3;
  }
  double *records = calloc((size_t)rows, VOCAB_RECORD * sizeof *records);
  assert_non_null(records);
  wide_t *device_logits = upload_wide(device, logits, (size_t)(rows * ld)), *device_records = NULL;
  index_t *samples = upload_index(device, halves, (size_t)(2 * rows));
  index_t *where = upload_index(device, positions, (size_t)rows);
  index_t *device_cut = cut ? upload_index(device, cut, (size_t)rows) : NULL;
  ok(wide_alloc(device, ARENA_OTHER, (size_t)rows * VOCAB_RECORD, &device_records));
  const vocab_draw_t how = {
      .seed = SEED, .greedy = greedy, .samples = samples, .positions = where, .cut = device_cut};
  op_vocab_statistics_t op = {
      .shard =
          {.rows = rows, .ld = ld, .begin = begin, .count = count, .logits = device_logits, .scale = scale},
      .draw = &how,
      .records = device_records};
  ok(OP(device, vocab_statistics, &op));
  ok(wide_download(device, records, DTYPE_F64, device_records, (size_t)rows * VOCAB_RECORD));
  ok(device_synchronize(device));
  for (int64_t i = 0; i < rows; i++) {
    value[i] = records[i * VOCAB_RECORD + VOCAB_RECORD_VALUE];
    id[i] = (int32_t)records[i * VOCAB_RECORD + VOCAB_RECORD_ID];
  }
  void *blocks[] = {device_logits, device_records, samples, where, device_cut};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    device_release(device, blocks[i]);
  free(records);
  free(halves);
  free(positions);
}

/* ---- Distribution ---- */

enum { V = 6, DRAWS = 20000 };

/* Shares of DRAWS draws from softmax(scale * logits) over the ids whose key reaches CUT. */
static void expect_distribution(plain_type_t type, double scale, uint32_t cut) {
  static const double logits[V] = {0.0, 1.0, -1.0, 2.0, 0.5, -3.0};
  static const double deviations = 4.0;
  device_t *device = device_make(type);
  double *all = calloc(DRAWS, V * sizeof *all), *value = calloc(DRAWS, sizeof *value), sum = 0.0;
  int32_t *id = calloc(DRAWS, sizeof *id), *cuts = calloc(DRAWS, sizeof *cuts), counts[V] = {0};
  assert_true(all && value && id && cuts);
  for (int i = 0; i < DRAWS; i++) {
    memcpy(all + i * V, logits, sizeof logits);
    memcpy(&cuts[i], &cut, sizeof cut);
  }
  draw(device, all, DRAWS, V, 0, V, scale, cut ? cuts : NULL, false, value, id);
  for (int i = 0; i < DRAWS; i++)
    counts[id[i]]++;
  for (int j = 0; j < V; j++)
    if (vocab_key((float)(scale * logits[j])) >= cut) sum += exp(scale * logits[j]);
  for (int j = 0; j < V; j++) {
    bool in = vocab_key((float)(scale * logits[j])) >= cut;
    double p = in ? exp(scale * logits[j]) / sum : 0.0, share = (double)counts[j] / DRAWS;
    if (fabs(share - p) > deviations * sqrt(p * (1.0 - p) / DRAWS))
      fail_msg("id %d was drawn with share %g, expected %g", j, share, p);
  }
  free(all);
  free(value);
  free(id);
  free(cuts);
  device_free(device);
}

static void test_distribution(void **state) {
  (void)state;
  expect_distribution(PLAIN_DOUBLE, 1.0, 0);
  expect_distribution(PLAIN_DOUBLE, 1.0 / 0.7, 0);
  expect_distribution(PLAIN_FLOAT, 1.0, 0);
}

static void test_distribution_with_cut(void **state) {
  (void)state;
  expect_distribution(PLAIN_DOUBLE, 1.0, vocab_key(0.5f));
  expect_distribution(PLAIN_DOUBLE, 0.5, vocab_key(-0.5f));
}

static void random_logits(double *logits, int n, double scale) {
  random_stream_t random = random_stream(SEED, RANDOM_TEST, 1);
  for (int i = 0; i < n; i++)
    logits[i] = (double)(float)(scale * random_normal(&random));
}

static void test_greedy_takes_the_largest(void **state) {
  (void)state;
  enum { ROWS = 20, WIDTH = 50 };
  double logits[ROWS * WIDTH], value[ROWS];
  int32_t id[ROWS];
  device_t *device = device_make(PLAIN_DOUBLE);
  random_logits(logits, ROWS * WIDTH, 2.0);
  draw(device, logits, ROWS, WIDTH, 0, WIDTH, 0.5, NULL, true, value, id);
  for (int i = 0; i < ROWS; i++) {
    int best = 0;
    for (int j = 1; j < WIDTH; j++)
      if (logits[i * WIDTH + j] > logits[i * WIDTH + best]) best = j;
    assert_int_equal(id[i], best);
    assert_true(value[i] == 0.5 * logits[i * WIDTH + best]);
  }
  device_free(device);
}

/* The value is z + Gumbel noise of the formula, to the bit. */
static void test_noise_is_the_formula(void **state) {
  (void)state;
  enum { ROWS = 10 };
  double logits[ROWS] = {0}, value[ROWS];
  int32_t id[ROWS];
  device_t *device = device_make(PLAIN_DOUBLE);
  draw(device, logits, ROWS, 1, 123, 1, 1.0, NULL, false, value, id);
  for (uint64_t i = 0; i < ROWS; i++) {
    random_words_t words = random_words(SEED, RANDOM_SAMPLING, i, UINT64_C(3) << 32 | 123);
    assert_int_equal(id[i], 123);
    assert_true(value[i] == -log(-log(random_open_unit(words.v[0]))));
  }
  device_free(device);
}

/* The winner over any split is the winner over the whole. */
static void test_split_draws_the_same(void **state) {
  (void)state;
  enum { ROWS = 30, WIDTH = 101, SHARDS = 3, STRIDE = 34 };
  static double logits[ROWS * WIDTH], part[ROWS * STRIDE];
  double value[ROWS], best[ROWS];
  int32_t id[ROWS], whole[ROWS], best_id[ROWS];
  random_logits(logits, ROWS * WIDTH, 1.0);
  for (int type = PLAIN_FLOAT; type <= PLAIN_DOUBLE; type++) {
    device_t *device = device_make((plain_type_t)type);
    draw(device, logits, ROWS, WIDTH, 0, WIDTH, 1.0 / 0.9, NULL, false, value, whole);
    for (int i = 0; i < ROWS; i++)
      best[i] = -INFINITY;
    for (int shard = 0; shard < SHARDS; shard++) {
      int begin = shard * STRIDE, count = WIDTH - begin < STRIDE ? WIDTH - begin : STRIDE;
      for (int i = 0; i < ROWS * STRIDE; i++)
        part[i] = i % STRIDE < count ? logits[i / STRIDE * WIDTH + begin + i % STRIDE] : 1e9;
      draw(device, part, ROWS, STRIDE, begin, count, 1.0 / 0.9, NULL, false, value, id);
      for (int i = 0; i < ROWS; i++)
        if (value[i] > best[i]) {
          best[i] = value[i];
          best_id[i] = id[i];
        }
    }
    assert_memory_equal(whole, best_id, sizeof whole);
    device_free(device);
  }
}

/* Values that differ in double but are stored as the same float are equal: the smaller id wins, as it would
 * if the two ids were in different parts. */
static void test_values_are_compared_as_stored(void **state) {
  (void)state;
  static const double scale = 0.6, spacing = 0x1p-23;
  double logits[2] = {1.75, 1.75 + spacing}, value = 0.0;
  while ((float)(scale * logits[0]) != (float)(scale * logits[1])) {
    logits[0] = logits[1];
    logits[1] += spacing;
  }
  int32_t id = -1;
  device_t *device = device_make(PLAIN_FLOAT);
  draw(device, logits, 1, 2, 0, 2, scale, NULL, true, &value, &id);
  assert_int_equal(id, 0);
  device_free(device);
  device = device_make(PLAIN_DOUBLE);
  draw(device, logits, 1, 2, 0, 2, scale, NULL, true, &value, &id);
  assert_int_equal(id, 1);
  device_free(device);
}

/* ---- Cuts by histograms ---- */

/* The four radix passes of one row: the largest key such that the ids with keys at or above it are IDS, or,
 * where that is 0, have SHARE of the mass. */
static uint32_t find_cut(device_t *device, const wide_t *logits, int64_t width, double scale,
                         const wide_t *max, int32_t ids, double share) {
  wide_t *buckets = NULL, *state = NULL;
  int32_t bits = 0;
  index_t *prefix = upload_index(device, &bits, 1), *cut = upload_index(device, &bits, 1);
  ok(wide_alloc(device, ARENA_OTHER, BUCKETS * 2, &buckets));
  ok(wide_alloc(device, ARENA_OTHER, VOCAB_WALK, &state));
  for (int32_t shift = 24; shift >= 0; shift -= 8) {
    op_vocab_histogram_t op = {
        .shard = {.rows = 1, .ld = width, .count = width, .logits = logits, .scale = scale},
        .max = max,
        .prefix = prefix,
        .shift = shift,
        .histogram = buckets};
    ok(OP(device, vocab_histogram, &op));
    op_vocab_walk_t walk = {.rows = 1,
                            .shift = shift,
                            .first = true,
                            .ids = ids,
                            .share = share,
                            .histogram = buckets,
                            .prefix = prefix,
                            .cut = cut,
                            .state = state};
    ok(OP(device, vocab_walk, &walk));
  }
  ok(index_download(device, &bits, cut, 1));
  ok(device_synchronize(device));
  void *blocks[] = {buckets, state, prefix, cut};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    device_release(device, blocks[i]);
  return (uint32_t)bits;
}

static int descending(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left < right) - (left > right);
}

static void test_cuts_are_those_of_sorting(void **state) {
  (void)state;
  enum { WIDTH = 700 };
  static const int ks[] = {1, 2, 40, 699, 700};
  static const double ps[] = {0.05, 0.5, 0.9, 0.999}, scale = 0.5;
  double logits[WIDTH], sorted[WIDTH], total = 0.0;
  device_t *device = device_make(PLAIN_DOUBLE);
  random_logits(logits, WIDTH, 4.0);
  logits[17] = logits[18] = logits[600]; /* ties stay together */
  memcpy(sorted, logits, sizeof logits);
  qsort(sorted, WIDTH, sizeof *sorted, descending);
  for (int j = 0; j < WIDTH; j++)
    total += exp(scale * (sorted[j] - sorted[0]));
  double largest = scale * sorted[0];
  wide_t *device_logits = upload_wide(device, logits, WIDTH), *max = upload_wide(device, &largest, 1);
  for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
    uint32_t cut = find_cut(device, device_logits, WIDTH, scale, max, ks[i], 0.0);
    assert_int_equal(cut, vocab_key((float)(scale * sorted[ks[i] - 1])));
  }
  for (size_t i = 0; i < sizeof ps / sizeof *ps; i++) {
    double mass = 0.0;
    int last = -1;
    while (mass < ps[i] * total)
      mass += exp(scale * sorted[++last] - largest);
    uint32_t cut = find_cut(device, device_logits, WIDTH, scale, max, 0, ps[i]);
    assert_int_equal(cut, vocab_key((float)(scale * sorted[last])));
  }
  device_release(device, device_logits);
  device_release(device, max);
  device_free(device);
}

static void test_key_keeps_the_order(void **state) {
  (void)state;
  static const float ascending[] = {-INFINITY, -3e38f, -1.5f, -1e-40f, 0.0f,
                                    1e-40f,    1.0f,   1.5f,  3e38f,   INFINITY};
  for (size_t i = 1; i < sizeof ascending / sizeof *ascending; i++)
    assert_true(vocab_key(ascending[i - 1]) < vocab_key(ascending[i]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_distribution),
      cmocka_unit_test(test_distribution_with_cut),
      cmocka_unit_test(test_greedy_takes_the_largest),
      cmocka_unit_test(test_noise_is_the_formula),
      cmocka_unit_test(test_split_draws_the_same),
      cmocka_unit_test(test_cuts_are_those_of_sorting),
      cmocka_unit_test(test_key_keeps_the_order),
      cmocka_unit_test(test_values_are_compared_as_stored),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
