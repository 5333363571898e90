#include "data/prepare.h"

#include "base/log.h"
#include "base/memory.h"
#include "data/prepare_parts.h"
#include "io/file_identity.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool prepare_is_first(const prepare_t *prepare) {
  return comm_rank(prepare->comm) == 0;
}

status_t prepare_agree(const prepare_t *prepare, status_code_t status) {
  return stop_vote_agree(prepare->options->vote, prepare->comm, status);
}

/* ---- Starting ---- */

static status_t outputs_check(const prepare_options_t *options) {
  file_identity_t output, held_out;
  if (!text_given(options->held_out_output)) return STATUS_OK;
  TRY(file_identity(options->output, &output));
  TRY(file_identity(options->held_out_output, &held_out));
  if (!file_identical(&output, &held_out)) return STATUS_OK;
  return error_set(STATUS_INPUT, "%s cannot be the dataset and that of the samples held out, too (%s)",
                   options->output, options->held_out_output);
}

static status_t scores_options_check(const prepare_options_t *options) {
  if (!text_given(options->scores)) return STATUS_OK;
  if (!text_given(options->dataset))
    return error_set(STATUS_INPUT, "%s are scores of a dataset: name that dataset (prepare.dataset)",
                     options->scores);
  if (options->keep > 0 && options->keep <= 1) return STATUS_OK;
  return error_set(STATUS_INPUT, "a share of %g of the samples cannot be kept; expected one up to 1",
                   options->keep);
}

static status_t options_check(const prepare_t *prepare) {
  const prepare_options_t *options = prepare->options;
  if (prepare->source_count == 0)
    return error_set(
        STATUS_INPUT,
        "there is nothing to prepare: name a file of conversations, of preferences, or another source");
  if (text_given(options->vqa_questions) != text_given(options->vqa_annotations))
    return error_set(STATUS_INPUT, "questions and annotations of VQA-v2 are two files: name both");
  if (!text_given(options->output)) return error_set(STATUS_INPUT, "name the dataset to write (output)");
  if (options->held_out < 0)
    return error_set(STATUS_INPUT, "%" PRId64 " samples cannot be held out", options->held_out);
  if (text_given(options->held_out_output) && options->held_out == 0)
    return error_set(STATUS_INPUT, "%s is to get the samples held out, but none are: set how many",
                     options->held_out_output);
  TRY(scores_options_check(options));
  return outputs_check(options);
}

/* Rank 0. */
static status_t scan_first(prepare_t *prepare) {
  const prepare_options_t *options = prepare->options;
  if (text_given(options->report) && options->skip_bad && !options->plan)
    TRY(file_stream(options->report, false, &prepare->report));
  if (!options->plan) TRY(file_make_parent(options->output));
  return prepare_scan(prepare);
}

static status_t folder_open(prepare_t *prepare) {
  if (prepare->names.count == 0) return STATUS_OK;
  if (text_given(prepare->options->image_folder))
    return image_folder_open(prepare->options->image_folder, &prepare->folder);
  return error_set(STATUS_INPUT, "the samples have images ('%s'): name their image_folder",
                   names_name(&prepare->names, 0));
}

/* ---- One dataset ---- */

static void mark_used(output_t *output, int64_t *place) {
  const prepare_t *prepare = output->prepare;
  for (int64_t i = 0; i < prepare->names.count; i++)
    place[i] = -1;
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    if (note->image >= 0 && output_wants(output, note)) place[note->image] = 0;
  }
  for (int64_t i = 0; i < prepare->names.count; i++)
    if (place[i] == 0) place[i] = output->image_count++;
}

/* The images of the dataset. Rank 0 knows which, the others learn it. Collective. */
static status_t images_list(output_t *output) {
  const prepare_t *prepare = output->prepare;
  const size_t names = (size_t)prepare->names.count;
  TRY(comm_agree(prepare->comm, memory_alloc(&output->place, ARENA_DATA, names, sizeof *output->place)));
  if (prepare_is_first(prepare)) mark_used(output, output->place);
  TRY(comm_broadcast(prepare->comm, &output->image_count, 1, COMM_I64, 0));
  TRY(comm_broadcast(prepare->comm, output->place, names, COMM_I64, 0));
  TRY(comm_agree(prepare->comm, memory_alloc(&output->images, ARENA_DATA, (size_t)output->image_count,
                                             sizeof *output->images)));
  for (int64_t i = 0; i < prepare->names.count; i++)
    if (output->place[i] >= 0) output->images[output->place[i]] = i;
  return STATUS_OK;
}

static status_t counts_text(const prepare_t *prepare, char **text) {
  json_writer_t *writer = NULL;
  TRY(json_writer_create(NULL, &writer));
  counts_write(prepare, writer);
  return json_writer_finish(writer, text, NULL);
}

/* Room to note which elements are rows, if that is asked for and of OUTPUT; then the texts. */
static status_t texts_write(output_t *output) {
  const prepare_options_t *options = output->prepare->options;
  if (options->elements != NULL && output->path == options->output)
    TRY(selection_create(ARENA_DATA, output->prepare->note_count, &output->elements));
  return output_write_texts(output);
}

static status_t output_close(output_t *output) {
  SCOPED_MEMORY char *sources = NULL;
  const prepare_t *prepare = output->prepare;
  TRY(comm_agree(prepare->comm, prepare_is_first(prepare) ? counts_text(prepare, &sources) : STATUS_OK));
  dataset_writer_t *writer = output->writer;
  output->writer = NULL;
  return dataset_writer_close(writer, sources, prepare->counts.skipped);
}

static status_t output_make(output_t *output) {
  const prepare_t *prepare = output->prepare;
  comm_t *comm = prepare->comm;
  const bool first = prepare_is_first(prepare);
  int64_t name_bytes = 0;
  TRY(images_list(output));
  TRY(comm_agree(comm, first ? file_make_parent(output->path) : STATUS_OK));
  TRY(dataset_writer_open(comm, output->path, &output->writer));
  TRY(output_write_images(output));
  TRY(prepare_agree(prepare, first ? output_plan(output, &name_bytes) : STATUS_OK));
  TRY(comm_broadcast(comm, &output->planned, sizeof output->planned, COMM_BYTE, 0));
  TRY(comm_broadcast(comm, &name_bytes, 1, COMM_I64, 0));
  TRY(comm_agree(comm, dataset_writer_texts(output->writer, &output->planned, name_bytes)));
  TRY(prepare_agree(prepare, first ? texts_write(output) : STATUS_OK));
  return output_close(output);
}

/* Counts what output_make would write. */
static status_t output_count(output_t *output) {
  prepare_t *prepare = output->prepare;
  const bool first = prepare_is_first(prepare);
  int64_t name_bytes = 0, image_bytes = 0;
  const dataset_counts_t none = {0};
  TRY(images_list(output));
  TRY(output_measure_images(output));
  TRY(prepare_agree(prepare, first ? output_plan(output, &name_bytes) : STATUS_OK));
  for (int64_t i = 0; i < output->image_count; i++)
    image_bytes += output->sizes[i];
  prepare->counts.samples += output->planned.samples;
  prepare->counts.bytes += dataset_file_bytes(&output->planned, name_bytes, output->image_count, image_bytes);
  prepare->counts.constant += dataset_file_bytes(&none, 0, 0, 0);
  prepare->counts.kept = (int64_t)memory_usage(ARENA_DATA).current - prepare->data_before;
  return STATUS_OK;
}

static void output_free(output_t *output) {
  dataset_writer_abandon(output->writer);
  memory_free(output->whole);
  memory_free(output->images);
  memory_free(output->place);
  memory_free(output->sizes);
  memory_free(output->problems);
  memory_free(output->problem_bytes);
  selection_free(&output->elements);
}

static status_t output_run(prepare_t *prepare, const char *path, bool all, bool held_out) {
  SCOPED(output_free)
  output_t output = {.prepare = prepare, .path = path, .all = all, .held_out = held_out};
  if (prepare->options->plan) return output_count(&output);
  TRY(output_make(&output));
  if (output.elements.n > 0) {
    selection_count(&output.elements);
    *prepare->options->elements = output.elements;
    output.elements = (selection_t){0};
  }
  log_info("%s: %" PRId64 " images", path, output.image_count);
  return STATUS_OK;
}

/* ---- The task ---- */

/* Rank 0: the images that the datasets show, and the samples that were left out by choice. */
static status_t counts_end(prepare_t *prepare) {
  SCOPED_MEMORY bool *shown = NULL;
  prepare_counts_t *counts = &prepare->counts;
  TRY(memory_alloc(&shown, ARENA_DATA, (size_t)prepare->names.count, sizeof *shown));
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    counts->chosen_away += note->fate != FATE_KEPT && note->fate != FATE_BAD;
    if (note->fate != FATE_KEPT || note->image < 0 || shown[note->image]) continue;
    shown[note->image] = true;
    counts->images++;
  }
  if (prepare->options->summary != NULL) TRY(counts_text(prepare, prepare->options->summary));
  return STATUS_OK;
}

static status_t prepare_all(prepare_t *prepare) {
  const prepare_options_t *options = prepare->options;
  comm_t *comm = prepare->comm;
  sources_list(prepare);
  TRY(comm_agree(comm, prepare_is_first(prepare) ? options_check(prepare) : STATUS_OK));
  TRY(prepare_agree(prepare, prepare_is_first(prepare) ? scan_first(prepare) : STATUS_OK));
  TRY(names_share(comm, &prepare->names));
  TRY(comm_agree(comm, folder_open(prepare)));
  const bool apart = text_given(options->held_out_output);
  TRY(prepare_keep(prepare));
  TRY(output_run(prepare, options->output, !apart, false));
  if (apart) TRY(output_run(prepare, options->held_out_output, false, true));
  TRY(kept_remove(&prepare->kept));
  TRY(comm_agree(comm, prepare_is_first(prepare) ? counts_end(prepare) : STATUS_OK));
  TRY(comm_broadcast(comm, &prepare->counts, sizeof prepare->counts, COMM_BYTE, 0));
  if (!options->plan && prepare_is_first(prepare)) counts_log(prepare);
  return STATUS_OK;
}

static void prepare_free(prepare_t *prepare) {
  kept_close(prepare->kept);
  if (prepare->report != NULL) fclose(prepare->report);
  image_folder_close(&prepare->folder);
  names_free(&prepare->names);
  facts_free(prepare->facts);
  spool_close(&prepare->spool);
  memory_free(prepare->notes);
}

status_t prepare_run(comm_t *comm, const prepare_options_t *options, prepare_counts_t *counts) {
  SCOPED(prepare_free)
  prepare_t prepare = {
      .comm = comm, .options = options, .data_before = (int64_t)memory_usage(ARENA_DATA).current};
  status_code_t status = prepare_all(&prepare);
  if (counts != NULL) *counts = prepare.counts;
  if (status == STATUS_STOPPED && prepare.report != NULL) unlink(options->report); /* it is not whole */
  return status;
}
