#include "record/record.h"

#include "base/log.h"
#include "base/memory.h"
#include "perf/hardware.h"
#include "perf/perf.h"
#include "record/describe.h"
#include "record/report.h"
#include "record/tensorboard.h"
#include "record/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REASON_MAX = 1024 };
static const double largest_share = 0.01; /* of the time, that goes into reports on the way */

status_t record_start(const settings_t *settings, int rank, double started, record_t *record) {
  *record = (record_t){.settings = settings, .rank = rank, .started = started, .report_written = started};
  TRY(hardware_start((const char *const *)settings->log.hardware.items, (int)settings->log.hardware.count));
  return settings->log.trace ? trace_open(0, &record->trace) : STATUS_OK;
}

void record_open(record_t *record, rundir_t *rundir) {
  record->rundir = rundir;
  record->run_dir = rundir_path(rundir);
}

status_t record_describe(record_t *record, const record_machine_t *machine) {
  record->machine = *machine;
  return record->rank == 0 ? describe_run(record, "running", NULL) : STATUS_OK;
}

/* ---- Metrics ---- */

static status_t record_add_events(record_t *record, const metrics_t *metrics) {
  if (!record->settings->log.tensorboard) return STATUS_OK;
  if (!record->tensorboard) {
    char folder[FILE_MAX_PATH];
    TRY(file_join(folder, record->run_dir, "tensorboard", NULL));
    TRY(tensorboard_open(folder, metrics->step, &record->tensorboard));
  }
  return tensorboard_add(record->tensorboard, metrics->step, metrics->count, metrics->names, metrics->values);
}

static void record_warn(status_code_t status, const char *what) {
  if (status != STATUS_OK) log_warning("%s could not be written: %s", what, error_message());
}

static void record_write_report(record_t *record) {
  char path[FILE_MAX_PATH];
  double begin = perf_now();
  status_code_t status = file_join(path, record->run_dir, "report.html", NULL);
  if (status == STATUS_OK) status = report_write(1, &record->run_dir, path);
  record_warn(status, "report.html");
  record->report_written = perf_now();
  record->report_seconds = record->report_written - begin;
}

/* A report on the way is worth little of the run's time: what slows the run down is written more seldom. */
static void record_write_report_if_due(record_t *record) {
  double every = (double)record->settings->log.report_every;
  double pause = fmax(every, record->report_seconds / largest_share);
  if (every <= 0.0 || perf_now() - record->report_written < pause) return;
  record_write_report(record);
  error_clear();
}

status_t record_metrics(record_t *record, const metrics_t *metrics, bool shown) {
  SCOPED_MEMORY char *line = NULL;
  char text[METRICS_LINE + 1];
  size_t n;
  TRY(metrics_check(metrics));
  if (record->rank != 0) return STATUS_OK;
  TRY(metrics_json(metrics, &line, &n));
  TRY(rundir_metrics_append(record->rundir, line, n));
  TRY(record_add_events(record, metrics));
  if (!shown) return STATUS_OK;
  for (int evaluation = 0; evaluation <= 1; evaluation++) {
    metrics_screen(metrics, evaluation == 1, text);
    if (*text) log_info("%s", text);
  }
  record_write_report_if_due(record);
  return STATUS_OK;
}

/* ---- Times ---- */

static status_t record_write_perf(const record_t *record, const perf_report_t *report, bool json) {
  char path[FILE_MAX_PATH], *text = NULL;
  size_t n = 0;
  TRY(file_join(path, record->run_dir, "perf.json", NULL));
  FILE *memory = open_memstream(&text, &n);
  if (!memory) return error_set(STATUS_MEMORY, "no memory for the performance table");
  status_code_t status = json ? perf_report_json(report, memory) : perf_report_table(report, memory);
  fclose(memory);
  if (status == STATUS_OK && json) status = file_replace(path, text, n);
  if (status == STATUS_OK && !json) log_info("\n%s", text);
  free(text);
  return status;
}

status_t record_perf(const record_t *record, const perf_report_t *report) {
  if (record->rank != 0) return STATUS_OK;
  TRY(record_write_perf(record, report, false));
  return record_write_perf(record, report, true);
}

/* ---- The end ---- */

static status_t record_write_trace(const record_t *record) {
  char name[64], path[FILE_MAX_PATH];
  snprintf(name, sizeof name, "trace/rank_%d.json.gz", record->rank);
  TRY(file_join(path, record->run_dir, name, NULL));
  return trace_write(record->trace, path, record->rank);
}

static const char *record_state_of(status_code_t status) {
  if (status == STATUS_OK) return "done";
  return status == STATUS_STOPPED ? "stopped" : "failed";
}

static void record_write_all(record_t *record, status_code_t status, const char *reason) {
  if (record->trace) record_warn(record_write_trace(record), "the timeline");
  if (record->rank != 0) return;
  if (record->machine.build)
    record_warn(describe_run(record, record_state_of(status), *reason ? reason : NULL), "run.json");
  record_write_report(record);
}

void record_fail(const record_t *record, status_code_t status, const char *message) {
  if (record->machine.build) record_warn(describe_run(record, record_state_of(status), message), "run.json");
}

void record_close(record_t *record, status_code_t status) {
  char reason[REASON_MAX];
  snprintf(reason, sizeof reason, "%s", error_message());
  if (record->rundir) record_write_all(record, status, reason);
  trace_close(record->trace);
  hardware_stop();
  tensorboard_close(record->tensorboard);
  record->trace = NULL;
  record->tensorboard = NULL;
  if (strcmp(reason, error_message()) == 0) return;
  error_clear();
  if (*reason) (void)!error_set(status, "%s", reason);
}
