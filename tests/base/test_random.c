#include "base/random.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Known answers of philox4x32-10 from Random123's kat_vectors. The purpose is cancelled out of the key by the
 * seed. */
static void words_are_philox(void **state) {
  (void)state;
  const uint64_t cancel = (uint64_t)RANDOM_TEST << 56;
  const uint32_t zeros[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  const uint32_t ones[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  const uint32_t pi[4] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
  random_words_t words = random_words(cancel, RANDOM_TEST, 0, 0);
  assert_memory_equal(words.v, zeros, sizeof zeros);
  words = random_words(UINT64_MAX ^ cancel, RANDOM_TEST, UINT64_MAX, UINT64_MAX);
  assert_memory_equal(words.v, ones, sizeof ones);
  words = random_words(0x299f31d0a4093822 ^ cancel, RANDOM_TEST, 0x85a308d3243f6a88, 0x0370734413198a2e);
  assert_memory_equal(words.v, pi, sizeof pi);
}

static void purposes_and_indices_differ(void **state) {
  (void)state;
  random_words_t base = random_words(1, RANDOM_INIT, 2, 3);
  const random_words_t others[] = {random_words(2, RANDOM_INIT, 2, 3), random_words(1, RANDOM_ORDER, 2, 3),
                                   random_words(1, RANDOM_INIT, 3, 3), random_words(1, RANDOM_INIT, 2, 4)};
  for (int i = 0; i < 4; i++)
    assert_memory_not_equal(base.v, others[i].v, sizeof base.v);
}

static void a_stream_depends_on_its_place_only(void **state) {
  (void)state;
  random_stream_t first = random_stream(5, RANDOM_TEST, 9);
  for (int i = 0; i < 7; i++)
    (void)random_u32(&first);
  random_stream_t copy = first;
  random_stream_t jumped = random_stream(5, RANDOM_TEST, 9);
  jumped.next = 7;
  uint32_t value = random_u32(&first);
  assert_int_equal(value, random_u32(&copy));
  assert_int_equal(value, random_u32(&jumped));
}

static void uniform_has_mean_and_range(void **state) {
  (void)state;
  random_stream_t stream = random_stream(1, RANDOM_TEST, 0);
  double sum = 0;
  const int n = 20000;
  for (int i = 0; i < n; i++) {
    double value = random_uniform(&stream);
    assert_true(value >= 0 && value < 1);
    sum += value;
  }
  assert_true(fabs(sum / n - 0.5) < 5 * sqrt(1.0 / 12 / n));
}

static void normal_has_mean_and_variance(void **state) {
  (void)state;
  random_stream_t stream = random_stream(1, RANDOM_TEST, 1);
  double sum = 0, squares = 0;
  const int n = 20000;
  for (int i = 0; i < n; i++) {
    double value = random_normal(&stream);
    assert_true(isfinite(value));
    sum += value;
    squares += value * value;
  }
  assert_true(fabs(sum / n) < 5 / sqrt(n));
  assert_true(fabs(squares / n - 1) < 5 * sqrt(2.0 / n));
}

static void below_is_even(void **state) {
  (void)state;
  random_stream_t stream = random_stream(1, RANDOM_TEST, 2);
  int counts[7] = {0};
  const int n = 21000;
  for (int i = 0; i < n; i++) {
    uint32_t value = random_below(&stream, 7);
    assert_true(value < 7);
    counts[value]++;
  }
  for (int i = 0; i < 7; i++)
    assert_true(abs(counts[i] - n / 7) < 300);
  for (int i = 0; i < 10; i++)
    assert_int_equal(random_below(&stream, 1), 0);
}

static void open_unit_never_touches_its_ends(void **state) {
  (void)state;
  assert_true(random_open_unit(0) > 0);
  assert_true(random_open_unit(UINT32_MAX) < 1);
  assert_true(isfinite(-log(-log(random_open_unit(0)))));
  assert_true(isfinite(-log(-log(random_open_unit(UINT32_MAX)))));
}

static void permutations_hold_every_index_once(void **state) {
  (void)state;
  enum { N = 1000 };
  int64_t order[N], again[N], other[N];
  bool seen[N] = {false};
  random_permutation(3, RANDOM_ORDER, 1, N, order);
  random_permutation(3, RANDOM_ORDER, 1, N, again);
  random_permutation(3, RANDOM_ORDER, 2, N, other);
  assert_memory_equal(order, again, sizeof order);
  assert_memory_not_equal(order, other, sizeof order);
  for (int i = 0; i < N; i++) {
    assert_true(order[i] >= 0 && order[i] < N);
    assert_false(seen[order[i]]);
    seen[order[i]] = true;
  }
  random_permutation(3, RANDOM_ORDER, 1, 0, order);
  random_permutation(3, RANDOM_ORDER, 1, 1, order);
  assert_int_equal(order[0], 0);
}

/* Each of the 6 orders of 3 is as likely as the others. */
static void permutations_are_even(void **state) {
  (void)state;
  int counts[27] = {0};
  const int n = 6000;
  for (int i = 0; i < n; i++) {
    int64_t order[3];
    random_permutation(8, RANDOM_TEST, (uint64_t)i, 3, order);
    counts[order[0] * 9 + order[1] * 3 + order[2]]++;
  }
  int orders = 0;
  for (int i = 0; i < 27; i++) {
    if (counts[i] == 0) continue;
    orders++;
    assert_true(abs(counts[i] - n / 6) < 150);
  }
  assert_int_equal(orders, 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(words_are_philox),
      cmocka_unit_test(purposes_and_indices_differ),
      cmocka_unit_test(a_stream_depends_on_its_place_only),
      cmocka_unit_test(uniform_has_mean_and_range),
      cmocka_unit_test(normal_has_mean_and_variance),
      cmocka_unit_test(below_is_even),
      cmocka_unit_test(open_unit_never_touches_its_ends),
      cmocka_unit_test(permutations_hold_every_index_once),
      cmocka_unit_test(permutations_are_even),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
