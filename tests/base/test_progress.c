/* When progress is told and how, on a clock of its own. */
#include "base/progress.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* Plain lines and bars of TOTAL pieces of work that take SECONDS each. */
static void work(progress_t *progress, const char *label, int total, double *now, double seconds, int *plain,
                 int *bars) {
  *plain = *bars = 0;
  for (int done = 0; done <= total; done++) {
    const progress_report_t report = {label, done, total, "steps", NULL};
    progress_due_t due = progress_note(progress, &report, *now);
    *plain += due.plain;
    *bars += due.bar;
    assert_int_equal(due.finished, done == total);
    if (done < total) *now += seconds;
  }
}

static void short_work_leaves_no_line(void **state) {
  (void)state;
  progress_t progress = {0};
  double now = 100.0;
  int plain, bars;
  work(&progress, "answers", 256, &now, 0.001, &plain, &bars);
  assert_int_equal(plain, 0);
  assert_int_equal(bars, 2); /* at 0 and after 0.2 s */
  work(&progress, "answers", 256, &now, 0.0, &plain, &bars);
  assert_int_equal(plain, 0);
}

static void long_work_has_a_line_now_and_then_and_at_its_end(void **state) {
  (void)state;
  progress_t progress = {0};
  double now = 0.0;
  int plain, bars;
  work(&progress, "sft", 100, &now, 0.25, &plain, &bars); /* 25 s */
  assert_int_equal(plain, 3);
  assert_int_equal(bars, 100);
  work(&progress, "sft", 1, &now, 12.0, &plain, &bars); /* one long piece */
  assert_int_equal(plain, 1);
}

/* One within the other, as a step's answers are among the steps: neither starts the other's clock anew. */
static void work_of_two_kinds_goes_on_side_by_side(void **state) {
  (void)state;
  progress_t progress = {0};
  double now = 0.0;
  char line[256];
  for (int outer = 0; outer <= 3; outer++) {
    int plain, bars;
    const progress_report_t report = {"outside", outer, 3, "steps", NULL};
    progress_due_t due = progress_note(&progress, &report, now);
    progress_line(&due.clock, &report, now, line, sizeof line);
    work(&progress, "inside", 2, &now, 2.0, &plain, &bars);
    assert_int_equal(plain, 0);
  }
  assert_non_null(strstr(line, "3/3 steps"));
  assert_non_null(strstr(line, "0.25 steps/s")); /* the rate since the first step, not since the last */
  assert_non_null(strstr(line, "12 s"));
}

static void bars_fill_and_keep_to_their_columns(void **state) {
  (void)state;
  progress_t progress = {0};
  char line[256];
  int last = -1;
  for (int done = 0; done <= 10; done++) {
    const progress_report_t report = {"sft", done, 10, "steps", "loss 0.5"};
    progress_due_t due = progress_note(&progress, &report, done);
    int filled = 0;
    progress_bar(&due.clock, &report, done, 200, line, sizeof line);
    for (const char *c = line; *c; c++)
      filled += *c == '#';
    assert_true(filled > last);
    last = filled;
    progress_bar(&due.clock, &report, done, 30, line, sizeof line);
    assert_true(strlen(line) < 30);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(short_work_leaves_no_line),
      cmocka_unit_test(long_work_has_a_line_now_and_then_and_at_its_end),
      cmocka_unit_test(work_of_two_kinds_goes_on_side_by_side),
      cmocka_unit_test(bars_fill_and_keep_to_their_columns),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
