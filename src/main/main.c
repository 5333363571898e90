/* llava_rlhf: reads the command line and the input, registers devices and judges, runs the task. The only
 * place that ends the process. */
#include "base/log.h"
#include "base/memory.h"
#include "input/help.h"
#include "input/options.h"
#include "main/devices.h"
#include "main/judges.h"
#include "main/tasks.h"
#include "main/version.h"
#include "parallel/cores.h"
#include "parallel/shutdown.h"
#include "record/metric_print.h"
#include "record/report.h"
#include "record/trace.h"
#include "selftest/selftest.h"
#include "session/dry_run.h"
#include "session/overwrite.h"
#include "session/paths.h"
#include "session/stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long a rank that failed waits for the others to fail with it, before it ends them. */
static const double patience_seconds = 3;

/* ---- Commands that need no MPI ---- */

/* Whether this process is the one that speaks, as far as the launcher tells: started by mpirun or srun
 * without need, a command should still answer once. */
static bool main_speaks(void) {
  static const char *const variables[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
    const char *value = getenv(variables[i]);
    if (value && *value) return strcmp(value, "0") == 0;
  }
  return true;
}

static void main_log_warnings(const char *warnings) {
  for (const char *line = warnings; *line;) {
    int n = (int)strcspn(line, "\n");
    log_warning("%.*s", n, line);
    line += line[n] ? n + 1 : n;
  }
}

/* What a run would refuse before it looks at any file. */
static status_t main_check_build(const settings_t *settings) {
  TRY(judges_check(settings));
  return devices_check(settings);
}

static status_t main_check_input(const options_t *options) {
  settings_t settings;
  char *warnings = NULL;
  TRY(settings_read(options->input, options->override_count, options->overrides, &settings, &warnings));
  main_log_warnings(warnings);
  status_code_t status = main_check_build(&settings);
  if (status == STATUS_OK) log_info("%s: ok", options->input);
  memory_free(warnings);
  settings_free(&settings);
  return status;
}

static status_t main_answer(const options_t *options) {
  switch (options->command) {
  case COMMAND_HELP:
    return help_print(stdout);
  case COMMAND_VERSION:
    return version_print();
  case COMMAND_PRINT_DEFAULTS:
    return settings_print_defaults(stdout, options->task);
  case COMMAND_PRINT_MANUAL:
    return help_print_manual(stdout, version_number());
  case COMMAND_PRINT_METRICS:
    return metric_print(stdout, options->markdown);
  case COMMAND_MERGE_TRACE:
    return trace_merge(options->run_dirs[0], options->output);
  case COMMAND_REPORT:
    return report_make(options->run_dir_count, options->run_dirs, options->output);
  default:
    return main_check_input(options);
  }
}

/* ---- Runs ---- */

/* Rank 0 reads the file; all ranks get its text. */
static status_t main_load_input(comm_t *world, const char *path, char **text) {
  status_code_t status = STATUS_OK;
  int64_t n = 0;
  *text = NULL;
  if (comm_rank(world) == 0) {
    status = settings_load(path, text);
    if (status == STATUS_OK) n = (int64_t)strlen(*text);
  }
  TRY(comm_agree(world, status));
  TRY(comm_broadcast(world, &n, 1, COMM_I64, 0));
  if (comm_rank(world) != 0) status = memory_alloc(text, ARENA_OTHER, (size_t)n + 1, 1);
  TRY(comm_agree(world, status));
  return comm_broadcast(world, *text, (size_t)n, COMM_BYTE, 0);
}

/* The self-test's input: what --set changes is which device computes, how ranks share a model, how long they
 * wait. */
static const char self_test_input[] =
    "&job task = 'bench' run_dir = 'self-test' /\n&parallel timeout = 60 /\n";

static status_t main_read_input(comm_t *world, const options_t *options, settings_t *settings) {
  char *text = NULL, *warnings = NULL;
  bool own = options->command == COMMAND_SELF_TEST;
  status_code_t read = own ? STATUS_OK : main_load_input(world, options->input, &text);
  if (read == STATUS_OK)
    read = settings_read_text(own ? "the self-test's input" : options->input, own ? self_test_input : text,
                              options->override_count, options->overrides, settings, &warnings);
  memory_free(text);
  status_code_t status = comm_agree(world, read);
  if (status == STATUS_OK && comm_rank(world) == 0) main_log_warnings(warnings);
  if (status != STATUS_OK && read == STATUS_OK) settings_free(settings);
  memory_free(warnings);
  return status;
}

static status_t main_self_test(const session_t *session) {
  status_code_t results[SELFTEST_CHECKS];
  const selftest_t test = {
      .grid = &session->grid, .device = session->device, .make_oracle = devices_create_oracle};
  log_info("llava_rlhf %s", version_line());
  return selftest_run(&test, results);
}

static status_t run_task(session_t *session, command_t command) {
  if (command == COMMAND_SELF_TEST) return main_self_test(session);
  TRY(judges_check(session->settings));
  TRY(paths_check(session->settings));
  TRY(overwrite_check(session->world, session->settings));
  if (command == COMMAND_DRY_RUN) return dry_run(session, tasks_run);
  TRY(session_open(session, version_line()));
  TRY(overwrite_clear(session->world, session->settings));
  return tasks_run(session);
}

/* The ranks end together if they can; otherwise the one that failed ends the others. */
static status_t main_end_session(session_t *session, comm_t *shutdown, status_code_t status) {
  bool together;
  status = shutdown_agree(shutdown, status, patience_seconds, &together);
  if (!together) {
    session_fail(session, status);
    comm_abort(status_exit(status));
  }
  session_close(session, status);
  return status;
}

static status_t run_session(comm_t *world, comm_t *shutdown, const settings_t *settings, command_t command) {
  session_t session;
  int32_t count;
  bool assumes = command == COMMAND_DRY_RUN && settings->parallel.gpu_memory > 0.0;
  const device_entry_t *devices = assumes ? devices_assumed_table(&count) : devices_table(&count);
  status_code_t status = session_prepare(world, settings, devices, count, &session);
  session.judges = judges_table(&session.judge_count);
  if (status == STATUS_OK) status = run_task(&session, command);
  return main_end_session(&session, shutdown, status);
}

/* Everything between the start and the end of MPI. Prints what went wrong. */
static status_t run_ranks(comm_t *world, const options_t *options) {
  settings_t settings = {0};
  comm_t *shutdown = NULL;
  log_set_rank(comm_rank(world), comm_size(world));
  status_code_t status = main_read_input(world, options, &settings);
  if (status != STATUS_OK) {
    if (comm_rank(world) == 0) log_error("%s", error_message());
    return status;
  }
  status = comm_agree(world, comm_split(world, 0, comm_rank(world), "shutdown", &shutdown));
  if (status == STATUS_OK)
    status = run_session(world, shutdown, &settings, options->command);
  else if (comm_rank(world) == 0)
    log_error("%s", error_message());
  comm_free(shutdown);
  settings_free(&settings);
  return status;
}

static status_t main_run(int *argc, char ***argv, const options_t *options) {
  comm_t *world;
  cores_restore();
  status_code_t status = comm_init(argc, argv, &world);
  if (status != STATUS_OK) { /* others may wait for this rank, and nothing watches them yet */
    log_error("%s", error_message());
    comm_abort(status_exit(status));
  }
  status = run_ranks(world, options);
  comm_finish(world);
  return status;
}

/* ---- The process ---- */

/* The one thing that happens before main: a signal may come at any moment, and a library that ties threads to
 * cores does so when it is loaded. */
static void main_begin(void) {
  cores_remember();
  stop_install();
}
__attribute__((section(".preinit_array"), used)) static void (*const at_the_start)(void) = main_begin;

/* What was asked for is what stands on the screen, unless it is a run, which has its log. */
static status_t main_check_screen(const options_t *options) {
  if (options->command == COMMAND_RUN) return STATUS_OK;
  if (fflush(stdout) == 0 && !ferror(stdout)) return STATUS_OK;
  return error_set(STATUS_DATA, "the answer could not be written to the screen, or to where its output goes");
}

static status_t main_command(const options_t *options) {
  stop_release();
  return main_speaks() ? main_answer(options) : STATUS_OK;
}

/* What went wrong where there was no run. A launcher kills all processes when the first one ends with an
 * error, so those that do not speak leave the one that does the time to do so. */
static void main_refuse(void) {
  if (main_speaks())
    log_error("%s", error_message());
  else
    sleep(2);
}

static bool main_needs_ranks(command_t command) {
  return command == COMMAND_RUN || command == COMMAND_DRY_RUN || command == COMMAND_SELF_TEST;
}

int main(int argc, char **argv) {
  options_t options;
  memory_keep_freed();
  status_code_t status = options_parse(argc, argv, &options);
  bool runs = status == STATUS_OK && main_needs_ranks(options.command);
  if (runs)
    status = main_run(&argc, &argv, &options); /* says itself what went wrong */
  else if (status == STATUS_OK)
    status = main_command(&options);
  bool said = runs && status != STATUS_OK;
  if (status == STATUS_OK) status = main_check_screen(&options);
  if (status != STATUS_OK && !said) main_refuse();
  options_free(&options);
  return status_exit(status);
}
