#define _GNU_SOURCE
#include "io/rundir.h"

#include "base/memory.h"
#include "io/descriptor.h"
#include "io/rundir_lock.h"
#include "perf/perf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Seconds between looks at the disk. */
static const double poll_seconds = 1;

struct rundir {
  bool lead; /* rank 0: the only one that touches the disk */
  char path[FILE_MAX_PATH];
  rundir_lock_t lock;
  int metrics;      /* metrics.jsonl, open for appending; -1 until the first line */
  double next_poll; /* on perf_now's clock */
};

/* ------------------------------------------------------------------ opening ------------------------------
 */

static status_t check_unused(const char *path) {
  static const char *const results[] = {"metrics.jsonl", "checkpoints", "rollouts", "model.h5"};
  char name[FILE_MAX_PATH];
  for (size_t i = 0; i < sizeof results / sizeof *results; ++i) {
    TRY(file_join(name, path, results[i], NULL));
    if (file_exists(name))
      return error_set(STATUS_INPUT,
                       "%s holds results of an earlier run (%s) and job.restart is 'never'; choose another "
                       "job.run_dir, or "
                       "job.restart = 'auto' to continue",
                       path, results[i]);
  }
  return STATUS_OK;
}

static status_t open_lead(rundir_t *rundir, rundir_use_t use) {
  char name[FILE_MAX_PATH];
  TRY(file_make_folder(rundir->path));
  TRY(file_join(name, rundir->path, "lock", NULL));
  TRY(rundir_lock_take(name, &rundir->lock));
  return use == RUNDIR_NEW ? check_unused(rundir->path) : STATUS_OK;
}

status_t rundir_open(comm_t *comm, const char *path, rundir_use_t use, rundir_t **out) {
  *out = NULL;
  status_code_t status = memory_alloc(out, ARENA_IO, 1, sizeof **out);
  rundir_t *rundir = *out;
  if (status == STATUS_OK) {
    rundir->lead = comm_rank(comm) == 0;
    rundir->lock.descriptor = -1;
    rundir->metrics = -1;
    status = file_join(rundir->path, path, NULL, NULL);
  }
  if (status == STATUS_OK && rundir->lead) status = open_lead(rundir, use);
  status = comm_agree(comm, status);
  if (status == STATUS_OK) return STATUS_OK;
  rundir_close(rundir);
  *out = NULL;
  return status;
}

void rundir_close(rundir_t *rundir) {
  if (!rundir) return;
  if (rundir->metrics >= 0) close(rundir->metrics);
  rundir_lock_release(&rundir->lock);
  memory_free(rundir);
}

const char *rundir_path(const rundir_t *rundir) {
  return rundir->path;
}

status_t rundir_poll(rundir_t *rundir, bool *exit_seen) {
  char name[FILE_MAX_PATH];
  *exit_seen = false;
  if (!rundir->lead || perf_now() < rundir->next_poll) return STATUS_OK;
  rundir->next_poll = perf_now() + poll_seconds;
  TRY(rundir_lock_renew(&rundir->lock));
  TRY(file_join(name, rundir->path, "EXIT", NULL));
  if (!file_exists(name)) return STATUS_OK;
  if (unlink(name) != 0 && errno != ENOENT)
    return error_set(STATUS_DATA, "%s: seen, but it cannot be removed: %s", name, strerror(errno));
  *exit_seen = true;
  return STATUS_OK;
}

/* ------------------------------------------------------------------ metrics ------------------------------
 */

static status_t metrics_open(rundir_t *rundir, char name[FILE_MAX_PATH]) {
  TRY(file_join(name, rundir->path, "metrics.jsonl", NULL));
  if (rundir->metrics >= 0) return STATUS_OK;
  int problem = descriptor_open(name, O_WRONLY | O_APPEND | O_CREAT, &rundir->metrics);
  if (problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be opened: %s", name, strerror(problem));
}

status_t rundir_metrics_append(rundir_t *rundir, const char *line) {
  char name[FILE_MAX_PATH], *whole = NULL;
  if (!rundir->lead) return STATUS_OK;
  TRY(metrics_open(rundir, name));
  size_t n = strlen(line);
  TRY(memory_copy_text(&whole, ARENA_IO, line, n));
  whole[n] = '\n'; /* in the place of the '\0' */
  int problem = descriptor_write(rundir->metrics, whole, n + 1);
  memory_free(whole);
  if (problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: a line could not be written: %s", name, strerror(problem));
}

/* True if LINE, N bytes long, is whole and not of a step after STEP. */
static bool line_stays(const char *line, ssize_t n, int64_t step) {
  static const char key[] = "\"step\":";
  if (line[n - 1] != '\n') return false;
  const char *place = strstr(line, key);
  return !place || strtoll(place + sizeof key - 1, NULL, 10) <= step;
}

/* Copies the lines that stay to the open file TO, which becomes metrics.jsonl when it is complete. */
static status_t metrics_copy(FILE *from, FILE *to, int64_t step) {
  char *line = NULL;
  size_t room = 0;
  ssize_t n;
  bool good = true;
  while (good && (n = getline(&line, &room, from)) > 0) {
    if (line_stays(line, n, step)) good = fwrite(line, 1, (size_t)n, to) == (size_t)n;
  }
  free(line);
  if (good && !ferror(from) && fflush(to) == 0 && fsync(fileno(to)) == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "metrics.jsonl cannot be rewritten: %s", strerror(errno));
}

static status_t metrics_rewrite(const char *name, const char *partial, int64_t step) {
  FILE *from = fopen(name, "r");
  if (!from) return error_set(STATUS_DATA, "%s: cannot be opened: %s", name, strerror(errno));
  FILE *to = fopen(partial, "w");
  status_code_t status = to ? metrics_copy(from, to, step)
                            : error_set(STATUS_DATA, "%s: cannot be created: %s", partial, strerror(errno));
  if (to) fclose(to);
  fclose(from);
  TRY(status);
  if (rename(partial, name) == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s cannot be renamed to %s: %s", partial, name, strerror(errno));
}

status_t rundir_metrics_rewind(rundir_t *rundir, int64_t step) {
  char name[FILE_MAX_PATH], partial[FILE_MAX_PATH];
  if (!rundir->lead) return STATUS_OK;
  TRY(file_join(name, rundir->path, "metrics.jsonl", NULL));
  if (!file_exists(name)) return STATUS_OK;
  if (rundir->metrics >= 0) close(rundir->metrics);
  rundir->metrics = -1;
  TRY(file_partial(partial, name));
  return metrics_rewrite(name, partial, step);
}
