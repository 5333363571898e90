#include "train/resume_state.h"

#include "base/log.h"
#include "base/memory.h"
#include "perf/perf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const state_names[OPTIMIZER_STATES] = {"master", "m", "v"};
static const char *const state_meanings[OPTIMIZER_STATES] = {"trained weight in full precision",
                                                             "AdamW's running mean of the gradient",
                                                             "AdamW's running mean of the gradient squared"};

void resume_add_file(resume_state_t *state, const char *name, const char *setting, const char *path,
                     uint64_t identity) {
  state->files[state->file_count++] = (resume_file_t){name, setting, path ? path : "", identity};
}

void resume_add_inputs(resume_state_t *state, const model_t *model, const source_t *source) {
  resume_add_file(state, "base", "model.base", model->info.base_path, model->info.identity);
  resume_add_file(state, "dataset", "data.dataset", dataset_path(source->dataset),
                  dataset_info(source->dataset).identity);
}

/* Items of the optimiser's state: of each set, weight and state one for each of this rank's pieces, or one
 * without values where it has none. */
typedef struct {
  char *path;
  const resume_state_t *run;
  optimizer_state_t state;
  optimizer_piece_t piece;
  bool here; /* there is a piece */
} resume_item_t;

typedef struct {
  resume_item_t *of; /* (count): what each item is */
  weights_item_t *items;
  int64_t count;
} pieces_t;

static void pieces_free(pieces_t *pieces) {
  for (int64_t i = 0; i < pieces->count; i++)
    memory_free(pieces->of[i].path);
  memory_free(pieces->of);
  memory_free(pieces->items);
  *pieces = (pieces_t){0};
}

/* What is no number must not become the newest checkpoint: nothing could continue from there. */
static status_t resume_check_numbers(const resume_state_t *state, const param_t *param, const float *values,
                                     int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(values[i]))
      return error_set(STATUS_NUMERIC,
                       "after step %lld the weight %s holds %g: this state is not saved; lower optim.lr",
                       (long long)state->step, param->name, (double)values[i]);
  return STATUS_OK;
}

static status_t resume_give(void *item, int64_t first, int64_t n, float *values) {
  const resume_item_t *of = item;
  TRY(optimizer_read(of->run->optimizer, &of->piece, of->state, first, n, values));
  if (of->state != OPTIMIZER_MASTER) return STATUS_OK;
  return resume_check_numbers(of->run, of->piece.param, values, n);
}

static status_t resume_take(void *item, int64_t first, int64_t n, const float *values) {
  const resume_item_t *of = item;
  return optimizer_write(of->run->optimizer, &of->piece, of->state, first, n, values);
}

/* Describes one state of one weight, of which this rank has PIECE (NULL: nothing). */
static status_t resume_add_item(pieces_t *pieces, const resume_state_t *run, int32_t set,
                                const param_t *param, optimizer_state_t state,
                                const optimizer_piece_t *piece) {
  resume_item_t *of = &pieces->of[pieces->count];
  weights_item_t *item = &pieces->items[pieces->count];
  const partition_t *part = &param->partition;
  size_t n = strlen(run->set_names[set]) + strlen(param->name) + 32;
  *of = (resume_item_t){.run = run, .state = state, .here = piece != NULL};
  TRY(memory_alloc(&of->path, ARENA_IO, n, 1));
  pieces->count++;
  snprintf(of->path, n, "/optimizer/%s/%s/%s", run->set_names[set], param->name, state_names[state]);
  *item = (weights_item_t){.path = of->path,
                           .ndim = param->ndim,
                           .dtype = DTYPE_F32,
                           .rows = part->rows,
                           .cols = part->cols,
                           .meaning = state_meanings[state]};
  memcpy(item->shape, param->shape, sizeof item->shape);
  if (!piece) return STATUS_OK;
  of->piece = *piece;
  item->row_begin = part->row_begin + piece->first_row;
  item->row_count = piece->rows;
  item->col_begin = part->col_begin + piece->first_col;
  item->col_count = piece->cols;
  item->give = resume_give;
  item->context = of;
  item->mine = part->replica == 0;
  return STATUS_OK;
}

static int64_t most_items(const resume_state_t *state) {
  int64_t count = optimizer_piece_count(state->optimizer);
  for (int32_t s = 0; s < state->set_count; s++)
    count += (int64_t)state->sets[s]->count;
  return count * OPTIMIZER_STATES;
}

/* All states of a weight of set S whose pieces are FIRST .. LAST - 1. */
static status_t resume_add_param(const resume_state_t *state, int32_t s, const param_t *param, int32_t first,
                                 int32_t last, pieces_t *pieces) {
  for (int k = 0; k < OPTIMIZER_STATES; k++) {
    if (first == last) TRY(resume_add_item(pieces, state, s, param, (optimizer_state_t)k, NULL));
    for (int32_t p = first; p < last; p++) {
      const optimizer_piece_t piece = optimizer_piece(state->optimizer, p);
      TRY(resume_add_item(pieces, state, s, param, (optimizer_state_t)k, &piece));
    }
  }
  return STATUS_OK;
}

/* Walks all states of all trained weights in one order on all ranks. The optimiser's pieces come in that
 * order too. */
static status_t resume_collect(const resume_state_t *state, pieces_t *pieces) {
  int32_t count = optimizer_piece_count(state->optimizer), first = 0;
  size_t most = (size_t)most_items(state);
  TRY(memory_alloc(&pieces->of, ARENA_IO, most, sizeof *pieces->of));
  TRY(memory_alloc(&pieces->items, ARENA_IO, most, sizeof *pieces->items));
  for (int32_t s = 0; s < state->set_count; s++)
    for (int32_t i = 0; i < state->sets[s]->count; i++) {
      const param_t *param = &state->sets[s]->items[i];
      int32_t last = first;
      if (!param->trainable) continue;
      while (last < count && optimizer_piece(state->optimizer, last).param == param)
        last++;
      TRY(resume_add_param(state, s, param, first, last, pieces));
      first = last;
    }
  return STATUS_OK;
}

typedef struct {
  const session_t *session;
  const resume_state_t *state;
} resume_annotation_t;

static status_t resume_annotate(h5_file_t *file, void *context) {
  const resume_annotation_t *annotation = context;
  return resume_state_write(file, annotation->session, annotation->state);
}

static status_t resume_save_file(session_t *session, const store_contents_t *contents,
                                 const resume_state_t *state, resume_writing_t *writing) {
  pieces_t pieces = {0};
  resume_annotation_t annotation = {session, state};
  status_code_t status = comm_agree(session->world, resume_collect(state, &pieces));
  if (status == STATUS_OK) {
    store_contents_t all = *contents;
    all.extra = pieces.items;
    all.extra_count = pieces.count;
    all.annotate = resume_annotate;
    all.context = &annotation;
    status = store_checkpoint(session->world, session->run_dir, &writing->place, &all, &writing->file);
  }
  pieces_free(&pieces);
  return status;
}

status_t resume_save(session_t *session, const store_contents_t *contents, const resume_state_t *state,
                     resume_writing_t *writing) {
  *writing = (resume_writing_t){.place = state->place};
  writing->place.step = state->step;
  writing->place.serial++;
  perf_begin(REGION_CHECKPOINT);
  status_code_t status = resume_save_file(session, contents, state, writing);
  perf_end(REGION_CHECKPOINT);
  return status;
}

status_t resume_save_end(resume_writing_t *writing, resume_state_t *state) {
  perf_begin(REGION_CHECKPOINT);
  status_code_t status = checkpoint_write_end(writing->file);
  perf_end(REGION_CHECKPOINT);
  writing->file = NULL;
  TRY(status);
  state->place = writing->place;
  return STATUS_OK;
}

/* Identity of all tensors of the checkpoint PATH. */
static status_t resume_read_origin(session_t *session, const char *path, checkpoint_origin_t *origin) {
  weights_file_t *file;
  TRY(file_join(origin->path, path, NULL, NULL));
  TRY(weights_open(session->world, path, &store_format, &file));
  origin->identity = weights_identity(file, "/", WEIGHTS_IDENTITY_START);
  weights_close(file);
  return STATUS_OK;
}

/* The checkpoint may be gone by now: pruned, where it is of this run directory. Then its path tells. */
static status_t resume_find_descendant(session_t *session, const char *from, resume_state_t *state,
                                       resume_point_t *point) {
  checkpoint_origin_t origin = {0};
  status_code_t opened = resume_read_origin(session, from, &origin);
  if (opened != STATUS_OK && opened != STATUS_DATA) return opened;
  error_clear();
  TRY(checkpoint_find(session->world, session->run_dir, &origin, &store_format, point->path, &state->place,
                      &point->found));
  point->own = point->found;
  if (point->found) {
    log_info("restart    job.restart = '%s' is where this run began; it has come further", from);
    return STATUS_OK;
  }
  TRY(resume_read_origin(session, from, &origin));
  TRY(file_join(point->path, from, NULL, NULL));
  point->found = true;
  state->place.origin = origin;
  return STATUS_OK;
}

status_t resume_find(session_t *session, resume_state_t *state, resume_point_t *point) {
  const char *restart = session->settings->job.restart;
  *point = (resume_point_t){.own = true};
  state->place = (checkpoint_place_t){0};
  if (strcmp(restart, "never") == 0) return STATUS_OK;
  if (strcmp(restart, "auto") != 0) return resume_find_descendant(session, restart, state, point);
  return checkpoint_find(session->world, session->run_dir, NULL, &store_format, point->path, &state->place,
                         &point->found);
}

static status_t resume_read_pieces(weights_file_t *file, const pieces_t *pieces) {
  weights_request_t *requests;
  int64_t count = 0;
  TRY(memory_alloc(&requests, ARENA_IO, (size_t)pieces->count + 1, sizeof *requests));
  for (int64_t i = 0; i < pieces->count; i++) {
    const weights_item_t *item = &pieces->items[i];
    if (!pieces->of[i].here) continue;
    requests[count++] = (weights_request_t){.path = item->path,
                                            .rows = item->rows,
                                            .cols = item->cols,
                                            .row_begin = item->row_begin,
                                            .row_count = item->row_count,
                                            .col_begin = item->col_begin,
                                            .col_count = item->col_count,
                                            .take = resume_take,
                                            .context = &pieces->of[i]};
  }
  status_code_t status = weights_read(file, requests, count);
  memory_free(requests);
  return status;
}

static status_t resume_load_file(weights_file_t *file, session_t *session, resume_state_t *state) {
  pieces_t pieces = {0};
  TRY(comm_agree(session->world, resume_state_read(weights_h5(file), session, state)));
  status_code_t status = comm_agree(session->world, resume_collect(state, &pieces));
  if (status == STATUS_OK) status = resume_read_pieces(file, &pieces);
  pieces_free(&pieces);
  return comm_agree(session->world, status);
}

status_t resume_check(session_t *session, const char *path, const store_contents_t *contents,
                      const resume_state_t *state) {
  weights_file_t *file;
  char *differences = NULL;
  TRY(weights_open(session->world, path, &store_format, &file));
  status_code_t status = resume_state_check(weights_h5(file), session, contents, state, &differences);
  weights_close(file);
  status = comm_agree(session->world, status);
  if (status == STATUS_OK && *differences && comm_rank(session->world) == 0)
    log_warning("continuing with other settings than before %s: %s", path, differences);
  memory_free(differences);
  return status;
}

status_t resume_load(session_t *session, const char *path, resume_state_t *state) {
  weights_file_t *file;
  TRY(weights_open(session->world, path, &store_format, &file));
  status_code_t status = resume_load_file(file, session, state);
  weights_close(file);
  TRY(status);
  log_info("restart    from %s after step %lld", path, (long long)state->step);
  return STATUS_OK;
}
