#include "run/records.h"

#include "base/log.h"
#include "run/describe.h"
#include "run/report_html.h"
#include "run/tensorboard.h"
#include "run/trace.h"

#include <stdio.h>
#include <string.h>

enum { REASON_MAX = 1024 };

status_t records_start(session_t *session) {
  return session->settings->log.trace ? trace_open(0, &session->trace) : STATUS_OK;
}

status_t records_open(const session_t *session) {
  return comm_rank(session->world) == 0 ? describe_run(session, "running", NULL) : STATUS_OK;
}

static status_t open_tensorboard(session_t *session, int64_t step) {
  char folder[FILE_MAX_PATH];
  TRY(session_path(session, "tensorboard", folder));
  return tensorboard_open(folder, step, &session->tensorboard);
}

status_t records_metrics(session_t *session, const metrics_t *metrics) {
  if (comm_rank(session->world) != 0 || !session->settings->log.tensorboard) return STATUS_OK;
  if (!session->tensorboard) TRY(open_tensorboard(session, metrics->step));
  const char *names[METRICS_MAX];
  for (int32_t i = 0; i < metrics->count; i++)
    names[i] = metrics->names[i];
  return tensorboard_add(session->tensorboard, metrics->step, metrics->count, names, metrics->values);
}

static void warn(status_code_t status, const char *what) {
  if (status != STATUS_OK) log_warning("%s could not be written: %s", what, error_message());
}

static status_t write_trace(const session_t *session) {
  int rank = comm_rank(session->world);
  char name[64], path[FILE_MAX_PATH];
  snprintf(name, sizeof name, "trace/rank_%d.json.gz", rank);
  TRY(session_path(session, name, path));
  return trace_write(session->trace, path, rank);
}

static const char *state_of(status_code_t status) {
  if (status == STATUS_OK) return "done";
  return status == STATUS_STOPPED ? "stopped" : "failed";
}

static void write_all(session_t *session, status_code_t status, const char *reason) {
  if (session->trace) warn(write_trace(session), "the timeline");
  if (comm_rank(session->world) != 0) return;
  warn(describe_run(session, state_of(status), *reason ? reason : NULL), "run.json");
  warn(report_html_write(session->run_dir), "report.html");
}

void records_close(session_t *session, status_code_t status) {
  char reason[REASON_MAX];
  snprintf(reason, sizeof reason, "%s", error_message());
  if (session->rundir) write_all(session, status, reason);
  trace_close(session->trace);
  tensorboard_close(session->tensorboard);
  session->trace = NULL;
  session->tensorboard = NULL;
  if (strcmp(reason, error_message()) == 0) return;
  error_clear();
  if (*reason) (void)!error_set(status, "%s", reason);
}
