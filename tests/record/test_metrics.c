/* The table of metrics, and what is made of it. That every name that is logged has a row is tested over the
 * sources by structure/check_metrics.sh. */
#define _GNU_SOURCE
#include "record/metrics.h"

#include "record/metric_print.h"
#include "record/metric_table.h"
#include "run_test.h"

#include <math.h>

static void the_table_is_complete(void **state) {
  (void)state;
  int count, groups, charts;
  const metric_t *table = metric_table(&count);
  const metric_group_t *group = metric_groups(&groups);
  const chart_t *chart = metric_charts(&charts);
  for (int m = 0; m < count; m++) {
    int in_groups = 0, in_charts = table[m].chart == NULL;
    for (int g = 0; g < groups; g++)
      in_groups += strncmp(table[m].name, group[g].prefix, strlen(group[g].prefix)) == 0;
    for (int c = 0; c < charts; c++)
      in_charts += table[m].chart && strcmp(table[m].chart, chart[c].title) == 0;
    if (in_groups != 1) fail_msg("%s is in %d groups", table[m].name, in_groups);
    if (in_charts != 1) fail_msg("%s: %d charts are called '%s'", table[m].name, in_charts, table[m].chart);
    if (metric_find(table[m].name) != &table[m]) fail_msg("%s is there twice", table[m].name);
    size_t n = strlen(table[m].meaning);
    if (n < 10 || !strchr(".)", table[m].meaning[n - 1])) fail_msg("%s has no sentence", table[m].name);
    assert_non_null(table[m].title);
  }
  for (int c = 0; c < charts; c++) {
    int metrics = 0;
    for (int m = 0; m < count; m++)
      metrics += table[m].chart && strcmp(table[m].chart, chart[c].title) == 0;
    if (metrics == 0) fail_msg("nothing is drawn in chart '%s'", chart[c].title);
  }
  assert_null(metric_find("sft/los"));
}

static void unknown_names_are_our_mistake(void **state) {
  (void)state;
  metrics_t metrics = {.step = 3};
  metrics_add(&metrics, "sft/loss", 1.0);
  assert_ok(metrics_check(&metrics));
  metrics_add(&metrics, "sft/los", 1.0);
  assert_int_equal(metrics_check(&metrics), STATUS_INTERNAL);
  assert_non_null(strstr(error_message(), "'sft/los'"));
  error_clear();
}

static void too_many_metrics_are_our_mistake(void **state) {
  (void)state;
  metrics_t metrics = {.step = 3};
  for (int i = 0; i < METRICS_MAX; i++)
    metrics_add(&metrics, "sft/loss", i);
  assert_ok(metrics_check(&metrics));
  metrics_add(&metrics, "sft/loss", 1.0);
  assert_int_equal(metrics_check(&metrics), STATUS_INTERNAL);
  error_clear();
}

/* Names and values to the bit, in the order in which they were added. */
static void lines_of_json_keep_every_bit(void **state) {
  (void)state;
  metrics_t metrics = {.step = 12, .seconds = 1.5};
  char *line;
  size_t n;
  metrics_add(&metrics, "sft/loss", 0.1 + 0.2);
  metrics_add(&metrics, "sft/lr", 1e-4);
  metrics_add(&metrics, "data/skipped", NAN);
  assert_ok(metrics_json(&metrics, &line, &n));
  assert_string_equal(line, "{\"step\":12,\"seconds\":1.5,\"sft/loss\":0.30000000000000004,\"sft/lr\":0.0001,"
                            "\"data/skipped\":null}\n");
  assert_int_equal(n, strlen(line));
  memory_free(line);
}

/* All metrics of a prefix at once, with values whose text is long. */
static void fill(metrics_t *metrics, const char *const *prefixes, double value) {
  int count;
  const metric_t *table = metric_table(&count);
  for (int p = 0; prefixes[p]; p++)
    for (int m = 0; m < count; m++)
      if (strncmp(table[m].name, prefixes[p], strlen(prefixes[p])) == 0)
        metrics_add(metrics, table[m].name, value);
}

static void screen_lines_fit(void **state) {
  (void)state;
  static const char *const tasks[][6] = {
      {"sft/", "eval/loss", "data/", "step_seconds", NULL},
      {"rm/", "eval/loss", "eval/accuracy", "data/", "step_seconds", NULL},
      {"objective/", "rollout/", "ppo/", "eval/r", "step_seconds", NULL},
  };
  static const double values[] = {-0.000123456, -123.456789, 0.987654321, 1234567.0, 0.0, NAN};
  for (size_t t = 0; t < sizeof tasks / sizeof *tasks; t++)
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
      metrics_t metrics = {.step = 1000000};
      char text[METRICS_LINE + 1];
      fill(&metrics, tasks[t], values[v]);
      for (int evaluation = 0; evaluation <= 1; evaluation++) {
        metrics_screen(&metrics, evaluation == 1, text);
        assert_true(strlen(text) > 15 && strlen(text) <= METRICS_LINE);
        assert_null(strchr(text, '\n'));
      }
    }
}

/* With usual values nothing is left out: the last label of the table is there. */
static void usual_values_are_all_shown(void **state) {
  (void)state;
  static const char *const ppo[] = {"objective/", "rollout/", "ppo/", "step_seconds", NULL};
  metrics_t metrics = {.step = 100};
  char text[METRICS_LINE + 1];
  fill(&metrics, ppo, 0.123456);
  metrics_screen(&metrics, false, text);
  assert_non_null(strstr(text, "reward"));
  assert_non_null(strstr(text, "grad"));
  assert_non_null(strstr(text, "0.123 s"));
}

static void steps_without_evaluation_have_one_line(void **state) {
  (void)state;
  metrics_t metrics = {.step = 5};
  char text[METRICS_LINE + 1];
  metrics_add(&metrics, "sft/loss", 1.25);
  metrics_screen(&metrics, true, text);
  assert_string_equal(text, "");
  metrics_screen(&metrics, false, text);
  assert_non_null(strstr(text, "1.25"));
}

/* docs/metrics.md is what the program prints. */
static void the_page_in_docs_is_up_to_date(void **state) {
  (void)state;
  char *printed = NULL, *committed;
  size_t n;
  FILE *file = open_memstream(&printed, &n);
  assert_non_null(file);
  assert_ok(metric_print(file, true));
  fclose(file);
  assert_ok(file_read(TEST_SOURCE_DIR "/../docs/metrics.md", 1 << 20, &committed, NULL));
  if (strcmp(printed, committed) != 0)
    fail_msg("docs/metrics.md differs: llava_rlhf --print-metrics=markdown > docs/metrics.md");
  memory_free(committed);
  free(printed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_table_is_complete),
      cmocka_unit_test(unknown_names_are_our_mistake),
      cmocka_unit_test(too_many_metrics_are_our_mistake),
      cmocka_unit_test(lines_of_json_keep_every_bit),
      cmocka_unit_test(screen_lines_fit),
      cmocka_unit_test(usual_values_are_all_shown),
      cmocka_unit_test(steps_without_evaluation_have_one_line),
      cmocka_unit_test(the_page_in_docs_is_up_to_date),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
