#include "io/checkpoint.h"

#include "base/log.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char folder_name[] = "checkpoints";

/* Longest name in a pointer file. */
enum { POINTER_MOST = 256, NAME_MOST = 48 };

static void step_name(char name[NAME_MOST], int64_t step) {
  snprintf(name, NAME_MOST, "step_%08" PRId64 ".h5", step);
}

/* The step of a checkpoint's file NAME, -1 if it is none. */
static int64_t name_step(const char *name) {
  char again[NAME_MOST];
  int64_t step = -1;
  if (sscanf(name, "step_%" SCNd64 ".h5", &step) != 1 || step < 0) return -1;
  step_name(again, step);
  return strcmp(again, name) == 0 ? step : -1;
}

status_t checkpoint_path(char path[FILE_MAX_PATH], const char *run_dir, int64_t step) {
  char name[NAME_MOST];
  step_name(name, step);
  return file_join(path, run_dir, folder_name, name);
}

/* ------------------------------------------------------------------ latest and best ----------------------
 */

static status_t pointer_write(const char *run_dir, const char *pointer, int64_t step) {
  char path[FILE_MAX_PATH], text[NAME_MOST + 1];
  step_name(text, step);
  strcat(text, "\n");
  TRY(file_join(path, run_dir, folder_name, pointer));
  return file_replace(path, text, strlen(text));
}

/* The step that a pointer file names, -1 if there is no such file. */
static status_t pointer_read(const char *run_dir, const char *pointer, int64_t *step) {
  char path[FILE_MAX_PATH], *text;
  *step = -1;
  TRY(file_join(path, run_dir, folder_name, pointer));
  if (!file_exists(path)) return STATUS_OK;
  TRY(file_read(path, POINTER_MOST, &text, NULL));
  text[strcspn(text, "\r\n")] = '\0';
  *step = name_step(text);
  memory_free(text);
  if (*step >= 0) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: expected the name of a checkpoint such as step_00000010.h5; write it there, or remove %s", path,
      path);
}

status_t checkpoint_mark_best(comm_t *comm, const char *run_dir, int64_t step) {
  status_code_t status = comm_rank(comm) == 0 ? pointer_write(run_dir, "best", step) : STATUS_OK;
  return comm_agree(comm, status);
}

/* ------------------------------------------------------------------ what is there ------------------------
 */

typedef struct {
  int64_t *steps; /* (count), highest first */
  int64_t count, room;
} steps_t;

static int compare_steps(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x < y) - (x > y);
}

static status_t steps_add(steps_t *steps, int64_t step) {
  if (steps->count == steps->room) {
    int64_t room = steps->room ? 2 * steps->room : 64;
    TRY(memory_resize(&steps->steps, ARENA_IO, (size_t)room, sizeof *steps->steps));
    steps->room = room;
  }
  steps->steps[steps->count++] = step;
  return STATUS_OK;
}

static status_t steps_collect(DIR *folder, steps_t *steps) {
  const struct dirent *entry;
  while ((entry = readdir(folder))) {
    int64_t step = name_step(entry->d_name);
    if (step >= 0) TRY(steps_add(steps, step));
  }
  return STATUS_OK;
}

/* Lists the steps of the files there are; none where there is no folder. Free steps->steps with memory_free.
 */
static status_t steps_list(const char *run_dir, steps_t *steps) {
  char path[FILE_MAX_PATH];
  *steps = (steps_t){0};
  TRY(file_join(path, run_dir, folder_name, NULL));
  DIR *folder = opendir(path);
  if (!folder && errno == ENOENT) return STATUS_OK;
  if (!folder) return error_set(STATUS_DATA, "%s: the folder cannot be read: %s", path, strerror(errno));
  status_code_t status = steps_collect(folder, steps);
  closedir(folder);
  if (status != STATUS_OK) {
    memory_free(steps->steps);
    *steps = (steps_t){0};
    return status;
  }
  if (steps->count > 1) qsort(steps->steps, (size_t)steps->count, sizeof *steps->steps, compare_steps);
  return STATUS_OK;
}

/* ------------------------------------------------------------------ writing ------------------------------
 */

/* Removes what is older than the KEEP newest up to STEP. Files of higher steps belong to a run that went on
 * from there before it was taken back: they are not ours to remove. */
static status_t steps_prune(const char *run_dir, const steps_t *steps, int64_t step, int64_t keep) {
  char path[FILE_MAX_PATH];
  int64_t best, newer = 0;
  TRY(pointer_read(run_dir, "best", &best));
  for (int64_t i = 0; i < steps->count; ++i) {
    int64_t candidate = steps->steps[i];
    if (candidate > step || newer++ < keep) continue;
    if (candidate == step || candidate == best) continue;
    TRY(checkpoint_path(path, run_dir, candidate));
    if (unlink(path) != 0)
      log_warning("%s: an old checkpoint could not be removed: %s", path, strerror(errno));
  }
  return STATUS_OK;
}

/* After the file is complete: rank 0 moves `latest`, then prunes. */
static status_t checkpoint_finish(const char *run_dir, int64_t step, int64_t keep) {
  steps_t steps;
  TRY(pointer_write(run_dir, "latest", step));
  if (keep <= 0) return STATUS_OK;
  TRY(steps_list(run_dir, &steps));
  status_code_t status = steps_prune(run_dir, &steps, step, keep);
  memory_free(steps.steps);
  return status;
}

static status_t folder_make(const char *run_dir) {
  char path[FILE_MAX_PATH];
  TRY(file_join(path, run_dir, folder_name, NULL));
  return file_make_folder(path);
}

status_t checkpoint_write(comm_t *comm, const char *run_dir, int64_t step, const weights_spec_t *spec,
                          const weights_item_t *items, int64_t count, int64_t keep) {
  char path[FILE_MAX_PATH];
  bool lead = comm_rank(comm) == 0;
  TRY(comm_agree(comm, lead ? folder_make(run_dir) : STATUS_OK));
  TRY(checkpoint_path(path, run_dir, step));
  TRY(weights_write(comm, path, spec, items, count));
  return comm_agree(comm, lead ? checkpoint_finish(run_dir, step, keep) : STATUS_OK);
}

/* ------------------------------------------------------------------ finding ------------------------------
 */

static status_t checkpoint_verify(comm_t *comm, const char *path, const h5_format_t *format) {
  weights_file_t *file;
  TRY(weights_open(comm, path, format, &file));
  status_code_t status = weights_verify(file);
  weights_close(file);
  return status;
}

/* Rank 0: the steps to try, in order. */
static status_t candidates_list(const char *run_dir, steps_t *steps) {
  int64_t latest, kept = 0;
  TRY(steps_list(run_dir, steps));
  TRY(pointer_read(run_dir, "latest", &latest));
  if (latest < 0) return STATUS_OK;
  /* What is newer than `latest` is of a run that was taken back. */
  for (int64_t i = 0; i < steps->count; ++i) {
    if (steps->steps[i] < latest) steps->steps[kept++] = steps->steps[i];
  }
  steps->count = kept;
  TRY(steps_add(steps, latest));
  qsort(steps->steps, (size_t)steps->count, sizeof *steps->steps, compare_steps);
  return STATUS_OK;
}

static status_t candidates_try(comm_t *comm, const char *run_dir, checkpoint_choice_t choice,
                               const h5_format_t *format, const steps_t *steps, char path[FILE_MAX_PATH],
                               int64_t *step) {
  int64_t count = steps->count;
  TRY(comm_broadcast(comm, &count, 1, COMM_I64, 0));
  if (choice == CHECKPOINT_LATEST && count > 1) count = 1;
  *step = -1;
  for (int64_t i = 0; i < count; ++i) {
    int64_t candidate = comm_rank(comm) == 0 ? steps->steps[i] : 0;
    TRY(comm_broadcast(comm, &candidate, 1, COMM_I64, 0));
    TRY(checkpoint_path(path, run_dir, candidate));
    status_code_t status = checkpoint_verify(comm, path, format);
    if (status == STATUS_OK) {
      *step = candidate;
      return STATUS_OK;
    }
    if (status != STATUS_DATA || i + 1 == count)
      return error_context(status, "while looking for a checkpoint to continue from (%lld tried)",
                           (long long)(i + 1));
    if (comm_rank(comm) == 0) log_warning("%s; the checkpoint before it is tried", error_message());
    error_clear();
  }
  return STATUS_OK;
}

status_t checkpoint_find(comm_t *comm, const char *run_dir, checkpoint_choice_t choice,
                         const h5_format_t *format, char path[FILE_MAX_PATH], int64_t *step, bool *found) {
  steps_t steps = {0};
  *found = false;
  status_code_t status =
      comm_agree(comm, comm_rank(comm) == 0 ? candidates_list(run_dir, &steps) : STATUS_OK);
  if (status == STATUS_OK) status = candidates_try(comm, run_dir, choice, format, &steps, path, step);
  memory_free(steps.steps);
  TRY(status);
  *found = *step >= 0;
  return STATUS_OK;
}
