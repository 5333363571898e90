/* Hardware events go to the region in which they happen. Page faults are counted by the
 * system, so that this runs where the processor's counters are hidden; it is skipped where the system counts
 * nothing. */
#define _GNU_SOURCE
#include "perf/perf.h"
#include "perf/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { PAGES = 500 };
static const size_t page = 4096;

/* Touches PAGES pages for the first time. */
static void touch(void) {
  char *block = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(block != MAP_FAILED);
  (void)madvise(block, PAGES * page, MADV_NOHUGEPAGE);
  for (size_t i = 0; i < PAGES; i++)
    block[i * page] = 1;
  munmap(block, PAGES * page);
}

static void start(void) {
  static const char *const names[] = {"perf::PAGE-FAULTS"};
  perf_reset();
  if (hardware_start(names, 1) == STATUS_OK) return;
  error_clear();
  skip();
}

static double counted(region_t region) {
  perf_counter_t counters[REGION_COUNT];
  perf_snapshot(counters);
  return counters[region].hardware[0];
}

static void events_go_to_their_region(void **state) {
  (void)state;
  start();
  perf_begin(REGION_FORWARD);
  touch();
  perf_end(REGION_FORWARD);
  perf_begin(REGION_BACKWARD);
  perf_end(REGION_BACKWARD);
  double forward = counted(REGION_FORWARD), backward = counted(REGION_BACKWARD);
  if (!(forward >= PAGES && forward < 2 * PAGES))
    fail_msg("%g page faults, expected %d or few more", forward, PAGES);
  assert_true(backward < 50);
  hardware_stop();
  perf_begin(REGION_FORWARD);
  touch();
  perf_end(REGION_FORWARD);
  assert_true(counted(REGION_FORWARD) == forward);
}

static void reports_have_them(void **state) {
  (void)state;
  char *text = NULL, named[64];
  size_t n;
  perf_counter_t all[2 * REGION_COUNT] = {0};
  start();
  for (int rank = 0; rank < 2; rank++)
    all[rank * REGION_COUNT + REGION_REWARD] =
        (perf_counter_t){.count = 1, .seconds = 1.0, .hardware = {20.0 + rank}};
  const perf_report_t report = {.all = all, .ranks = 2, .seconds = 2.0};
  FILE *file = open_memstream(&text, &n);
  assert_int_equal(perf_report_json(&report, file), STATUS_OK);
  fclose(file);
  snprintf(named, sizeof named, "\"%s\": 41", "perf::PAGE-FAULTS");
  assert_non_null(strstr(text, named));
  hardware_stop();
  free(text);
}

static void what_cannot_be_counted_is_refused(void **state) {
  (void)state;
  static const char *const wrong[] = {"perf::PAGE-FAULTS", "NO_SUCH_EVENT"};
  assert_int_equal(hardware_start(wrong, 0), STATUS_OK);
  assert_int_equal(hardware_start(wrong, 2), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "log.hardware"));
  assert_int_equal(hardware_count(), 0);
  assert_int_equal(hardware_start(wrong, HARDWARE_MOST + 1), STATUS_INPUT);
  error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(events_go_to_their_region),
      cmocka_unit_test(reports_have_them),
      cmocka_unit_test(what_cannot_be_counted_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
