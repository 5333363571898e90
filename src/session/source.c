#include "session/source.h"

#include "base/log.h"
#include "base/memory.h"
#include "model/tower.h"

#include <string.h>

enum { BYTES_PER_MIB = 1 << 20 };

static status_t source_open_source(session_t *session, const model_t *model, const char *path,
                                   source_t *source) {
  const settings_t *settings = session->settings;
  TRY(template_from_name(settings->model.template, &source->template));
  TRY(template_check(source->template, model->tokenizer));
  TRY(dataset_open(session->world, path, &source->dataset));
  source->tokenizer = model->tokenizer;
  source->aspect = strcmp(settings->image.aspect, "square") == 0 ? IMAGE_SQUARE : IMAGE_PAD;
  source->max_len = (int32_t)settings->data.max_len;
  source->skip_bad = strcmp(settings->data.bad_sample, "skip") == 0;
  source->grid = &session->grid;
  size_t budget = (size_t)settings->data.prefetch * BYTES_PER_MIB;
  TRY(loader_create(source->dataset, (int)settings->data.workers, budget, &source->loader));
  dataset_info_t info = dataset_info(source->dataset);
  log_info("dataset    %s: %lld samples (%lld held out), %lld images", path, (long long)info.samples,
           (long long)info.held_out, (long long)info.images);
  return STATUS_OK;
}

/* Before any rank reads a sample: all see the same. */
static status_t source_check_sight(const model_t *model, const source_t *source) {
  int64_t images = dataset_info(source->dataset).images;
  if (images == 0 || config_sees(&model->base.config)) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "there are %lld images, but the model has no vision tower: it reads text alone",
                   (long long)images);
}

status_t source_open(session_t *session, const model_t *model, const char *setting, const char *path,
                     source_t *out) {
  *out = (source_t){0};
  status_code_t status = source_open_source(session, model, path, out);
  if (status == STATUS_OK) status = source_check_sight(model, out);
  if (status == STATUS_OK) return STATUS_OK;
  source_close(out);
  return error_context(status, "while opening %s = '%s'", setting, path);
}

void source_close(source_t *source) {
  loader_free(source->loader);
  dataset_close(source->dataset);
  memory_free(source->reported);
  *source = (source_t){0};
}

/* Is this the first time that ROW is reported? Without memory to remember it, it is said again. */
static bool source_report_once(source_t *source, int64_t row) {
  for (int64_t i = 0; i < source->reported_count; i++)
    if (source->reported[i] == row) return false;
  if (memory_resize(&source->reported, ARENA_DATA, (size_t)source->reported_count + 1, sizeof row) ==
      STATUS_OK)
    source->reported[source->reported_count++] = row;
  else
    error_clear();
  return true;
}

status_t source_name_sample(const source_t *source, int64_t row, const char *id, status_code_t status) {
  return error_context(status,
                       "sample '%s' (row %lld of %s); data.bad_sample = 'skip' leaves such samples out", id,
                       (long long)row, dataset_path(source->dataset));
}

status_t source_bad_sample(source_t *source, int64_t row, const char *id, status_code_t status) {
  if (status == STATUS_OK) return STATUS_OK;
  status = source_name_sample(source, row, id, status);
  if (status != STATUS_DATA || !source->skip_bad) return status;
  if (source_report_once(source, row)) log_warning("skipped: %s", error_message());
  error_clear();
  return STATUS_OK;
}

/* ---- Broken images ---- */

/* An error about IMAGE, which cannot be decoded for the reason PROBLEM, or a report. It names the first
 * sample with IMAGE: one always exists, for prepare made no other. */
static status_t broken_image(source_t *source, int64_t image, const char *problem) {
  SCOPED(dataset_sample_free) dataset_sample_t sample = {0};
  int64_t row = 0, count = dataset_info(source->dataset).samples;
  char reason[1024];
  while (row < count - 1 && dataset_sample_image(source->dataset, row) != image)
    row++;
  snprintf(reason, sizeof reason, "%s", problem);
  TRY(dataset_sample_read(source->dataset, row, &sample));
  return source_bad_sample(source, row, sample.id.bytes,
                           error_set(STATUS_DATA, "%s\non rank %d", reason, source->grid->rank));
}

/* A tp group decodes the same images on each of its ranks; what one could not read is left out on all, and
 * the first of those that could not says so. */
static status_t agree_broken(source_t *source, const loader_ticket_t *ticket, const int64_t *images,
                             int32_t n, int32_t *broken) {
  const grid_t *grid = source->grid;
  for (int32_t k = 0; k < n; k++)
    broken[k] = loader_problem(ticket, k) ? grid->tp_size - grid->tp_rank : 0;
  if (grid->tp_size > 1) TRY(comm_allreduce(grid->tp, broken, (size_t)n, COMM_I32, COMM_MAX));
  for (int32_t k = 0; k < n; k++) {
    if (broken[k] == grid->tp_size - grid->tp_rank && loader_problem(ticket, k))
      TRY(broken_image(source, images[k], loader_problem(ticket, k)));
    broken[k] = broken[k] > 0;
  }
  return STATUS_OK;
}

static status_t source_wait_for(source_t *source, loader_ticket_t *ticket, const int64_t *images, int32_t n,
                                const float **pixels, int32_t *broken) {
  TRY(loader_wait(source->loader, ticket, pixels));
  if (source->skip_bad) return agree_broken(source, ticket, images, n, broken);
  for (int32_t k = 0; k < n; k++) {
    broken[k] = 0;
    if (loader_problem(ticket, k)) return broken_image(source, images[k], loader_problem(ticket, k));
  }
  return STATUS_OK;
}

status_t source_request(source_t *source, const model_config_t *config, const int64_t *images, int32_t n,
                        loader_ticket_t **ticket) {
  pixels_t kind = config->tower == TOWER_SIGLIP ? PIXELS_SIGLIP : PIXELS_CLIP;
  return loader_request(source->loader, images, n, config->vision_image_size, source->aspect, kind, ticket);
}

status_t source_patches(source_t *source, const model_config_t *config, loader_ticket_t *ticket,
                        const int64_t *images, int32_t n, float **patches, int32_t *broken) {
  const float *pixels;
  size_t per_image = (size_t)config_patches(config) * (size_t)config_patch_size(config);
  size_t side = (size_t)config->vision_image_size, pixels_per_image = 3 * side * side;
  TRY(source_wait_for(source, ticket, images, n, &pixels, broken));
  TRY(memory_alloc(patches, ARENA_FEATURES, (size_t)n * per_image, sizeof **patches));
  for (int32_t i = 0; i < n; i++)
    tower_patches(config, pixels + (size_t)i * pixels_per_image, *patches + (size_t)i * per_image);
  return STATUS_OK;
}

/* ---- Sequences ---- */

status_t source_image(const sequence_t *sequence, int64_t *image) {
  if (sequence_images(sequence) == 0)
    *image = -1;
  else if (*image < 0)
    return error_set(STATUS_DATA, "the text has an image place but the sample has no image");
  return STATUS_OK;
}

status_t source_sample_sequence(const source_t *source, const dataset_sample_t *sample, sequence_t *sequence,
                                int64_t *image) {
  *image = sample->image;
  status_code_t status = conversation_sequence(source->tokenizer, source->template, &sample->conversation,
                                               source->max_len, sequence);
  if (status == STATUS_OK) status = source_image(sequence, image);
  if (status == STATUS_OK) return STATUS_OK;
  sequence_free(sequence);
  *sequence = (sequence_t){0};
  *image = -1;
  return status;
}

status_t source_sequence(source_t *source, int64_t row, sequence_t *sequence, int64_t *image) {
  SCOPED(dataset_sample_free) dataset_sample_t sample = {0};
  TRY(dataset_sample_read(source->dataset, row, &sample));
  return source_bad_sample(source, row, sample.id.bytes,
                           source_sample_sequence(source, &sample, sequence, image));
}
