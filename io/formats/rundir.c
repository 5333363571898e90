#define _GNU_SOURCE
#include "io/formats/rundir.h"

#include "base/memory.h"
#include "io/formats/journal.h"
#include "io/formats/rundir_lock.h"
#include "perf/perf.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Seconds between looks at the disk. */
static const double poll_seconds = 1;

struct rundir {
  bool lead; /* rank 0: the only one that touches the disk */
  char path[FILE_MAX_PATH];
  rundir_lock_t lock;
  journal_t metrics, samples;
  double next_poll; /* on perf_now's clock */
};

/* ---- opening ---- */

static status_t rundir_check_unused(const char *path) {
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

/* Removes FOLDER/NAME if it is a file that a job which is no more did not complete. Nobody misses it: what
 * cannot be removed stays. */
static void rundir_remove_partial(const char *folder, const char *name) {
  char path[FILE_MAX_PATH];
  struct stat info;
  if (file_join(path, folder, name, NULL) != STATUS_OK)
    error_clear();
  else if (lstat(path, &info) == 0 && S_ISREG(info.st_mode))
    unlink(path);
}

static void rundir_remove_partials(const char *path, const char *below, const char *const *patterns) {
  char folder[FILE_MAX_PATH];
  if (file_join(folder, path, below, NULL) != STATUS_OK) {
    error_clear();
    return;
  }
  DIR *directory = opendir(folder);
  for (const struct dirent *entry; directory && (entry = readdir(directory)) != NULL;)
    for (size_t p = 0; patterns[p]; ++p)
      if (fnmatch(patterns[p], entry->d_name, 0) == 0) rundir_remove_partial(folder, entry->d_name);
  if (directory) closedir(directory);
}

/* Files that jobs of this run directory write, and nobody else: it is locked. Other files there may be being
 * written by jobs with another run directory. A report's name has the number of the process that writes it.
 */
static void rundir_remove_orphans(const char *path) {
  static const char *const own[] = {"input.nml.partial",    "run.json.partial", "perf.json.partial",
                                    "report.html*.partial", "model.h5.partial", NULL};
  static const char *const checkpoints[] = {"step_*.h5.partial", "latest.partial", "best.partial", NULL};
  static const char *const traces[] = {"rank_*.json.gz.partial", NULL};
  rundir_remove_partials(path, NULL, own);
  rundir_remove_partials(path, "checkpoints", checkpoints);
  rundir_remove_partials(path, "rollouts", checkpoints);
  rundir_remove_partials(path, "trace", traces);
}

static status_t rundir_open_lead(rundir_t *rundir, rundir_use_t use) {
  char name[FILE_MAX_PATH];
  TRY(file_make_folder(rundir->path));
  TRY(file_join(name, rundir->path, "lock", NULL));
  TRY(rundir_lock_take(name, &rundir->lock));
  if (use == RUNDIR_NEW) TRY(rundir_check_unused(rundir->path));
  rundir_remove_orphans(rundir->path);
  return STATUS_OK;
}

status_t rundir_open(comm_t *comm, const char *path, rundir_use_t use, rundir_t **out) {
  *out = NULL;
  status_code_t status = memory_alloc(out, ARENA_IO, 1, sizeof **out);
  rundir_t *rundir = *out;
  if (status == STATUS_OK) {
    rundir->lead = comm_rank(comm) == 0;
    rundir->lock.descriptor = -1;
    rundir->metrics.descriptor = rundir->samples.descriptor = -1;
    status = file_join(rundir->path, path, NULL, NULL);
  }
  if (status == STATUS_OK) status = journal_create(path, "metrics.jsonl", &rundir->metrics);
  if (status == STATUS_OK) status = journal_create(path, "samples.jsonl", &rundir->samples);
  if (status == STATUS_OK && rundir->lead) status = rundir_open_lead(rundir, use);
  status = comm_agree(comm, status);
  if (status == STATUS_OK) return STATUS_OK;
  rundir_close(rundir);
  *out = NULL;
  return status;
}

void rundir_close(rundir_t *rundir) {
  if (!rundir) return;
  journal_close(&rundir->metrics);
  journal_close(&rundir->samples);
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
  TRY(rundir_lock_check(&rundir->lock));
  TRY(file_join(name, rundir->path, "EXIT", NULL));
  if (!file_exists(name)) return STATUS_OK;
  if (unlink(name) != 0 && errno != ENOENT)
    return error_set(STATUS_DATA, "%s: seen, but it cannot be removed: %s", name, strerror(errno));
  *exit_seen = true;
  return STATUS_OK;
}

/* ---- metrics and samples ---- */

status_t rundir_metrics_append(rundir_t *rundir, const char *line, size_t n) {
  return rundir->lead ? journal_append(&rundir->metrics, line, n) : STATUS_OK;
}

status_t rundir_metrics_rewind(rundir_t *rundir, int64_t step) {
  return rundir->lead ? journal_rewind(&rundir->metrics, step, INT64_MAX) : STATUS_OK;
}

status_t rundir_samples_append(rundir_t *rundir, const char *line, size_t n) {
  return rundir->lead ? journal_append(&rundir->samples, line, n) : STATUS_OK;
}

status_t rundir_samples_rewind(rundir_t *rundir, int64_t step, int64_t most) {
  return rundir->lead ? journal_rewind(&rundir->samples, step, most) : STATUS_OK;
}

int64_t rundir_samples_lines(const rundir_t *rundir) {
  return rundir->samples.lines;
}
