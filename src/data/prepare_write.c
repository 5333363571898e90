#include "data/prepare_parts.h"

#include <inttypes.h>
#include <string.h>

bool output_wants(const output_t *output, const sample_note_t *note) {
  return output->all || note->held_out == output->held_out;
}

/* Will the sample be in this dataset? */
static bool is_kept(const output_t *output, const sample_note_t *note) {
  if (note->bad || !output_wants(output, note)) return false;
  return note->image < 0 || output->problems[output->place[note->image]] == NULL;
}

status_t output_plan(output_t *output, int64_t *name_bytes) {
  const prepare_t *prepare = output->prepare;
  dataset_counts_t *planned = &output->planned;
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    if (!is_kept(output, note)) continue;
    planned->samples++;
    planned->texts += note->texts;
    planned->text_bytes += note->bytes;
  }
  *name_bytes = 0;
  for (int64_t i = 0; i < output->image_count; i++)
    *name_bytes += (int64_t)strlen(names_name(&prepare->names, output->images[i]));
  if (output->facts != NULL) facts_measure(output->facts, planned);
  if (planned->samples > 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: no sample is left, for all their images are unusable (the first: %s)",
                   output->path,
                   output->image_count > 0 && output->problems[0] != NULL ? output->problems[0] : "none");
}

static status_t prepare_write_changed(const sample_place_t *place) {
  return error_set(STATUS_DATA, "%s: line %" PRId64 ": the file changed while it was read",
                   place->source->path, place->line);
}

static status_t sample_write(output_t *output, const sample_place_t *place, const sample_note_t *note,
                             const sample_reader_t *reader) {
  prepare_t *prepare = output->prepare;
  dataset_sample_t sample = reader->sample;
  sample.held_out = output->all && note->held_out;
  if (note->image >= 0) sample.image = output->place[note->image];
  if (sample.image >= 0 && output->facts != NULL &&
      !facts_find(output->facts, sample.image, note->choice, &sample.fact, &sample.fact_count))
    prepare->counts.without_facts++;
  prepare->counts.samples++;
  prepare->counts.held_out += note->held_out;
  if (output->elements != NULL) output->elements[output->rows++] = place->number;
  return dataset_writer_sample(output->writer, &sample);
}

static status_t prepare_write_visit(void *context, const sample_place_t *place,
                                    const sample_reader_t *reader) {
  output_t *output = context;
  prepare_t *prepare = output->prepare;
  if (place->number >= prepare->note_count) return prepare_write_changed(place);
  const sample_note_t *note = &prepare->notes[place->number];
  if (note->bad != (place->status != STATUS_OK)) return prepare_write_changed(place);
  if (note->bad || !output_wants(output, note)) return STATUS_OK;
  if (note->bytes != reader->bytes || note->texts != reader->texts ||
      (note->image >= 0) != (reader->image != NULL))
    return prepare_write_changed(place);
  if (reader->image != NULL && strcmp(names_name(&prepare->names, note->image), reader->image) != 0)
    return prepare_write_changed(place);
  if (is_kept(output, note)) return sample_write(output, place, note, reader);
  char reason[1200];
  snprintf(reason, sizeof reason, "%s: %s", reader->where, output->problems[output->place[note->image]]);
  output->skipped++;
  return sample_refuse(prepare, place, &reader->sample, reason);
}

status_t output_write_texts(output_t *output) {
  const prepare_t *prepare = output->prepare;
  for (int64_t i = 0; i < output->image_count; i++)
    TRY(dataset_writer_name(output->writer, text_view(names_name(&prepare->names, output->images[i]))));
  if (output->facts != NULL) TRY(facts_write(output->facts, output->writer));
  return samples_visit(output->prepare, "writing", false, prepare_write_visit, output);
}
