/* Cases of the walks over histograms that find top-k and top-p cuts. */
#include "tensor/op_pair.h"

#include "base/memory.h"

enum { ROWS = 6, BUCKETS = VOCAB_BUCKETS };

/* One row's HISTOGRAM (BUCKETS, 2) at SHIFT on both devices. */
static void walk_once(op_pair_t *pair, const double *histogram, op_vocab_walk_t op,
                      const index_pair_t *prefix, const index_pair_t *cut, const wide_pair_t *state) {
  wide_pair_t buckets = wide_of(pair, histogram, op.rows * BUCKETS * 2);
  for (int s = 0; s < DEVICES; s++) {
    op.histogram = buckets.on[s];
    op.prefix = prefix->on[s];
    op.cut = cut->on[s];
    op.state = state->on[s];
    EXPECT_OK(OP(pair->devices[s], vocab_walk, &op));
  }
}

static uint32_t first_index(op_pair_t *pair, const index_pair_t *array, int side) {
  int32_t *values = index_host(pair, array, side);
  uint32_t first = (uint32_t)values[0];
  memory_free(values);
  return first;
}

/* Four ids in bucket 200, one in 7, two in 3, with masses of their own: where each target is reached. */
static void walk_known(op_pair_t *pair) {
  static const struct {
    int32_t ids;
    double share;
    uint32_t bucket;
    double above, mass;
  } cases[] = {
      {4, 0.0, 200, 0.0, 8.0}, {5, 0.0, 7, 4.0, 9.0},  {100, 0.0, 3, 5.0, 10.0}, /* never: the lowest */
      {0, 0.8, 200, 0.0, 8.0}, {0, 0.85, 7, 8.0, 9.0}, {0, 1e-9, 200, 0.0, 8.0}, {0, 0.9375, 3, 9.0, 10.0},
  };
  double histogram[BUCKETS * 2] = {0};
  static const int buckets[] = {200, 7, 3};
  static const double counts[] = {4.0, 1.0, 2.0}, masses[] = {8.0, 1.0, 1.0};
  for (int i = 0; i < 3; i++) {
    histogram[2 * buckets[i]] = counts[i];
    histogram[2 * buckets[i] + 1] = masses[i];
  }
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    static const int32_t zero[1];
    index_pair_t prefix = index_of(pair, zero, 1), cut = index_of(pair, zero, 1);
    wide_pair_t walk = wide_untouched(pair, VOCAB_WALK);
    for (int32_t shift = 24; shift >= 0; shift -= 24) {
      walk_once(pair, histogram,
                (op_vocab_walk_t){
                    .rows = 1, .shift = shift, .first = true, .ids = cases[i].ids, .share = cases[i].share},
                &prefix, &cut, &walk);
      if (shift == 0) break;
      double *numbers = wide_host(pair, &walk, TESTED);
      assert_int_equal(first_index(pair, &prefix, TESTED), cases[i].bucket);
      assert_true(numbers[1] == cases[i].above);
      memory_free(numbers);
    }
    assert_int_equal(first_index(pair, &cut, TESTED), first_index(pair, &cut, ORACLE));
    wide_expect_close(pair, "walk", &walk, 0, 1, VOCAB_WALK, VOCAB_WALK, pair->tolerances.forward);
  }
  /* The last level keeps its own bucket, and the larger of two cuts. */
  static const int32_t prefixes[1] = {5}, cuts[] = {5 << 8 | 100, 6 << 8};
  for (int first = 0; first < 2; first++)
    for (int i = 0; i < 2; i++) {
      static const double begun[VOCAB_WALK] = {10.5, 1.0, 2.0};
      index_pair_t prefix = index_of(pair, prefixes, 1), cut = index_of(pair, &cuts[i], 1);
      wide_pair_t walk = wide_of(pair, begun, VOCAB_WALK);
      walk_once(pair, histogram, (op_vocab_walk_t){.rows = 1, .first = first, .share = 0.5}, &prefix, &cut,
                &walk);
      double *numbers = wide_host(pair, &walk, TESTED);
      assert_true(numbers[2] == 12.0); /* 10.5 is reached in bucket 3 */
      memory_free(numbers);
      assert_int_equal(first_index(pair, &prefix, TESTED), 5 << 8 | 3);
      assert_int_equal(first_index(pair, &cut, TESTED), first ? 5 << 8 | 3 : cuts[i]);
    }
  pair_release(pair);
}

/* A selection of random histograms after another one, as top-p after top-k. */
static void walk_random(op_pair_t *pair) {
  enum { NUMBERS = ROWS * BUCKETS * 2 };
  static const int32_t zeros[ROWS];
  double histogram[NUMBERS];
  index_pair_t prefix = index_of(pair, zeros, ROWS), cut = index_of(pair, zeros, ROWS);
  wide_pair_t walk = wide_untouched(pair, ROWS * VOCAB_WALK);
  for (int selection = 0; selection < 2; selection++)
    for (int32_t shift = 24; shift >= 0; shift -= 8) {
      for (int i = 0; i < NUMBERS; i++) /* halves are exact in every type */
        histogram[i] = random_below(&pair->random, 3) == 0 ? 0.5 * random_below(&pair->random, 9) : 0.0;
      walk_once(pair, histogram,
                (op_vocab_walk_t){.rows = ROWS,
                                  .shift = shift,
                                  .first = selection == 0,
                                  .ids = selection == 0 ? 40 : 0,
                                  .share = 0.75},
                &prefix, &cut, &walk);
      wide_expect_close(pair, "walk", &walk, 0, ROWS, VOCAB_WALK, VOCAB_WALK, pair->tolerances.forward);
      int32_t *found[DEVICES] = {index_host(pair, &prefix, 0), index_host(pair, &prefix, 1)};
      assert_memory_equal(found[0], found[1], sizeof zeros);
      memory_free(found[0]);
      memory_free(found[1]);
    }
  int32_t *found[DEVICES] = {index_host(pair, &cut, 0), index_host(pair, &cut, 1)};
  assert_memory_equal(found[0], found[1], sizeof zeros);
  memory_free(found[0]);
  memory_free(found[1]);
  pair_release(pair);
}

void case_vocab_walk(void **state) {
  walk_known(*state);
  for (int i = 0; i < 8; i++)
    walk_random(*state);
}
