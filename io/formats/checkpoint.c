#include "io/formats/checkpoint.h"

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

/* Attributes of a checkpoint's root. */
static const char serial_name[] = "serial", origin_name[] = "origin_identity",
                  origin_path_name[] = "origin_path";

enum { POINTER_MOST = 256, NAME_MOST = 48 };

static void step_name(char name[NAME_MOST], int64_t step) {
  snprintf(name, NAME_MOST, "step_%08" PRId64 ".h5", step);
}

/* The step of a checkpoint's file NAME, -1 if it is none. */
static int64_t checkpoint_name_step(const char *name) {
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

/* ---- latest and best ---- */

static status_t pointer_write(const char *run_dir, const char *pointer, int64_t step) {
  char path[FILE_MAX_PATH], text[NAME_MOST + 1];
  step_name(text, step);
  strcat(text, "\n");
  TRY(file_join(path, run_dir, folder_name, pointer));
  return file_replace(path, text, strlen(text));
}

/* The step that a pointer file names, -1 if there is no such file or it names none. */
static status_t pointer_read(const char *run_dir, const char *pointer, int64_t *step) {
  SCOPED_MEMORY char *text = NULL;
  char path[FILE_MAX_PATH];
  *step = -1;
  TRY(file_join(path, run_dir, folder_name, pointer));
  if (!file_exists(path)) return STATUS_OK;
  TRY(file_read(path, POINTER_MOST, &text, NULL));
  text[strcspn(text, "\r\n")] = '\0';
  *step = checkpoint_name_step(text);
  return STATUS_OK;
}

/* Makes a pointer file name STEP, or (-1) removes it. */
static status_t pointer_set(const char *run_dir, const char *pointer, int64_t step) {
  char path[FILE_MAX_PATH];
  int64_t now;
  TRY(pointer_read(run_dir, pointer, &now));
  if (step >= 0) return now == step ? STATUS_OK : pointer_write(run_dir, pointer, step);
  TRY(file_join(path, run_dir, folder_name, pointer));
  if (unlink(path) == 0 || errno == ENOENT) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be removed: %s", path, strerror(errno));
}

static status_t set_best(const char *run_dir, int64_t step, int32_t *there) {
  char path[FILE_MAX_PATH];
  *there = 0;
  if (step >= 0) {
    TRY(checkpoint_path(path, run_dir, step));
    *there = file_exists(path);
  }
  return pointer_set(run_dir, "best", *there ? step : -1);
}

status_t checkpoint_mark_best(comm_t *comm, const char *run_dir, int64_t step, bool *there) {
  int32_t exists = 0;
  TRY(comm_agree(comm, comm_rank(comm) == 0 ? set_best(run_dir, step, &exists) : STATUS_OK));
  TRY(comm_broadcast(comm, &exists, 1, COMM_I32, 0));
  *there = exists != 0;
  return STATUS_OK;
}

/* ---- what is there ---- */

typedef struct {
  int64_t *steps; /* (count), highest first */
  int64_t count;
} steps_t;

static int checkpoint_compare_steps(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x < y) - (x > y);
}

static void steps_free(steps_t *steps) {
  memory_free(steps->steps);
}

static void folder_close(DIR **folder) {
  if (*folder) closedir(*folder);
}

/* Lists the steps of the files there are in STEPS, empty before; none where there is no folder. */
static status_t steps_list(const char *run_dir, steps_t *steps) {
  char path[FILE_MAX_PATH];
  TRY(file_join(path, run_dir, folder_name, NULL));
  SCOPED(folder_close) DIR *folder = opendir(path);
  if (!folder && errno == ENOENT) return STATUS_OK;
  if (!folder) return error_set(STATUS_DATA, "%s: the folder cannot be read: %s", path, strerror(errno));
  for (const struct dirent *entry; (entry = readdir(folder));) {
    int64_t step = checkpoint_name_step(entry->d_name);
    if (step < 0) continue;
    TRY(memory_reserve(&steps->steps, ARENA_IO, (size_t)steps->count + 1, sizeof *steps->steps));
    steps->steps[steps->count++] = step;
  }
  if (steps->count > 1)
    qsort(steps->steps, (size_t)steps->count, sizeof *steps->steps, checkpoint_compare_steps);
  return STATUS_OK;
}

/* ---- writing ---- */

typedef struct {
  const weights_spec_t *spec;
  const checkpoint_place_t *place;
} checkpoint_annotation_t;

static status_t checkpoint_annotate(h5_file_t *file, void *context) {
  const checkpoint_annotation_t *annotation = context;
  const checkpoint_place_t *place = annotation->place;
  TRY(h5_attr_write_i64(file, "/", serial_name, &place->serial, 1));
  TRY(h5_attr_write_u64(file, "/", origin_name, &place->origin.identity, 1));
  TRY(h5_attr_write_text(file, "/", origin_path_name, place->origin.path));
  return annotation->spec->annotate ? annotation->spec->annotate(file, annotation->spec->context) : STATUS_OK;
}

struct checkpoint_writing {
  comm_t *comm;
  char run_dir[FILE_MAX_PATH];
  int64_t step;
  weights_writing_t *file;
};

status_t checkpoint_write_begin(comm_t *comm, const char *run_dir, const checkpoint_place_t *place,
                                const weights_spec_t *spec, const weights_item_t *items, int64_t count,
                                checkpoint_writing_t **out) {
  SCOPED_MEMORY checkpoint_writing_t *writing = NULL;
  char path[FILE_MAX_PATH];
  checkpoint_annotation_t annotation = {spec, place};
  const weights_spec_t annotated = {spec->format, checkpoint_annotate, &annotation, spec->disk};
  *out = NULL;
  TRY(checkpoint_path(path, run_dir, place->step));
  status_code_t status = memory_alloc(&writing, ARENA_IO, 1, sizeof *writing);
  if (status == STATUS_OK) status = file_join(writing->run_dir, run_dir, NULL, NULL);
  if (status == STATUS_OK && comm_rank(comm) == 0) status = file_make_parent(path);
  TRY(comm_agree(comm, status));
  writing->comm = comm;
  writing->step = place->step;
  TRY(weights_write_begin(comm, path, &annotated, items, count, &writing->file));
  memory_hand_over(out, &writing);
  return STATUS_OK;
}

status_t checkpoint_write_end(checkpoint_writing_t *writing) {
  comm_t *comm = writing->comm;
  status_code_t status = weights_write_end(writing->file);
  if (status == STATUS_OK && comm_rank(comm) == 0)
    status = pointer_write(writing->run_dir, "latest", writing->step);
  memory_free(writing);
  return comm_agree(comm, status);
}

bool checkpoint_writing_is_done(const checkpoint_writing_t *writing) {
  return weights_writing_is_done(writing->file);
}

void checkpoint_writing_drop(checkpoint_writing_t *writing) {
  weights_writing_drop(writing->file);
  memory_free(writing);
}

/* ---- removing ---- */

static status_t checkpoint_prune_inner(const char *run_dir, int64_t step, int64_t keep) {
  SCOPED(steps_free) steps_t steps = {0};
  char path[FILE_MAX_PATH];
  int64_t best, newer = 0;
  TRY(steps_list(run_dir, &steps));
  TRY(pointer_read(run_dir, "best", &best));
  for (int64_t i = 0; i < steps.count; ++i) {
    int64_t candidate = steps.steps[i];
    if (candidate > step || newer++ < keep || candidate == best) continue;
    TRY(checkpoint_path(path, run_dir, candidate));
    if (unlink(path) != 0)
      log_warning("%s: an old checkpoint could not be removed: %s", path, strerror(errno));
  }
  return STATUS_OK;
}

status_t checkpoint_prune(comm_t *comm, const char *run_dir, int64_t step, int64_t keep) {
  if (keep <= 0) return STATUS_OK;
  return comm_agree(comm, comm_rank(comm) == 0 ? checkpoint_prune_inner(run_dir, step, keep) : STATUS_OK);
}

status_t checkpoint_set_aside(const char *run_dir, int64_t step, char aside[FILE_MAX_PATH], int64_t *before) {
  SCOPED(steps_free) steps_t steps = {0};
  char path[FILE_MAX_PATH], name[NAME_MOST];
  *before = -1;
  snprintf(name, sizeof name, "broken_%08" PRId64 ".h5", step);
  TRY(file_join(aside, run_dir, folder_name, name));
  TRY(checkpoint_path(path, run_dir, step));
  TRY(steps_list(run_dir, &steps));
  for (int64_t i = 0; i < steps.count && *before < 0; ++i)
    if (steps.steps[i] < step) *before = steps.steps[i];
  if (rename(path, aside) == 0) return pointer_set(run_dir, "latest", *before);
  if (errno == ENOENT && file_exists(aside)) return STATUS_OK; /* another rank was faster */
  *aside = '\0';
  if (errno == ENOENT) return STATUS_OK;
  return error_set(STATUS_DATA, "%s could not be set aside: %s", path, strerror(errno));
}

/* ---- finding ---- */

/* A checkpoint that may be continued. */
typedef struct {
  checkpoint_place_t place;
  bool readable; /* false: damaged, or of an older version, so that its place is not known */
} checkpoint_candidate_t;

static status_t checkpoint_place_read(h5_file_t *file, checkpoint_place_t *place) {
  SCOPED_MEMORY char *path = NULL;
  TRY(h5_attr_read_i64(file, "/", serial_name, &place->serial, 1));
  TRY(h5_attr_read_u64(file, "/", origin_name, &place->origin.identity, 1));
  TRY(h5_attr_read_text(file, "/", origin_path_name, &path));
  return file_join(place->origin.path, path, NULL, NULL);
}

/* Damage is found again, and told, by verifying. */
static status_t candidate_read(const char *run_dir, checkpoint_candidate_t *candidate) {
  SCOPED(h5_abandon_at) h5_file_t *file = NULL;
  char path[FILE_MAX_PATH];
  TRY(checkpoint_path(path, run_dir, candidate->place.step));
  status_code_t status = h5_open(path, H5_READ, NULL, &file);
  if (status == STATUS_OK) status = checkpoint_place_read(file, &candidate->place);
  candidate->readable = status == STATUS_OK;
  if (status != STATUS_DATA) return status;
  error_clear();
  candidate->place = (checkpoint_place_t){.step = candidate->place.step};
  return STATUS_OK;
}

/* The newest first. */
static int checkpoint_compare_candidates(const void *a, const void *b) {
  const checkpoint_place_t *x = &((const checkpoint_candidate_t *)a)->place,
                           *y = &((const checkpoint_candidate_t *)b)->place;
  if (x->serial != y->serial) return (x->serial < y->serial) - (x->serial > y->serial);
  return (x->step < y->step) - (x->step > y->step);
}

static bool is_of(const checkpoint_candidate_t *candidate, const checkpoint_origin_t *origin) {
  if (!origin || !candidate->readable) return true;
  if (origin->identity == 0) return strcmp(candidate->place.origin.path, origin->path) == 0;
  return candidate->place.origin.identity == origin->identity;
}

typedef struct {
  checkpoint_candidate_t *items; /* (count), those to be tried, in order */
  int64_t count, highest;
} candidates_t;

/* What stands in for the serial of a file that does not tell: it is taken for the next one after the newest
 * of the steps before it. */
static int64_t serial_before(const candidates_t *list, int64_t step) {
  int64_t serial = 0;
  for (int64_t i = 0; i < list->count; ++i) {
    const checkpoint_candidate_t *other = &list->items[i];
    if (other->readable && other->place.step < step && other->place.serial > serial)
      serial = other->place.serial;
  }
  return serial;
}

static void candidates_free(candidates_t *list) {
  memory_free(list->items);
}

static status_t candidates_list(const char *run_dir, const checkpoint_origin_t *origin, candidates_t *out) {
  SCOPED(steps_free) steps_t steps = {0};
  TRY(steps_list(run_dir, &steps));
  TRY(memory_alloc(&out->items, ARENA_IO, (size_t)steps.count + 1, sizeof *out->items));
  for (int64_t i = 0; i < steps.count; ++i) {
    checkpoint_candidate_t *candidate = &out->items[out->count];
    *candidate = (checkpoint_candidate_t){.place.step = steps.steps[i]};
    TRY(candidate_read(run_dir, candidate));
    if (candidate->place.serial > out->highest) out->highest = candidate->place.serial;
    if (is_of(candidate, origin)) out->count++;
  }
  for (int64_t i = 0; i < out->count; ++i)
    if (!out->items[i].readable) out->items[i].place.serial = serial_before(out, out->items[i].place.step);
  if (out->count > 1)
    qsort(out->items, (size_t)out->count, sizeof *out->items, checkpoint_compare_candidates);
  return STATUS_OK;
}

static status_t candidates_try(comm_t *comm, const char *run_dir, const checkpoint_origin_t *origin,
                               const h5_format_t *format, const candidates_t *list, char path[FILE_MAX_PATH],
                               checkpoint_place_t *place, bool *found) {
  int64_t count = list->count;
  bool lead = comm_rank(comm) == 0;
  TRY(comm_broadcast(comm, &count, 1, COMM_I64, 0));
  for (int64_t i = 0; i < count && !*found; ++i) {
    if (lead) *place = list->items[i].place;
    TRY(comm_broadcast(comm, place, sizeof *place, COMM_BYTE, 0));
    TRY(checkpoint_path(path, run_dir, place->step));
    SCOPED(weights_close_at) weights_file_t *file = NULL;
    status_code_t status = weights_open(comm, path, format, &file);
    if (status == STATUS_OK) status = weights_verify(file);
    *found = status == STATUS_OK;
    if (*found) break;
    if (status != STATUS_DATA || (i + 1 == count && !origin))
      return error_context(status, "while looking for a checkpoint to continue from (%lld tried)",
                           (long long)(i + 1));
    if (lead) log_warning("%s; the checkpoint before it is tried", error_message());
    error_clear();
  }
  return STATUS_OK;
}

status_t checkpoint_find(comm_t *comm, const char *run_dir, const checkpoint_origin_t *origin,
                         const h5_format_t *format, char path[FILE_MAX_PATH], checkpoint_place_t *place,
                         bool *found) {
  SCOPED(candidates_free) candidates_t list = {0};
  bool lead = comm_rank(comm) == 0;
  *found = false;
  *place = (checkpoint_place_t){0};
  TRY(comm_agree(comm, lead ? candidates_list(run_dir, origin, &list) : STATUS_OK));
  TRY(candidates_try(comm, run_dir, origin, format, &list, path, place, found));
  TRY(comm_broadcast(comm, &list.highest, 1, COMM_I64, 0));
  if (!*found) *place = (checkpoint_place_t){0};
  place->serial = list.highest;
  return comm_agree(comm, lead && *found ? pointer_set(run_dir, "latest", place->step) : STATUS_OK);
}
