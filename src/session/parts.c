#include "session/parts.h"

#include "base/memory.h"
#include "io/formats/kept.h"
#include "session/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What the sums depend on. Weights that are trained are not those of the file that the model is from. */
static status_t parts_identity(session_t *session, const parts_t *parts, text_buffer_t *text) {
  char lines[512];
  const settings_t *settings = session->settings;
  uint64_t rows = WEIGHTS_IDENTITY_START, weights;
  for (int64_t i = 0; i < parts->held->rows.count; i++)
    rows = weights_identity_add(rows, (uint64_t)parts->held->rows.rows[i]);
  snprintf(lines, sizeof lines,
           "step = %" PRId64 "\nmodel.base = %016" PRIx64
           "\nmodel.base_format = %s\nparallel.device = %s\nparallel.dtype = %s\ndata.max_len = %" PRId64
           "\nadapter.alpha = %.15g\nrows = %016" PRIx64 "\nsamples of a part = %d\n",
           parts->step, parts->model->info.identity, settings->model.base_format, session->device->name,
           settings->parallel.dtype, settings->data.max_len, settings->adapter.alpha, rows, parts->size);
  status_code_t status = text_buffer_append_string(text, lines);
  if (status == STATUS_OK) status = identity_add_source(session, parts->held->source, text);
  TRY(comm_agree(session->world, status));
  for (int32_t t = 0; t < parts->trained_count; t++) {
    TRY(store_params_identity(session->world, "/trained/", parts->trained[t], &weights));
    snprintf(lines, sizeof lines, "trained = %016" PRIx64 "\n", weights);
    TRY(comm_agree(session->world, text_buffer_append_string(text, lines)));
  }
  if (!parts->prompt) return STATUS_OK;
  return comm_agree(session->world, identity_add_judging(parts->prompt, text));
}

static status_t parts_open(session_t *session, const parts_t *parts, kept_t **out) {
  SCOPED(text_buffer_free) text_buffer_t identity = {0};
  char path[FILE_MAX_PATH];
  if (session->dry) return STATUS_OK;
  TRY(session_path(session, "interrupted_evaluation", path));
  TRY(parts_identity(session, parts, &identity));
  const kept_options_t options = {.path = path,
                                  .identity = identity.bytes,
                                  .what = "parts of an evaluation",
                                  .routine = true,
                                  .writes = comm_rank(session->world) == 0};
  return kept_open(session->world, &options, out);
}

/* *THERE, on all ranks, if part BEGIN is kept: then SUMS are its. Rank 0 reads for all. */
static status_t part_take(session_t *session, const parts_t *parts, kept_t *kept, int64_t begin, double *sums,
                          bool *there) {
  SCOPED_MEMORY void *bytes = NULL;
  size_t n = 0, expected = (size_t)parts->sums * sizeof *sums;
  *there = false;
  if (kept_found(kept) == 0) return STATUS_OK;
  bool lead = comm_rank(session->world) == 0;
  TRY(comm_agree(session->world, lead ? kept_read(kept, begin, &bytes, &n) : STATUS_OK));
  TRY(comm_any(session->world, bytes && n == expected, there));
  if (bytes && n == expected) memcpy(sums, bytes, expected);
  return *there ? comm_broadcast(session->world, sums, (size_t)parts->sums, COMM_F64, 0) : STATUS_OK;
}

static status_t part_make(session_t *session, const parts_t *parts, kept_t *kept, int64_t begin,
                          double *sums) {
  int64_t left = parts->held->rows.count - begin;
  bool there;
  TRY(part_take(session, parts, kept, begin, sums, &there));
  if (there) return STATUS_OK;
  TRY(session_continue(session, 0.0));
  TRY(parts->work(parts->context, begin, (int32_t)(left < parts->size ? left : parts->size), sums));
  kept_append(kept, begin, sums, (size_t)parts->sums * sizeof *sums);
  return STATUS_OK;
}

static status_t parts_make(session_t *session, const parts_t *parts, kept_t *kept, double *total) {
  for (int64_t begin = 0; begin < parts->held->rows.count; begin += parts->size) {
    double sums[PARTS_SUMS_MAX] = {0};
    TRY(part_make(session, parts, kept, begin, sums));
    for (int32_t s = 0; s < parts->sums; s++)
      total[s] += sums[s];
  }
  return STATUS_OK;
}

status_t parts_run(session_t *session, const parts_t *parts, double *total) {
  SCOPED(kept_close_at) kept_t *kept = NULL;
  int64_t count = (parts->held->rows.count + parts->size - 1) / parts->size;
  memset(total, 0, (size_t)parts->sums * sizeof *total);
  TRY(parts_open(session, parts, &kept));
  status_code_t status = parts_make(session, parts, kept, total);
  if (status == STATUS_STOPPED) TRY(kept_tell(kept, count, &session->gained));
  if (status != STATUS_OK) return status;
  return kept_remove(&kept);
}
