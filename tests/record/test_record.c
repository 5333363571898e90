/* When report.html is written on the way, and what a step leaves. */
#define _GNU_SOURCE
#include "record/record.h"

#include "mpi_test.h"
#include "perf/perf.h"
#include "run_test.h"

typedef struct {
  char folder[FILE_MAX_PATH];
  settings_t settings;
  rundir_t *rundir;
  record_t record;
} record_fixture_t;

static void open_fixture(record_fixture_t *f, int64_t report_every) {
  char path[FILE_MAX_PATH];
  run_test_folder(f->folder);
  f->settings = (settings_t){.log = {.every = 1, .report_every = report_every}};
  assert_ok(
      rundir_open(mpi_test_world(), run_test_path(path, f->folder, "run"), RUNDIR_CONTINUE, &f->rundir));
  assert_ok(record_start(&f->settings, 0, perf_now(), &f->record));
  record_open(&f->record, f->rundir);
}

static void close_fixture(record_fixture_t *f) {
  rundir_close(f->rundir);
  run_test_remove(f->folder);
}

static bool has_report(const record_fixture_t *f) {
  char path[FILE_MAX_PATH];
  return file_exists(run_test_path(path, f->folder, "run/report.html"));
}

static status_t log_step(record_fixture_t *f, const char *name, bool shown) {
  metrics_t metrics = {.step = 1};
  metrics_add(&metrics, name, 0.5);
  return record_metrics(&f->record, &metrics, shown);
}

static void a_report_is_written_when_it_is_due(void **state) {
  (void)state;
  record_fixture_t f;
  open_fixture(&f, 60);
  assert_ok(log_step(&f, "sft/loss", true));
  assert_false(has_report(&f)); /* the run has just begun */
  f.record.report_written -= 61.0;
  assert_ok(log_step(&f, "sft/loss", false));
  assert_false(has_report(&f)); /* not at a step that is not logged */
  f.record.report_seconds = 0.7;
  assert_ok(log_step(&f, "sft/loss", true));
  assert_false(has_report(&f)); /* one of 0.7 s would take more than 1 % of 61 s */
  f.record.report_seconds = 0.5;
  assert_ok(log_step(&f, "sft/loss", true));
  assert_true(has_report(&f));
  assert_true(perf_now() - f.record.report_written < 30.0);
  close_fixture(&f);
}

static void no_report_on_the_way_if_not_wanted(void **state) {
  (void)state;
  record_fixture_t f;
  open_fixture(&f, 0);
  f.record.report_written -= 1e6;
  assert_ok(log_step(&f, "sft/loss", true));
  assert_false(has_report(&f));
  record_close(&f.record, STATUS_OK);
  assert_true(has_report(&f));
  close_fixture(&f);
}

/* A report that cannot be written ends no run. */
static void a_report_that_cannot_be_written_is_warned_of(void **state) {
  (void)state;
  record_fixture_t f;
  char path[FILE_MAX_PATH];
  open_fixture(&f, 60);
  assert_ok(file_make_folder(run_test_path(path, f.folder, "run/report.html")));
  f.record.report_written -= 61.0;
  assert_ok(log_step(&f, "sft/loss", true));
  assert_string_equal(error_message(), "");
  close_fixture(&f);
}

static void unknown_metrics_reach_no_file(void **state) {
  (void)state;
  record_fixture_t f;
  char path[FILE_MAX_PATH];
  open_fixture(&f, 60);
  assert_int_equal(log_step(&f, "sft/los", true), STATUS_INTERNAL);
  error_clear();
  assert_false(file_exists(run_test_path(path, f.folder, "run/metrics.jsonl")));
  close_fixture(&f);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_report_is_written_when_it_is_due),
      cmocka_unit_test(no_report_on_the_way_if_not_wanted),
      cmocka_unit_test(a_report_that_cannot_be_written_is_warned_of),
      cmocka_unit_test(unknown_metrics_reach_no_file),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
