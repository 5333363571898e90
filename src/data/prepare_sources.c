/* The sources of samples: which there are, and those whose elements are samples already. */
#include "data/prepare_parts.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/file.h"

#include <inttypes.h>
#include <string.h>

void sources_list(prepare_t *prepare) {
  const prepare_options_t *o = prepare->options;
  const prepare_source_t sources[SOURCES_MAX] = {
      {o->conversations, "conversations", source_read_json, .limit = o->conversations_limit},
      {o->preferences, "preferences", source_read_json, .limit = o->preferences_limit},
      {o->dataset, "dataset", source_read_dataset, .limit = o->dataset_limit},
      {o->vqa_questions, "vqa", source_read_vqa, .limit = o->vqa_limit},
      {o->choices, "choices", source_read_choices, .limit = o->choices_limit},
      {o->flickr, "flickr", source_read_flickr, .limit = o->flickr_limit},
      {o->captions, "captions", source_read_captions, .limit = o->captions_limit}};
  for (int s = 0; s < SOURCES_MAX; s++)
    if (text_given(sources[s].path)) prepare->sources[prepare->source_count++] = sources[s];
}

/* ---- JSON ---- */

static status_t source_read_element(prepare_t *prepare, prepare_source_t *source, sample_reader_t *reader,
                                    const json_element_t *element) {
  const sample_kind_t kind =
      strcmp(source->kind, "preferences") == 0 ? SAMPLE_PREFERENCE : SAMPLE_CONVERSATION;
  status_code_t status = sample_read(reader, element->value, element->index, kind);
  if (status == STATUS_DATA)
    return sample_take_bad(prepare, source, source->path, element->line, reader->sample.id.bytes);
  TRY(status);
  char image[FILE_MAX_PATH];
  if (reader->image != NULL &&
      snprintf(image, sizeof image, "%s%s", text_or_none(prepare->options->image_prefix), reader->image) >=
          (int)sizeof image)
    return error_set(STATUS_DATA, "%s: the image's path is too long", reader->where);
  return sample_take(prepare, source, element->line, &reader->sample, reader->image == NULL ? NULL : image);
}

status_t source_read_json(prepare_t *prepare, prepare_source_t *source) {
  SCOPED(json_reader_close_at) json_reader_t *file = NULL;
  SCOPED(sample_reader_free) sample_reader_t reader = {0};
  json_element_t element;
  TRY(json_reader_open(source->path, JSON_ELEMENTS, &file));
  for (;;) {
    TRY(source_next(prepare, source->path, file, &element));
    if (element.value == NULL) break;
    TRY(source_read_element(prepare, source, &reader, &element));
  }
  if (reader.messages.systems > 0)
    log_warning("%" PRId64
                " system messages are left out: the template has words of its own (model.template)",
                reader.messages.systems);
  return STATUS_OK;
}

/* ---- A dataset ---- */

/* Row ROW, with its facts and its mark of being held out. */
static status_t source_read_row(prepare_t *prepare, prepare_source_t *source, const dataset_t *dataset,
                                int64_t row) {
  SCOPED(dataset_sample_free) dataset_sample_t sample = {0};
  SCOPED_MEMORY char *image = NULL;
  TRY(dataset_sample_read(dataset, row, &sample));
  if (sample.image >= 0) TRY(dataset_image_name(dataset, sample.image, &image));
  return sample_take(prepare, source, row + 1, &sample, image);
}

status_t source_read_dataset(prepare_t *prepare, prepare_source_t *source) {
  SCOPED(dataset_close_at) dataset_t *dataset = NULL;
  TRY(dataset_open(NULL, source->path, &dataset));
  const int64_t rows = dataset_info(dataset).samples;
  for (int64_t row = 0; row < rows; row++) {
    TRY(stop_vote_continue(prepare->options->vote));
    TRY(source_read_row(prepare, source, dataset, row));
    log_progress("samples", row + 1, rows, "rows", source->path);
  }
  return STATUS_OK;
}
