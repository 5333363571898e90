/* Confidence intervals: published numbers, what holds for special cases, and how often they hold the truth.
 */
#include "eval/interval.h"

#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void check(double got, double expected, double tolerance) {
  if (!(fabs(got - expected) <= tolerance)) fail_msg("%.10g, expected %.10g", got, expected);
}

/* Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3: four digits. */
static void shares_have_wilsons_interval(void **state) {
  static const struct {
    double part, whole, low, high;
  } published[] = {
      {81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0.0, 0.1611}, {1, 29, 0.0061, 0.1718}};
  (void)state;
  for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
    interval_t got = interval_share(published[i].part, published[i].whole);
    check(got.value, published[i].part / published[i].whole, 1e-15);
    check(got.low, published[i].low, 5e-5);
    check(got.high, published[i].high, 5e-5);
    check(got.answers, published[i].whole, 0.0);
  }
  interval_t all = interval_share(20, 20);
  check(all.low, 1.0 - 0.1611, 5e-5);
  check(all.high, 1.0, 0.0);
  interval_t none = interval_share(0, 0);
  assert_true(none.value == 0.0 && isnan(none.low) && isnan(none.high));
}

/* Two values +-1 around MEAN, N / 2 times each: a half-width of t / sqrt(N - 1). */
static double quantile_used(double n) {
  const double mean = 7.0;
  interval_t got = interval_mean(n, n * mean, n * (mean * mean + 1.0));
  check(got.value, mean, 1e-12);
  check(got.high - got.value, got.value - got.low, 1e-9);
  return (got.high - got.value) * sqrt(n - 1.0);
}

/* Student's two-sided 95 % quantile, from any table. */
static void means_have_students_interval(void **state) {
  static const double table[][2] = {{1, 12.706}, {3, 3.182},  {5, 2.571},   {7, 2.365},
                                    {9, 2.262},  {29, 2.045}, {119, 1.980}, {999, 1.962}};
  (void)state;
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    check(quantile_used(table[i][0] + 1.0), table[i][1], 1e-3);
  interval_t one = interval_mean(1, 5.0, 25.0);
  assert_true(one.value == 5.0 && isnan(one.low) && isnan(one.high));
  interval_t equal = interval_mean(10, 30.0, 90.0);
  assert_true(equal.low == 3.0 && equal.high == 3.0);
}

/* One claim in each answer: nearly the interval of a share; three that stand and fall together: the same, not
 * the narrower one of three times as many claims. */
static void claims_of_an_answer_are_not_independent(void **state) {
  ratio_sums_t one = {0}, three = {0};
  (void)state;
  for (int i = 0; i < 400; i++) {
    ratio_sums_add(&one, i % 4 == 0, 1);
    ratio_sums_add(&three, i % 4 == 0 ? 3 : 0, 3);
  }
  interval_t share = interval_share(100, 400), single = interval_ratio(&one), triple = interval_ratio(&three);
  check(single.value, 0.25, 1e-15);
  check(single.low, share.low, 1e-4);
  check(single.high, share.high, 1e-4);
  check(triple.low, single.low, 1e-12);
  check(triple.high, single.high, 1e-12);
  check(triple.answers, 400, 0.0);
}

/* Worked out by hand: 1 of 2, 2 of 3 and 0 of 2 have residuals of 1/7, 5/7 and -6/7 to 3/7, so a variance of
 * 3/2 * 62/49 / 7^2, that of 6.32 independent claims. */
static void the_variance_is_that_of_a_ratio(void **state) {
  ratio_sums_t sums = {0};
  (void)state;
  ratio_sums_add(&sums, 1, 2);
  ratio_sums_add(&sums, 2, 3);
  ratio_sums_add(&sums, 0, 2);
  interval_t got = interval_ratio(&sums);
  check(got.value, 3.0 / 7.0, 1e-15);
  check(got.low, 0.1501383, 1e-6);
  check(got.high, 0.7609968, 1e-6);
}

/* All right, or all wrong: as for a share of answers, never an interval of width 0. */
static void ends_of_the_range_are_not_certain(void **state) {
  ratio_sums_t right = {0}, wrong = {0}, even = {0}, single = {0}, none = {0};
  (void)state;
  for (int i = 0; i < 20; i++) {
    ratio_sums_add(&right, 3, 3);
    ratio_sums_add(&wrong, 0, 3);
    ratio_sums_add(&even, 1, 2);
  }
  interval_t got = interval_ratio(&right);
  check(got.low, 1.0 - 0.1611, 5e-5);
  check(got.high, 1.0, 0.0);
  got = interval_ratio(&wrong);
  check(got.low, 0.0, 0.0);
  check(got.high, 0.1611, 5e-5);
  /* As sure as so many independent claims, not surer. */
  got = interval_ratio(&even);
  interval_t share = interval_share(20, 40);
  check(got.low, share.low, 1e-12);
  check(got.high, share.high, 1e-12);
  ratio_sums_add(&single, 1, 2);
  got = interval_ratio(&single);
  assert_true(got.value == 0.5 && isnan(got.low));
  got = interval_ratio(&none);
  assert_true(got.value == 0.0 && isnan(got.low) && got.answers == 0);
}

/* Answers of 1 to 4 claims, each answer with its own share of wrong ones: the interval holds the true share
 * in about 95 % of the samples (the standard error of the count is 0.5 %). */
static void intervals_hold_the_truth_as_often_as_they_say(void **state) {
  enum { SAMPLES = 2000, ANSWERS = 100 };
  /* Half of the answers have 1 claim, wrong with probability 0.1; half 1 to 4, wrong with 0.4. */
  const double truth = (0.5 * 0.1 * 1 + 0.5 * 0.4 * 2.5) / (0.5 * 1 + 0.5 * 2.5);
  random_stream_t stream = random_stream(1, RANDOM_TEST, 0);
  int held = 0;
  (void)state;
  for (int s = 0; s < SAMPLES; s++) {
    ratio_sums_t sums = {0};
    for (int i = 0; i < ANSWERS; i++) {
      bool careless = random_below(&stream, 2) == 1;
      int claims = careless ? 1 + (int)random_below(&stream, 4) : 1, wrong = 0;
      for (int c = 0; c < claims; c++)
        wrong += random_below(&stream, 10) < (careless ? 4u : 1u);
      ratio_sums_add(&sums, wrong, claims);
    }
    interval_t got = interval_ratio(&sums);
    held += got.low <= truth && truth <= got.high;
  }
  assert_in_range(held, SAMPLES * 93 / 100, SAMPLES * 97 / 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shares_have_wilsons_interval),
      cmocka_unit_test(means_have_students_interval),
      cmocka_unit_test(claims_of_an_answer_are_not_independent),
      cmocka_unit_test(the_variance_is_that_of_a_ratio),
      cmocka_unit_test(ends_of_the_range_are_not_certain),
      cmocka_unit_test(intervals_hold_the_truth_as_often_as_they_say),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
