#include "session/held_out.h"

static status_t held_out_open_rows(session_t *session, const model_t *model, source_t *data,
                                   held_out_t *held) {
  const settings_t *settings = session->settings;
  bool separate = *settings->eval.dataset != '\0';
  held->source = separate ? &held->separate : data;
  if (separate) {
    TRY(source_open(session, model, "eval.dataset", settings->eval.dataset, &held->separate));
  }
  TRY(dataset_rows(session->world, held->source->dataset, separate ? DATASET_ALL : DATASET_HELD_OUT,
                   &held->rows));
  int64_t limit = settings->eval.limit;
  if (limit > 0 && limit < held->rows.count) held->rows.count = limit;
  if (held->rows.count > 0) return STATUS_OK;
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
  dataset_rows_free(&held->rows);
  source_close(&held->separate);
  *held = (held_out_t){0};
}
