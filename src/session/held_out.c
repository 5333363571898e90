#include "session/held_out.h"

#include "base/memory.h"

static status_t held_out_open_rows(session_t *session, const model_t *model, source_t *data,
                                   held_out_t *held) {
  const settings_t *settings = session->settings;
  bool separate = *settings->eval.dataset != '\0';
  held->source = separate ? &held->separate : data;
  if (separate) {
    TRY(source_open(session, model, "eval.dataset", settings->eval.dataset, &held->separate));
    held->count = dataset_info(held->separate.dataset).samples;
    TRY(memory_alloc(&held->rows, ARENA_DATA, (size_t)held->count, sizeof *held->rows));
    for (int64_t i = 0; i < held->count; i++)
      held->rows[i] = i;
  } else {
    TRY(dataset_rows(data->dataset, true, &held->rows, &held->count));
  }
  if (settings->eval.limit > 0 && settings->eval.limit < held->count) held->count = settings->eval.limit;
  if (held->count > 0) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "eval.every = %lld, but there is nothing to evaluate on: eval.dataset is empty, and no "
                   "sample of %s is held out. Name a dataset in eval.dataset, or make this one with "
                   "prepare.held_out > 0",
                   (long long)settings->eval.every, dataset_path(data->dataset));
}

status_t held_out_open(session_t *session, const model_t *model, source_t *data, held_out_t *out) {
  *out = (held_out_t){0};
  if (session->settings->eval.every == 0) return STATUS_OK;
  status_code_t status = held_out_open_rows(session, model, data, out);
  if (status != STATUS_OK) held_out_close(out);
  return status;
}

void held_out_close(held_out_t *held) {
  source_close(&held->separate);
  memory_free(held->rows);
  *held = (held_out_t){0};
}
