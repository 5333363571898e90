#include "run/session.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/json.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"
#include "perf/report.h"
#include "run/peaks.h"
#include "run/records.h"
#include "run/stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

status_t session_path(const session_t *session, const char *name, char path[FILE_MAX_PATH]) {
  return file_join(path, session->run_dir, name, NULL);
}

static status_t open_device(session_t *session, const device_entry_t *devices, int32_t count) {
  const char *wanted = session->settings->parallel.device;
  for (int32_t d = 0; d < count; d++)
    if ((d == 0 && strcmp(wanted, "auto") == 0) || strcmp(wanted, devices[d].name) == 0)
      return devices[d].create(&session->grid, session->settings, &session->device);
  return error_set(STATUS_INPUT,
                   "parallel.device = '%s' is not in this build (--version lists the devices); use 'auto'",
                   wanted);
}

static status_t echo_settings(const session_t *session) {
  char path[FILE_MAX_PATH], *text;
  TRY(session_path(session, "input.nml", path));
  TRY(settings_text(session->settings, &text));
  status_code_t status = file_replace(path, text, strlen(text));
  memory_free(text);
  return status;
}

static status_t open_log(const session_t *session) {
  char path[FILE_MAX_PATH];
  TRY(session_path(session, "log.txt", path));
  return log_open(path);
}

static log_level_t level_of(const char *name) {
  if (strcmp(name, "debug") == 0) return LOG_DEBUG;
  if (strcmp(name, "warning") == 0) return LOG_WARNING;
  return strcmp(name, "error") == 0 ? LOG_ERROR : LOG_INFO;
}

static status_t open_run(session_t *session) {
  const settings_t *settings = session->settings;
  rundir_use_t use = strcmp(settings->job.restart, "never") == 0 ? RUNDIR_NEW : RUNDIR_CONTINUE;
  TRY(rundir_open(session->world, settings->job.run_dir, use, &session->rundir));
  session->run_dir = rundir_path(session->rundir);
  status_code_t status = STATUS_OK;
  if (comm_rank(session->world) == 0) {
    status = open_log(session);
    if (status == STATUS_OK) status = echo_settings(session);
  }
  /* A task that trains knows only later how far it goes back. */
  if (status == STATUS_OK && !task_trains(settings_task(settings)))
    status = rundir_samples_rewind(session->rundir, -1, 0);
  return comm_agree(session->world, status);
}

status_t session_prepare(comm_t *world, const settings_t *settings, const device_entry_t *devices,
                         int32_t count, session_t *session) {
  *session = (session_t){.settings = settings, .world = world, .started = perf_now()};
  perf_reset();
  TRY(records_start(session));
  perf_begin(REGION_SETUP);
  log_set_level(level_of(settings->log.level));
  stop_install();
  TRY(watchdog_start(world, settings->parallel.timeout));
  TRY(grid_create(world, (int)settings->parallel.tp, (int)settings->parallel.threads, &session->grid));
  TRY(comm_agree(world, open_device(session, devices, count)));
  TRY(peaks_measure(session->device, &session->sgemm_flops, &session->stream_bytes));
  perf_end(REGION_SETUP);
  return STATUS_OK;
}

/* The number that the scheduler gave the job, NULL outside of one. */
static const char *job_id(void) {
  static const char *const variables[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"};
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
    const char *value = getenv(variables[i]);
    if (value && *value) return value;
  }
  return NULL;
}

status_t session_open(session_t *session, const char *build) {
  const char *job = job_id();
  TRY(open_run(session));
  log_info("llava_rlhf %s%s%s", build, job ? ", job " : "", job ? job : "");
  log_info("task       %s in %s", session->settings->job.task, session->run_dir);
  log_info("device     %s (%s), sgemm %.1f GFLOP/s, streaming %.1f GB/s", session->device->name,
           session->device->detail, 1e-9 * session->sgemm_flops, 1e-9 * session->stream_bytes);
  session->build = build;
  TRY(comm_agree(session->world, records_open(session)));
  return grid_describe(&session->grid);
}

/* The table of all ranks, on rank 0. */
static status_t write_report(const session_t *session, const perf_report_t *report) {
  char path[FILE_MAX_PATH], *text = NULL;
  size_t n = 0;
  FILE *memory = open_memstream(&text, &n);
  if (!memory) return error_set(STATUS_MEMORY, "no memory for the performance table");
  status_code_t status = perf_report_table(report, memory);
  fclose(memory);
  if (status == STATUS_OK) log_info("\n%s", text);
  free(text);
  TRY(status);
  TRY(session_path(session, "perf.json", path));
  memory = open_memstream(&text, &n);
  if (!memory) return error_set(STATUS_MEMORY, "no memory for perf.json");
  status = perf_report_json(report, memory);
  fclose(memory);
  if (status == STATUS_OK) status = file_replace(path, text, n);
  free(text);
  return status;
}

static void log_memory(const perf_report_t *report) {
  size_t total = 0;
  for (int a = 0; a < ARENA_COUNT; a++)
    total += memory_usage((arena_t)a).peak;
  log_info("memory     largest resident set of a rank: %.1f MB (rank %d)", 1e-6 * report->resident,
           report->resident_rank);
  log_info("           peak per arena of rank 0, MB (sum %.1f):", 1e-6 * (double)total);
  for (int a = 0; a < ARENA_COUNT; a++) {
    memory_usage_t usage = memory_usage((arena_t)a);
    if (usage.peak > 100000) log_info("             %-12s %10.1f", usage.name, 1e-6 * (double)usage.peak);
  }
}

/* The same on all ranks. */
static status_t find_resident(session_t *session, perf_report_t *report) {
  double mine = (double)memory_resident_peak(), *all = NULL;
  TRY(memory_alloc(&all, ARENA_OTHER, (size_t)report->ranks, sizeof *all));
  status_code_t status = comm_allgather(session->world, &mine, all, 1, COMM_F64);
  for (int rank = 0; rank < report->ranks && status == STATUS_OK; rank++)
    if (all[rank] > report->resident) {
      report->resident = all[rank];
      report->resident_rank = rank;
    }
  memory_free(all);
  return status;
}

static status_t report_ranks(session_t *session, perf_counter_t *all) {
  perf_counter_t mine[REGION_COUNT];
  perf_report_t report = {.all = all,
                          .ranks = comm_size(session->world),
                          .peak_flops = session->sgemm_flops,
                          .peak_bytes = session->stream_bytes};
  perf_snapshot(mine);
  TRY(comm_allgather(session->world, mine, all, sizeof mine, COMM_BYTE));
  TRY(find_resident(session, &report));
  if (comm_rank(session->world) != 0) return STATUS_OK;
  report.seconds = perf_now() - session->started;
  log_memory(&report);
  return write_report(session, &report);
}

static status_t report(session_t *session) {
  perf_counter_t *all;
  TRY(memory_alloc(&all, ARENA_OTHER, (size_t)comm_size(session->world) * REGION_COUNT, sizeof *all));
  status_code_t status = report_ranks(session, all);
  memory_free(all);
  return status;
}

static void log_success(const session_t *session, status_code_t status) {
  double seconds = perf_now() - session->started;
  if (session->skipped > 0)
    log_warning("%lld times a bad sample was left out (data.bad_sample = 'skip')",
                (long long)session->skipped);
  if (status == STATUS_OK)
    log_info("DONE       %.1f s", seconds);
  else
    log_info("STOPPED    after %.1f s%s%s. Start again with the same command", seconds,
             *error_message() ? ": " : "", error_message());
}

/* What went wrong; once the run has a log, with a last line that says so. */
static void log_failure(const session_t *session, status_code_t status, const char *message) {
  if (session->rundir)
    log_error("%s\nFAILED     after %.1f s (%s, exit status %d)", message, perf_now() - session->started,
              status_name(status), status_exit(status));
  else
    log_error("%s", message);
  log_debug("%s", error_backtrace());
}

static void log_end(session_t *session, status_code_t status) {
  bool good = status == STATUS_OK || status == STATUS_STOPPED;
  if (!good && comm_rank(session->world) == 0) log_failure(session, status, error_message());
  bool table = good && session->rundir;
  if (table && report(session) != STATUS_OK)
    log_warning("the performance table could not be written: %s", error_message());
  records_close(session, status);
  if (table) log_success(session, status);
}

void session_close(session_t *session, status_code_t status) {
  log_end(session, status);
  watchdog_stop();
  if (session->device) device_free(session->device);
  if (session->grid.world) grid_free(&session->grid);
  rundir_close(session->rundir);
  log_close();
  *session = (session_t){0};
}

void session_fail(session_t *session, status_code_t status) {
  char path[FILE_MAX_PATH], message[4096];
  bool log_elsewhere = session->rundir && comm_rank(session->world) != 0; /* rank 0 has it open */
  snprintf(message, sizeof message, "%s", error_message());
  if (log_elsewhere && (session_path(session, "log.txt", path) != STATUS_OK || log_open(path) != STATUS_OK))
    log_warning("%s", error_message());
  log_failure(session, status, message);
  log_close();
}

/* Rank 0 sees the file EXIT once: it is removed then. */
static void look_for_file(session_t *session) {
  bool seen;
  if (session->stop_status != STATUS_OK) return;
  session->stop_status = rundir_poll(session->rundir, &seen);
  if (session->stop_status == STATUS_OK && seen) session->stop_why[STOP_EXIT] = 1;
}

bool session_wish(session_t *session, double reserve) {
  double limit = session->settings->job.max_seconds;
  if (session->dry) return false;
  look_for_file(session);
  if (stop_signal()) session->stop_why[STOP_SIGNAL] = 1;
  double end = perf_now() - session->started + session->reserve + reserve;
  if (limit > 0.0 && end > limit) session->stop_why[STOP_TIME] = 1;
  const int32_t *why = session->stop_why;
  return session->stop_status != STATUS_OK || why[STOP_SIGNAL] || why[STOP_EXIT] || why[STOP_TIME];
}

status_t session_stopped(session_t *session, bool *asked) {
  static const char *const reasons[STOP_REASONS] = {[STOP_SIGNAL] = "a signal asks to stop",
                                                    [STOP_EXIT] = "the file EXIT asks to stop",
                                                    [STOP_TIME] = "job.max_seconds is nearly used up"};
  int32_t *why = session->stop_why, reason = STOP_SIGNAL;
  TRY(comm_agree(session->world, session->stop_status));
  TRY(comm_allreduce(session->world, why, STOP_REASONS, COMM_I32, COMM_MAX));
  while (reason < STOP_TIME && !why[reason])
    reason++;
  if (!session->stop_told) log_info("stopping   %s", reasons[reason]);
  session->stop_told = true;
  if (asked) *asked = reason != STOP_TIME;
  return STATUS_OK;
}

status_t session_stop(session_t *session, double reserve, bool *stop) {
  double now = perf_now(), since = session->last_look > 0.0 ? now - session->last_look : 0.0;
  *stop = false;
  if (session->dry) return STATUS_OK;
  if (since > session->longest_step) session->longest_step = since;
  session->last_look = now;
  TRY(comm_any(session->world, session_wish(session, session->longest_step + reserve), stop));
  return *stop ? session_stopped(session, NULL) : STATUS_OK;
}

void metrics_add(metrics_t *metrics, const char *name, double value) {
  metrics->refused |= metrics->count == METRICS_MAX || strlen(name) >= METRICS_NAME_MAX;
  if (metrics->refused) return;
  strcpy(metrics->names[metrics->count], name);
  metrics->values[metrics->count++] = value;
}

static status_t metrics_check(const metrics_t *metrics) {
  if (!metrics->refused) return STATUS_OK;
  return error_set(STATUS_INTERNAL,
                   "step %lld has more than %d metrics, or one whose name has more than %d characters",
                   (long long)metrics->step, METRICS_MAX, METRICS_NAME_MAX - 1);
}

void session_skipped(session_t *session, int64_t samples, metrics_t *metrics) {
  session->skipped += samples;
  if (metrics) metrics_add(metrics, "data/skipped", (double)samples);
}

static status_t metrics_line(const metrics_t *metrics, char **line, size_t *n) {
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_int_member(writer, "step", metrics->step);
  json_write_real_member(writer, "seconds", metrics->seconds);
  for (int32_t i = 0; i < metrics->count; i++) {
    json_write_key(writer, metrics->names[i]);
    json_write_real(writer, metrics->values[i]);
  }
  json_write_object_end(writer);
  json_write_line(writer);
  return json_writer_finish(writer, line, n);
}

/* Task ppo has more metrics than a line of text can hold: of its groups these are shown. */
static bool is_shown(const char *name) {
  static const char *const groups[] = {"objective/", "rollout/", "ppo/"};
  static const char *const shown[] = {"objective/rewards",   "objective/kl_sum_seq",    "objective/entropies",
                                      "objective/lr",        "rollout/response_length", "rollout/stopped",
                                      "rollout/logprob_gap", "ppo/loss/policy",         "ppo/loss/value",
                                      "ppo/loss/grad_norm"};
  for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
    if (strcmp(name, shown[i]) == 0) return true;
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    if (strncmp(name, groups[i], strlen(groups[i])) == 0) return false;
  return true;
}

status_t session_log(session_t *session, const metrics_t *metrics, bool shown) {
  TRY(metrics_check(metrics));
  if (comm_rank(session->world) != 0 || session->dry) return STATUS_OK;
  char *line;
  size_t n;
  TRY(metrics_line(metrics, &line, &n));
  status_code_t status = rundir_metrics_append(session->rundir, line, n);
  memory_free(line);
  TRY(status);
  TRY(records_metrics(session, metrics));
  if (!shown) return STATUS_OK;
  char text[1024];
  int used = snprintf(text, sizeof text, "step %6lld", (long long)metrics->step);
  for (int32_t i = 0; i < metrics->count && used < (int)sizeof text - 64; i++)
    if (is_shown(metrics->names[i]))
      used += snprintf(text + used, sizeof text - (size_t)used, " | %s %.4g", metrics->names[i],
                       metrics->values[i]);
  log_info("%s", text);
  return STATUS_OK;
}
