/* POPE's counts and scores, by hand. */
#include "eval/pope.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void add(pope_counts_t *counts, int n, bool truth, bool answer) {
  for (int i = 0; i < n; i++)
    pope_add(counts, truth, answer);
}

static bool close_to(double got, double expected) {
  return fabs(got - expected) < 1e-12;
}

static void test_scores(void **state) {
  (void)state;
  pope_counts_t counts = {0};
  add(&counts, 6, true, true);
  add(&counts, 2, true, false);
  add(&counts, 3, false, true);
  add(&counts, 9, false, false);
  assert_int_equal(counts.true_positive, 6);
  assert_int_equal(counts.false_negative, 2);
  assert_int_equal(counts.false_positive, 3);
  assert_int_equal(counts.true_negative, 9);
  pope_scores_t scores = pope_scores(&counts);
  assert_true(close_to(scores.accuracy.value, 15.0 / 20.0) && scores.accuracy.answers == 20);
  assert_true(close_to(scores.precision.value, 6.0 / 9.0) && scores.precision.answers == 9);
  assert_true(close_to(scores.recall.value, 6.0 / 8.0) && scores.recall.answers == 8);
  assert_true(close_to(scores.f1.value, 12.0 / 17.0) && scores.f1.answers == 11);
  assert_true(close_to(scores.yes_ratio.value, 9.0 / 20.0) && scores.yes_ratio.answers == 20);
}

static void test_nothing_to_divide_by(void **state) {
  (void)state;
  pope_counts_t counts = {0};
  pope_scores_t scores = pope_scores(&counts);
  assert_true(scores.accuracy.value == 0.0 && scores.f1.value == 0.0 && scores.yes_ratio.value == 0.0);
  assert_true(isnan(scores.accuracy.low) && isnan(scores.f1.high));
  add(&counts, 4, true, false);
  scores = pope_scores(&counts);
  assert_true(scores.precision.value == 0.0 && scores.recall.value == 0.0 && scores.f1.value == 0.0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_scores),
      cmocka_unit_test(test_nothing_to_divide_by),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
