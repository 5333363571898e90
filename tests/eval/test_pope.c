/* POPE's counts and scores, by hand. */
#include "eval/pope.h"
#include "eval/tally.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void add(tally_t *tally, int n, bool truth, bool answer) {
  for (int i = 0; i < n; i++) {
    verdict_t verdict = {0};
    classes_count(truth, answer ? CLASS_POSITIVE : CLASS_NEGATIVE, &verdict);
    tally_add(tally, &pope_judge, &verdict);
  }
}

static interval_t metric_of(const tally_t *tally, int32_t metric) {
  return tally_metric(tally, &pope_judge, metric);
}

static void check(const tally_t *tally, int32_t metric, double expected, double answers) {
  interval_t got = metric_of(tally, metric);
  assert_true(fabs(got.value - expected) < 1e-12 && got.answers == answers);
}

static void test_scores(void **state) {
  (void)state;
  tally_t tally = {0};
  add(&tally, 6, true, true);
  add(&tally, 2, true, false);
  add(&tally, 3, false, true);
  add(&tally, 9, false, false);
  assert_true(metric_of(&tally, CLASS_TRUE_POSITIVE).value == 6.0);
  assert_true(metric_of(&tally, CLASS_FALSE_NEGATIVE).value == 2.0);
  assert_true(metric_of(&tally, CLASS_FALSE_POSITIVE).value == 3.0);
  assert_true(metric_of(&tally, CLASS_TRUE_NEGATIVE).value == 9.0);
  check(&tally, CLASS_ACCURACY, 15.0 / 20.0, 20);
  check(&tally, CLASS_PRECISION, 6.0 / 9.0, 9);
  check(&tally, CLASS_RECALL, 6.0 / 8.0, 8);
  check(&tally, CLASS_F1, 12.0 / 17.0, 11);
  check(&tally, CLASS_RATIO, 9.0 / 20.0, 20);
}

static void test_nothing_to_divide_by(void **state) {
  (void)state;
  tally_t tally = {0};
  check(&tally, CLASS_ACCURACY, 0.0, 0);
  check(&tally, CLASS_F1, 0.0, 0);
  check(&tally, CLASS_RATIO, 0.0, 0);
  assert_true(isnan(metric_of(&tally, CLASS_ACCURACY).low) && isnan(metric_of(&tally, CLASS_F1).high));
  add(&tally, 4, true, false);
  check(&tally, CLASS_PRECISION, 0.0, 0);
  check(&tally, CLASS_RECALL, 0.0, 4);
  check(&tally, CLASS_F1, 0.0, 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_scores),
      cmocka_unit_test(test_nothing_to_divide_by),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
