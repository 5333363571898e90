#include "data/prepare_parts.h"

#include "base/log.h"

#include <inttypes.h>
#include <string.h>

bool output_wants(const output_t *output, const sample_note_t *note) {
  return note->fate == FATE_KEPT && (output->all || note->held_out == output->held_out);
}

/* Will the sample be in this dataset? */
static bool is_kept(const output_t *output, const sample_note_t *note) {
  if (!output_wants(output, note)) return false;
  return note->image < 0 || output->problems[output->place[note->image]] == NULL;
}

/* TRAINED: samples of the dataset that are not held out. */
static status_t none_missing(const output_t *output, int64_t trained) {
  if (output->planned.samples == 0)
    return error_set(STATUS_DATA, "%s: no sample is left, for all their images are unusable (the first: %s)",
                     output->path,
                     output->image_count > 0 && output->problems[0] != NULL ? output->problems[0] : "none");
  if (output->held_out || trained > 0) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: all %" PRId64 " samples that are left are held out, for the images of the others are "
                   "unusable: none is left to train on; hold out fewer, or mend the images",
                   output->path, output->planned.samples);
}

status_t output_plan(output_t *output, int64_t *name_bytes) {
  const prepare_t *prepare = output->prepare;
  dataset_counts_t *planned = &output->planned;
  int64_t trained = 0;
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    if (!is_kept(output, note)) continue;
    planned->samples++;
    trained += !note->held_out;
    planned->texts += note->texts;
    planned->text_bytes += note->bytes;
    planned->facts += note->facts;
    planned->fact_bytes += note->fact_bytes;
  }
  *name_bytes = 0;
  for (int64_t i = 0; i < output->image_count; i++)
    *name_bytes += (int64_t)strlen(names_name(&prepare->names, output->images[i]));
  if (prepare->facts != NULL) facts_plan(prepare->facts, output, planned);
  return none_missing(output, trained);
}

static status_t own_facts_write(output_t *output, dataset_sample_t *sample) {
  sample->fact = output->facts;
  for (int32_t f = 0; f < sample->fact_count; f++)
    TRY(dataset_writer_fact(output->writer, sample->facts[f]));
  output->facts += sample->fact_count;
  return STATUS_OK;
}

static status_t sample_write(output_t *output, int64_t number, const sample_note_t *note,
                             dataset_sample_t *sample) {
  prepare_t *prepare = output->prepare;
  sample->held_out = output->all && note->held_out;
  if (note->image >= 0) sample->image = output->place[note->image];
  if (note->facts > 0)
    TRY(own_facts_write(output, sample));
  else if (note->image >= 0 && prepare->facts != NULL &&
           !facts_find(prepare->facts, note->image, note->choice, &sample->fact, &sample->fact_count))
    prepare->counts.without_facts++;
  prepare->counts.samples++;
  prepare->counts.held_out += note->held_out;
  if (output->elements.n > 0) selection_add(&output->elements, number);
  return dataset_writer_sample(output->writer, sample);
}

static status_t note_write(output_t *output, int64_t number, record_t *record) {
  prepare_t *prepare = output->prepare;
  const sample_note_t *note = &prepare->notes[number];
  TRY(record_read(prepare, note, record));
  if (is_kept(output, note)) return sample_write(output, number, note, &record->sample);
  char reason[1200];
  const char *id = record->sample.id.bytes;
  snprintf(reason, sizeof reason, "sample '%.80s': %s", id, output->problems[output->place[note->image]]);
  prepare_source_t *source = &prepare->sources[note->source];
  return sample_refuse(prepare, source, source->path, record->line, id, reason);
}

static status_t samples_write(output_t *output) {
  SCOPED(record_free) record_t record = {0};
  const prepare_t *prepare = output->prepare;
  for (int64_t i = 0; i < prepare->note_count; i++) {
    if (!output_wants(output, &prepare->notes[i])) continue;
    TRY(stop_vote_continue(prepare->options->vote));
    TRY(note_write(output, i, &record));
    log_progress("writing", i + 1, prepare->note_count, "samples", NULL);
  }
  return STATUS_OK;
}

status_t output_write_texts(output_t *output) {
  const prepare_t *prepare = output->prepare;
  for (int64_t i = 0; i < output->image_count; i++)
    TRY(dataset_writer_name(output->writer, text_view(names_name(&prepare->names, output->images[i]))));
  if (prepare->facts != NULL) TRY(facts_write(prepare->facts, output));
  return samples_write(output);
}
