#include "perf/report.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { RANKS = 3, LINE_MAX_WIDTH = 130 };

static perf_counter_t counters[RANKS][REGION_COUNT];
static perf_collective_t collectives[TRAFFIC_COUNT * COLLECTIVE_COUNT];

static void assert_close(double found, double expected) {
  assert_true(fabs(found - expected) <= 1e-12 * fabs(expected));
}

static perf_report_t make_report(void) {
  memset(counters, 0, sizeof counters);
  for (int rank = 0; rank < RANKS; rank++) {
    counters[rank][REGION_FORWARD] = (perf_counter_t){.count = 10 + (uint64_t)rank,
                                                      .seconds = 2.0 * (rank + 1),
                                                      .flops = 1e9 * (rank + 1),
                                                      .bytes = 4e9,
                                                      .comm_bytes = 5e6,
                                                      .comm_seconds = 0.1,
                                                      .copied_bytes = 1e6 * rank,
                                                      .tokens = 600};
    counters[rank][REGION_IMAGE_DECODE] = (perf_counter_t){.count = 7, .thread_seconds = 1.5, .bytes = 3e9};
  }
  counters[1][REGION_DATA_WAIT] = (perf_counter_t){.count = 1, .seconds = 3};
  counters[0][REGION_FORWARD].background_seconds = 3;
  counters[0][REGION_FORWARD].exposed_seconds = 2;
  counters[2][REGION_FORWARD].background_seconds = 5;
  collectives[TRAFFIC_TP * COLLECTIVE_COUNT + COLLECTIVE_ALLREDUCE] =
      (perf_collective_t){.calls = 30, .bytes = 12345678901.0, .seconds = 1.5};
  return (perf_report_t){.all = &counters[0][0],
                         .ranks = RANKS,
                         .collectives = collectives,
                         .seconds = 10,
                         .product_type = "fp32",
                         .peak_flops = 1e9,
                         .peak_bytes = 2e9,
                         .resident = 5e8,
                         .resident_rank = 2,
                         .joules = 5000};
}

static void regions_are_put_together(void **state) {
  (void)state;
  perf_report_t report = make_report();
  perf_region_report_t r = perf_report_region(&report, REGION_FORWARD);
  assert_int_equal(r.count, 12);
  assert_close(r.min, 2);
  assert_close(r.avg, 4);
  assert_close(r.max, 6);
  assert_close(r.share, 0.4);
  assert_close(r.imbalance, 3);
  assert_close(r.flops, 6e9);
  assert_close(r.flops_per_second, 6e9 / 12);
  assert_close(r.flops_of_peak, 0.5);
  assert_close(r.bytes_per_second, 1e9);
  assert_close(r.bytes_of_peak, 0.5);
  assert_close(r.comm_bytes, 15e6);
  assert_close(r.comm_seconds, 0.3);
  assert_close(r.copied_bytes, 3e6);
  assert_close(r.tokens_per_second, 1800.0 / 6);
  assert_close(r.background_seconds, 8);
  assert_close(r.hidden, 0.75);
}

static void a_region_of_one_rank_is_all_imbalance(void **state) {
  (void)state;
  perf_report_t report = make_report();
  perf_region_report_t r = perf_report_region(&report, REGION_DATA_WAIT);
  assert_close(r.avg, 1);
  assert_true(isinf(r.imbalance));
  r = perf_report_region(&report, REGION_CHECKPOINT);
  assert_close(r.imbalance, 1);
}

static void helper_threads_rates_are_of_their_time(void **state) {
  (void)state;
  perf_report_t report = make_report();
  perf_region_report_t r = perf_report_region(&report, REGION_IMAGE_DECODE);
  assert_close(r.thread_seconds, 4.5);
  assert_close(r.bytes_per_second, 2e9);
  assert_true(r.share == 0);
  assert_true(r.hidden == 0);
}

/* Peaks that nobody measured, a run without time: no division by zero. */
static void nothing_measured_gives_zeros(void **state) {
  (void)state;
  perf_report_t report = make_report();
  report.peak_flops = report.peak_bytes = report.seconds = 0;
  perf_region_report_t r = perf_report_region(&report, REGION_FORWARD);
  assert_true(r.flops_of_peak == 0 && r.bytes_of_peak == 0 && r.share == 0);
}

/* Writes REPORT by WRITE to *TEXT, to be freed. */
static void write_text(const perf_report_t *report, status_t (*write)(const perf_report_t *, FILE *),
                       char **text) {
  size_t size = 0;
  FILE *file = open_memstream(text, &size);
  assert_non_null(file);
  assert_int_equal(write(report, file), STATUS_OK);
  fclose(file);
}

/* The table's lines are aligned and short enough, and a region has one exactly if it was entered. */
static void the_table_is_aligned(void **state) {
  (void)state;
  perf_report_t report = make_report();
  char *text = NULL;
  write_text(&report, perf_report_table, &text);
  size_t width = 0;
  int regions = 0;
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    if (width == 0) width = strlen(line);
    assert_true(strlen(line) <= LINE_MAX_WIDTH);
    for (int i = 0; i < REGION_COUNT; i++) {
      const char *name = perf_region_name((region_t)i);
      if (strncmp(line, name, strlen(name)) != 0 || strlen(line) != width || strncmp(line, "region", 6) == 0)
        continue;
      regions++;
      assert_true(i == REGION_FORWARD || i == REGION_IMAGE_DECODE || i == REGION_DATA_WAIT);
    }
  }
  assert_int_equal(regions, 3);
  free(text);
}

/* Very long runs and large numbers keep the columns apart. */
static void large_numbers_fit(void **state) {
  (void)state;
  perf_report_t report = make_report();
  for (int rank = 0; rank < RANKS; rank++)
    counters[rank][REGION_BACKWARD] = (perf_counter_t){.count = 99999999,
                                                       .seconds = 2e6 * (rank + 1),
                                                       .flops = 1e22,
                                                       .bytes = 1e20,
                                                       .comm_bytes = 1e19,
                                                       .tokens = 1e15};
  report.seconds = 6e6;
  char *text = NULL;
  write_text(&report, perf_report_table, &text);
  size_t width = strcspn(text, "\n");
  char *line = strstr(text, "\nbackward");
  assert_non_null(line);
  assert_int_equal(strcspn(line + 1, "\n"), width);
  free(text);
}

/* Value of NUMBER in the JSON object of the region NAME. */
static double json_number(const char *text, const char *name, const char *number) {
  char key[64];
  snprintf(key, sizeof key, "{\"name\": \"%s\"", name);
  const char *object = strstr(text, key);
  assert_non_null(object);
  snprintf(key, sizeof key, "\"%s\": ", number);
  const char *value = strstr(object, key);
  assert_non_null(value);
  return strtod(value + strlen(key), NULL);
}

static void json_holds_the_same_numbers(void **state) {
  (void)state;
  perf_report_t report = make_report();
  char *text = NULL;
  write_text(&report, perf_report_json, &text);
  assert_close(json_number(text, "forward", "avg"), 4);
  assert_close(json_number(text, "forward", "flops"), 6e9);
  assert_close(json_number(text, "forward", "bytes_of_peak"), 0.5);
  assert_close(json_number(text, "image decode", "thread_seconds"), 4.5);
  assert_close(json_number(text, "all-reduce", "bytes"), 12345678901.0);
  assert_close(json_number(text, "all-reduce", "calls"), 30);
  assert_non_null(strstr(text, "\"resident_bytes\": 500000000,"));
  assert_non_null(strstr(text, "\"resident_rank\": 2,"));
  assert_non_null(strstr(text, "\"joules\": 5000,"));
  assert_null(strstr(text, "inf"));
  assert_null(strstr(text, "nan"));
  int depth = 0;
  for (const char *c = text; *c; c++) {
    depth += (*c == '{' || *c == '[') - (*c == '}' || *c == ']');
    assert_true(depth >= 0);
  }
  assert_int_equal(depth, 0);
  free(text);
}

static void a_full_disk_is_an_error(void **state) {
  (void)state;
  perf_report_t report = make_report();
  FILE *full = fopen("/dev/full", "w");
  if (!full) skip();
  assert_int_equal(perf_report_json(&report, full), STATUS_DATA);
  fclose(full);
  error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(regions_are_put_together),
      cmocka_unit_test(a_region_of_one_rank_is_all_imbalance),
      cmocka_unit_test(helper_threads_rates_are_of_their_time),
      cmocka_unit_test(nothing_measured_gives_zeros),
      cmocka_unit_test(the_table_is_aligned),
      cmocka_unit_test(large_numbers_fit),
      cmocka_unit_test(json_holds_the_same_numbers),
      cmocka_unit_test(a_full_disk_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
