#include "session/session.h"

#include "base/log.h"
#include "base/memory.h"
#include "model/pass.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"
#include "perf/report.h"
#include "session/stop.h"
#include "tensor/peaks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

status_t session_path(const session_t *session, const char *name, char path[FILE_MAX_PATH]) {
  return file_join(path, session->run_dir, name, NULL);
}

status_t device_choose(const settings_t *settings, const device_entry_t *devices, int32_t count,
                       const device_entry_t **out) {
  const char *wanted = settings->parallel.device;
  for (*out = devices; *out < devices + count; ++*out)
    if ((*out == devices && strcmp(wanted, "auto") == 0) || strcmp(wanted, (*out)->name) == 0)
      return STATUS_OK;
  return error_set(
      STATUS_INPUT,
      "parallel.device = '%s' is not in this build (--version lists the devices); use 'auto', or "
      "build with it (README.md, cuda/README.md; --dry-run needs none with parallel.gpu_memory)",
      wanted);
}

/* Rank 0: the log, and the settings as they are used. */
static status_t session_open_files(const session_t *session) {
  SCOPED_MEMORY char *text = NULL;
  char path[FILE_MAX_PATH];
  TRY(session_path(session, "log.txt", path));
  TRY(log_open(path));
  TRY(session_path(session, "input.nml", path));
  TRY(settings_text(session->settings, &text));
  return file_replace(path, text, strlen(text));
}

static log_level_t level_of(const char *name) {
  if (strcmp(name, "debug") == 0) return LOG_DEBUG;
  if (strcmp(name, "warning") == 0) return LOG_WARNING;
  return strcmp(name, "error") == 0 ? LOG_ERROR : LOG_INFO;
}

static status_t session_open_run(session_t *session) {
  const settings_t *settings = session->settings;
  rundir_use_t use = strcmp(settings->job.restart, "never") == 0 ? RUNDIR_NEW : RUNDIR_CONTINUE;
  TRY(rundir_open(session->world, settings->job.run_dir, use, &session->rundir));
  session->run_dir = rundir_path(session->rundir);
  record_open(&session->record, session->rundir);
  status_code_t status = comm_rank(session->world) == 0 ? session_open_files(session) : STATUS_OK;
  /* A task that trains knows only later how far it goes back. */
  if (status == STATUS_OK && !task_trains(settings_task(settings)))
    status = rundir_samples_rewind(session->rundir, -1, 0);
  return comm_agree(session->world, status);
}

static void session_tell_end(void *context, status_code_t status, const char *message);

status_t session_prepare(comm_t *world, const settings_t *settings, const device_entry_t *devices,
                         int32_t count, session_t *session) {
  *session = (session_t){.settings = settings, .world = world, .started = perf_now()};
  perf_reset();
  TRY(record_start(settings, comm_rank(world), session->started, &session->record));
  perf_begin(REGION_SETUP);
  log_set_level(level_of(settings->log.level));
  stop_install();
  TRY(watchdog_start(world, settings->parallel.timeout));
  watchdog_on_end(session_tell_end, session);
  TRY(grid_create(world, (int)settings->parallel.tp, (int)settings->parallel.threads, &session->grid));
  const device_entry_t *device;
  status_code_t status = device_choose(settings, devices, count, &device);
  if (status == STATUS_OK) status = device->create(&session->grid, settings, &session->device);
  TRY(comm_agree(world, status));
  status = device_comm_create(session->device, session->grid.tp);
  if (status == STATUS_OK) status = device_comm_create(session->device, session->grid.dp);
  TRY(comm_agree(world, status));
  device_cores(session->device, &session->cores);
  session->joules = device_energy(session->device);
  device_time_regions(session->device);
  device_peaks_t peaks;
  TRY(device_measure_peaks(session->device, 0, &peaks));
  session->product_flops = peaks.flops[WEIGHT_REAL];
  session->stream_bytes = peaks.bytes;
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

/* What the device can do beside its compute type, and how much memory there is. */
static status_t session_log_device(const session_t *session) {
  device_t *device = session->device;
  device_peaks_t peaks = {0};
  status_code_t status = device_measure_formats(device, &peaks);
  TRY(comm_agree(session->world, status));
  log_info("device     %s (%s), products in %s %.1f GFLOP/s, streaming %.1f GB/s", device->name,
           device->detail, dtype_name(device->real_type), 1e-9 * session->product_flops,
           1e-9 * session->stream_bytes);
  if (peaks.flops[WEIGHT_BF16] > 0.0)
    log_info("           products with weights in bf16 %.1f, in NF4 %.1f GFLOP/s",
             1e-9 * peaks.flops[WEIGHT_BF16], 1e-9 * peaks.flops[WEIGHT_NF4]);
  log_info("           %.1f GB of memory, %.1f GB of it free", 1e-9 * (double)device_total_memory(device),
           1e-9 * (double)device_free_memory(device, 1));
  return STATUS_OK;
}

status_t session_open(session_t *session, const char *build) {
  const char *job = job_id();
  TRY(session_open_run(session));
  log_start_clock(perf_now() - session->started);
  log_info("llava_rlhf %s%s%s", build, job ? ", job " : "", job ? job : "");
  log_info("task       %s in %s", session->settings->job.task, session->run_dir);
  TRY(session_log_device(session));
  const record_machine_t machine = {build,
                                    &session->grid,
                                    &session->cores,
                                    session->device->name,
                                    session->device->detail,
                                    session->product_flops,
                                    session->stream_bytes};
  TRY(comm_agree(session->world, record_describe(&session->record, &machine)));
  return grid_describe(&session->grid, &session->cores);
}

static void session_log_memory(const perf_report_t *report) {
  log_info("memory     largest resident set of a rank: %.1f MB (rank %d)", 1e-6 * report->resident,
           report->resident_rank);
  log_info("           most that rank 0 had on the device: %.1f MB",
           1e-6 * (double)memory_usage_at(MEMORY_DEVICE, ARENA_COUNT).peak);
  log_info("           peak per arena of rank 0, MB (at one time %.1f):", 1e-6 * (double)memory_peak());
  for (int a = 0; a < ARENA_COUNT; a++) {
    memory_usage_t usage = memory_usage((arena_t)a);
    if (usage.peak > 100000) log_info("             %-12s %10.1f", usage.name, 1e-6 * (double)usage.peak);
  }
}

/* Gathers what all ranks counted, and how large each was at most; rank 0 stores it. */
static status_t session_report(session_t *session) {
  SCOPED_MEMORY perf_counter_t *all = NULL;
  SCOPED_MEMORY double *resident = NULL;
  comm_t *world = session->world;
  int ranks = comm_size(world);
  perf_counter_t mine[REGION_COUNT];
  perf_collective_t collectives[TRAFFIC_COUNT * COLLECTIVE_COUNT];
  double mine_resident = (double)memory_resident_peak();
  double joules = device_energy_since(session->device, session->joules);
  status_code_t status = memory_alloc(&all, ARENA_OTHER, (size_t)ranks * REGION_COUNT, sizeof *all);
  if (status == STATUS_OK) status = memory_alloc(&resident, ARENA_OTHER, (size_t)ranks, sizeof *resident);
  TRY(comm_agree(world, status));
  perf_snapshot(mine);
  perf_collectives(collectives);
  TRY(comm_allgather(world, mine, all, sizeof mine, COMM_BYTE));
  TRY(comm_allgather(world, &mine_resident, resident, 1, COMM_F64));
  TRY(comm_allreduce(world, collectives, sizeof collectives / (sizeof(double)), COMM_F64, COMM_SUM));
  TRY(comm_allreduce(world, &joules, 1, COMM_F64, COMM_SUM));
  if (comm_rank(world) != 0) return STATUS_OK;
  perf_report_t report = {.all = all,
                          .collectives = collectives,
                          .ranks = ranks,
                          .product_type = dtype_name(session->device->real_type),
                          .peak_flops = session->product_flops,
                          .peak_bytes = session->stream_bytes,
                          .joules = joules,
                          .seconds = perf_now() - session->started};
  for (int rank = 0; rank < ranks; rank++)
    if (resident[rank] > report.resident) {
      report.resident = resident[rank];
      report.resident_rank = rank;
    }
  session_log_memory(&report);
  return record_perf(&session->record, &report);
}

static void session_log_success(const session_t *session, status_code_t status) {
  double seconds = perf_now() - session->started;
  if (session->record.skipped > 0)
    log_warning("%lld times a bad sample was left out (data.bad_sample = 'skip')",
                (long long)session->record.skipped);
  if (status == STATUS_OK)
    log_info("DONE       %.1f s", seconds);
  else
    log_info("STOPPED    after %.1f s%s%s. Start again with the same command", seconds,
             *error_message() ? ": " : "", error_message());
}

/* What went wrong; once the run has a log, with a last line that says so. */
static void session_log_failure(const session_t *session, status_code_t status, const char *message) {
  if (session->rundir)
    log_error("%s\nFAILED     after %.1f s (%s, exit status %d)", message, perf_now() - session->started,
              status_name(status), status_exit(status));
  else
    log_error("%s", message);
  log_debug("%s", error_backtrace());
}

static void session_log_end(session_t *session, status_code_t status) {
  bool good = status == STATUS_OK || status == STATUS_STOPPED;
  log_stop_clock();
  if (!good && comm_rank(session->world) == 0) session_log_failure(session, status, error_message());
  bool table = good && session->rundir;
  if (table && session_report(session) != STATUS_OK)
    log_warning("the performance table could not be written: %s", error_message());
  record_close(&session->record, status);
  if (table) session_log_success(session, status);
}

void session_close(session_t *session, status_code_t status) {
  session_log_end(session, status);
  watchdog_stop();
  pass_free(session->pass);
  if (session->device) {
    device_comm_free(session->device, session->grid.tp);
    device_comm_free(session->device, session->grid.dp);
    device_free(session->device);
  }
  if (session->grid.world) grid_free(&session->grid);
  rundir_close(session->rundir);
  log_close();
  *session = (session_t){0};
}

/* The last words of a run whose ranks have not come together, in its log and in run.json, by whichever rank
 * ends it. May be called from the watchdog's thread. */
static void session_tell_end(void *context, status_code_t status, const char *message) {
  session_t *session = context;
  char path[FILE_MAX_PATH];
  bool log_elsewhere = session->rundir && comm_rank(session->world) != 0; /* rank 0 has it open */
  if (log_elsewhere && (session_path(session, "log.txt", path) != STATUS_OK || log_open(path) != STATUS_OK))
    log_warning("%s", error_message());
  log_stop_clock();
  session_log_failure(session, status, message);
  if (session->rundir) record_fail(&session->record, status, message);
}

void session_fail(session_t *session, status_code_t status) {
  char message[4096];
  snprintf(message, sizeof message, "%s", error_message());
  session_tell_end(session, status, message);
  log_close();
}

bool session_stop_requested(session_t *session, double reserve) {
  double limit = session->settings->job.max_seconds;
  watchdog_alive();
  if (stop_signal()) session->stop_why[STOP_SIGNAL] = 1;
  if (session->dry) return session->stop_why[STOP_SIGNAL] != 0; /* it has no run directory and is short */
  bool exit_seen = false; /* rank 0 sees the file EXIT once: it is removed then */
  if (session->stop_status == STATUS_OK) session->stop_status = rundir_poll(session->rundir, &exit_seen);
  if (exit_seen) session->stop_why[STOP_EXIT] = 1;
  double end = perf_now() - session->started + session->reserve + reserve;
  if (limit > 0.0 && end > limit) session->stop_why[STOP_TIME] = 1;
  const int32_t *why = session->stop_why;
  return session->stop_status != STATUS_OK || why[STOP_SIGNAL] || why[STOP_EXIT] || why[STOP_TIME];
}

status_t session_continue(session_t *session, double reserve) {
  bool stop;
  TRY(comm_any(session->world, session_stop_requested(session, reserve), &stop));
  return stop ? STATUS_STOPPED : STATUS_OK;
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
  if (since > session->longest_step) session->longest_step = since;
  session->last_look = now;
  TRY(comm_any(session->world, session_stop_requested(session, session->longest_step + reserve), stop));
  return *stop ? session_stopped(session, NULL) : STATUS_OK;
}

void session_skipped(session_t *session, int64_t samples, metrics_t *metrics) {
  session->record.skipped += samples;
  if (metrics) metrics_add(metrics, "data/skipped", (double)samples);
}

status_t session_log(session_t *session, const metrics_t *metrics, bool shown) {
  return session->dry ? STATUS_OK : record_metrics(&session->record, metrics, shown);
}
