#include "run/source.h"

#include "base/log.h"

#include <string.h>

enum { PREFETCH_BYTES_PER_MB = 1 << 20 };

static status_t open_source(session_t *session, const model_t *model, const char *path, source_t *source) {
  const settings_t *settings = session->settings;
  TRY(template_from_name(settings->model.template, &source->template));
  TRY(dataset_open(session->world, path, &source->dataset));
  source->tokenizer = model->tokenizer;
  source->aspect = strcmp(settings->image.aspect, "square") == 0 ? IMAGE_SQUARE : IMAGE_PAD;
  source->max_len = (int32_t)settings->data.max_len;
  source->skip_bad = strcmp(settings->data.bad_sample, "skip") == 0;
  size_t budget = (size_t)settings->data.prefetch * PREFETCH_BYTES_PER_MB;
  TRY(loader_create(source->dataset, (int)settings->data.workers, budget, &source->loader));
  dataset_info_t info = dataset_info(source->dataset);
  log_info("dataset    %s: %lld samples (%lld held out), %lld images", path, (long long)info.samples,
           (long long)info.held_out, (long long)info.images);
  return STATUS_OK;
}

status_t source_open(session_t *session, const model_t *model, const char *setting, const char *path,
                     source_t *out) {
  *out = (source_t){0};
  status_code_t status = open_source(session, model, path, out);
  if (status == STATUS_OK) return STATUS_OK;
  source_close(out);
  return error_context(status, "while opening %s = '%s'", setting, path);
}

void source_close(source_t *source) {
  loader_free(source->loader);
  if (source->dataset) dataset_close(source->dataset);
  *source = (source_t){0};
}

status_t source_bad_sample(source_t *source, int64_t row, const char *id, status_code_t status) {
  if (status == STATUS_OK) return STATUS_OK;
  status =
      error_context(status, "sample '%s' (row %lld of %s); data.bad_sample = 'skip' leaves such samples out",
                    id, (long long)row, dataset_path(source->dataset));
  if (status != STATUS_DATA || !source->skip_bad) return status;
  source->skipped++;
  log_warning("skipped: %s", error_message());
  error_clear();
  return STATUS_OK;
}

status_t source_sequence(source_t *source, int64_t row, sequence_t *sequence, int64_t *image) {
  dataset_sample_t sample;
  TRY(dataset_sample_read(source->dataset, row, &sample));
  *image = sample.image;
  status_code_t status = conversation_sequence(source->tokenizer, source->template, &sample.conversation,
                                               source->max_len, sequence);
  if (status == STATUS_OK && sequence_images(sequence) > 0 && sample.image < 0)
    status = error_set(STATUS_DATA, "the text has an image place but the sample has no image");
  if (status != STATUS_OK) {
    sequence_free(sequence);
    *sequence = (sequence_t){0};
  }
  status = source_bad_sample(source, row, sample.id.bytes, status);
  if (sequence_images(sequence) == 0) *image = -1;
  dataset_sample_free(&sample);
  return status;
}
