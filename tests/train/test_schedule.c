/* Learning rates against the published form (linear warm-up from zero, then constant, or a half cosine to
 * zero at the last step, counting from 0) and ours (counting from 1), by values worked out by hand. */
#include "train/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_rates(const schedule_t *schedule, const double *expected, int64_t n) {
  for (int64_t s = 1; s <= n; s++) {
    double found = schedule_lr(schedule, s);
    if (!(fabs(found - expected[s - 1]) <= 1e-12))
      fail_msg("step %lld: %.15g, expected %.15g", (long long)s, found, expected[s - 1]);
  }
}

/* Of transformers: step i = 0, 1, ... has i / warmup during the warm-up, then
 * (1 + cos(pi * (i - warmup) / (total - warmup))) / 2. */
static void published_cosine(void **state) {
  (void)state;
  const schedule_t schedule = {SCHEDULE_COSINE, 2.0, 2, 8, true};
  const double root3 = sqrt(3.0);
  const double expected[] = {0.0, 1.0, 2.0, 1.0 + root3 / 2.0, 1.5, 1.0, 0.5, 1.0 - root3 / 2.0, 0.0};
  expect_rates(&schedule, expected, 9); /* the ninth is one after the last, which would have none */
}

static void published_constant(void **state) {
  (void)state;
  const schedule_t schedule = {SCHEDULE_CONSTANT, 4.0, 4, 6, true};
  const double expected[] = {0.0, 1.0, 2.0, 3.0, 4.0, 4.0};
  expect_rates(&schedule, expected, 6);
}

/* Ours: min(1, s / warmup), so that no step is lost, and the same fall after it. */
static void warm_up_from_the_first_step(void **state) {
  (void)state;
  const schedule_t cosine = {SCHEDULE_COSINE, 2.0, 2, 8, false};
  const double root3 = sqrt(3.0);
  const double fall[] = {1.0, 2.0, 2.0, 1.0 + root3 / 2.0, 1.5, 1.0, 0.5, 1.0 - root3 / 2.0};
  expect_rates(&cosine, fall, 8);
  const schedule_t constant = {SCHEDULE_CONSTANT, 4.0, 4, 6, false};
  const double rise[] = {1.0, 2.0, 3.0, 4.0, 4.0, 4.0};
  expect_rates(&constant, rise, 6);
}

static void linear(void **state) {
  (void)state;
  const schedule_t schedule = {SCHEDULE_LINEAR, 1.0, 1, 5, false};
  const double expected[] = {1.0, 1.0, 0.75, 0.5, 0.25};
  expect_rates(&schedule, expected, 5);
}

static void without_warm_up(void **state) {
  (void)state;
  const schedule_t cosine = {SCHEDULE_COSINE, 1.0, 0, 3, false}, zero = {SCHEDULE_COSINE, 1.0, 0, 3, true};
  const double expected[] = {1.0, 0.75, 0.25};
  expect_rates(&cosine, expected, 3);
  expect_rates(&zero, expected, 3);
}

/* One step, and a warm-up as long as the run: nothing is divided by zero. */
static void shortest(void **state) {
  (void)state;
  const schedule_t one = {SCHEDULE_COSINE, 3.0, 0, 1, false}, all = {SCHEDULE_COSINE, 3.0, 3, 3, false};
  expect_rates(&one, (const double[]){3.0}, 1);
  expect_rates(&all, (const double[]){1.0, 2.0, 3.0}, 3);
}

static void from_settings(void **state) {
  (void)state;
  settings_t settings;
  memset(&settings, 0, sizeof settings);
  settings.optim.lr = 0.5;
  settings.optim.schedule = (char[]){"cosine"};
  settings.optim.warmup_ratio = 0.03;
  schedule_t schedule = schedule_from_settings(&settings, 297);
  assert_true(schedule.kind == SCHEDULE_COSINE && schedule.base == 0.5 && !schedule.from_zero);
  assert_int_equal(schedule.warmup, 9); /* 8.91, rounded up */
  assert_int_equal(schedule.total, 297);
  settings.optim.warmup_steps = 5;
  settings.optim.warmup_from_zero = true;
  settings.optim.schedule = (char[]){"linear"};
  schedule = schedule_from_settings(&settings, 297);
  assert_true(schedule.kind == SCHEDULE_LINEAR && schedule.from_zero);
  assert_int_equal(schedule.warmup, 5);
  settings.optim.schedule = (char[]){"constant"};
  assert_int_equal(schedule_from_settings(&settings, 297).kind, SCHEDULE_CONSTANT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(published_cosine),
      cmocka_unit_test(published_constant),
      cmocka_unit_test(warm_up_from_the_first_step),
      cmocka_unit_test(linear),
      cmocka_unit_test(without_warm_up),
      cmocka_unit_test(shortest),
      cmocka_unit_test(from_settings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
