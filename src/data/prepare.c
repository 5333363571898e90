#include "data/prepare.h"

#include "base/log.h"
#include "base/memory.h"
#include "data/prepare_parts.h"
#include "io/file_identity.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool prepare_given(const char *text) {
  return text != NULL && text[0] != '\0';
}

static bool prepare_is_first(const prepare_t *prepare) {
  return comm_rank(prepare->comm) == 0;
}

status_t prepare_agree(const prepare_t *prepare, status_code_t status) {
  return stop_vote_agree(prepare->options->vote, prepare->comm, status);
}

/* ---- Starting ---- */

static status_t outputs_check(const prepare_options_t *options) {
  file_identity_t output, held_out;
  if (!prepare_given(options->held_out_output)) return STATUS_OK;
  TRY(file_identity(options->output, &output));
  TRY(file_identity(options->held_out_output, &held_out));
  if (!file_identical(&output, &held_out)) return STATUS_OK;
  return error_set(STATUS_INPUT, "%s cannot be the dataset and that of the samples held out, too (%s)",
                   options->output, options->held_out_output);
}

static status_t options_check(const prepare_options_t *options) {
  if (!prepare_given(options->conversations) && !prepare_given(options->preferences))
    return error_set(STATUS_INPUT,
                     "there is nothing to prepare: name a file of conversations or of preferences");
  if (!prepare_given(options->output)) return error_set(STATUS_INPUT, "name the dataset to write (output)");
  if (options->held_out < 0)
    return error_set(STATUS_INPUT, "%" PRId64 " samples cannot be held out", options->held_out);
  if (prepare_given(options->held_out_output) && options->held_out == 0)
    return error_set(STATUS_INPUT, "%s is to get the samples held out, but none are: set how many",
                     options->held_out_output);
  return outputs_check(options);
}

static void sources_list(prepare_t *prepare) {
  const prepare_source_t sources[] = {{.path = prepare->options->conversations, .kind = SAMPLE_CONVERSATION},
                                      {.path = prepare->options->preferences, .kind = SAMPLE_PREFERENCE}};
  for (size_t s = 0; s < sizeof sources / sizeof *sources; s++)
    if (prepare_given(sources[s].path)) prepare->sources[prepare->source_count++] = sources[s];
}

/* Rank 0. */
static status_t scan_first(prepare_t *prepare) {
  const prepare_options_t *options = prepare->options;
  if (prepare_given(options->report) && options->skip_bad && !options->plan)
    TRY(file_stream(options->report, false, &prepare->report));
  return prepare_scan(prepare);
}

static status_t folder_open(prepare_t *prepare) {
  if (prepare->names.count == 0) return STATUS_OK;
  if (prepare_given(prepare->options->image_folder))
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
    if (!note->bad && note->image >= 0 && output_wants(output, note)) place[note->image] = 0;
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

static void prepare_write_source(json_writer_t *writer, const prepare_source_t *source) {
  json_write_object_begin(writer);
  json_write_member(writer, "file", source->path);
  json_write_member(writer, "kind", source->kind == SAMPLE_PREFERENCE ? "preferences" : "conversations");
  json_write_int_member(writer, "samples", source->elements);
  json_write_int_member(writer, "left_out", source->bad);
  json_write_object_end(writer);
}

static status_t sources_text(const prepare_t *prepare, char **text) {
  json_writer_t *writer = NULL;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_key(writer, "files");
  json_write_array_begin(writer);
  for (int s = 0; s < prepare->source_count; s++)
    prepare_write_source(writer, &prepare->sources[s]);
  json_write_array_end(writer);
  json_write_member(writer, "facts", prepare_given(prepare->options->facts) ? prepare->options->facts : NULL);
  json_write_member(writer, "image_folder", prepare->folder.root);
  json_write_int_member(writer, "seed", (int64_t)prepare->options->seed);
  json_write_int_member(writer, "held_out", prepare->options->held_out);
  json_write_object_end(writer);
  return json_writer_finish(writer, text, NULL);
}

/* Room for the numbers of the elements, if OUTPUT is the dataset whose rows' are asked for; then the texts.
 */
static status_t texts_write(output_t *output) {
  const prepare_options_t *options = output->prepare->options;
  if (options->elements != NULL && output->path == options->output)
    TRY(memory_alloc(&output->elements, ARENA_DATA, (size_t)output->planned.samples,
                     sizeof *output->elements));
  return output_write_texts(output);
}

static status_t facts_open(output_t *output, int64_t *name_bytes) {
  const prepare_options_t *options = output->prepare->options;
  if (prepare_given(options->facts)) TRY(facts_create(output, options->facts, &output->facts));
  return output_plan(output, name_bytes);
}

static status_t output_close(output_t *output) {
  SCOPED_MEMORY char *sources = NULL;
  const prepare_t *prepare = output->prepare;
  TRY(comm_agree(prepare->comm, prepare_is_first(prepare) ? sources_text(prepare, &sources) : STATUS_OK));
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
  TRY(prepare_agree(prepare, first ? facts_open(output, &name_bytes) : STATUS_OK));
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
  TRY(prepare_agree(prepare, first ? facts_open(output, &name_bytes) : STATUS_OK));
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
  facts_free(output->facts);
  memory_free(output->images);
  memory_free(output->place);
  memory_free(output->sizes);
  memory_free(output->problems);
  memory_free(output->problem_bytes);
  memory_free(output->elements);
}

static status_t output_run(prepare_t *prepare, const char *path, bool all, bool held_out) {
  SCOPED(output_free)
  output_t output = {.prepare = prepare, .path = path, .all = all, .held_out = held_out};
  if (prepare->options->plan) return output_count(&output);
  TRY(output_make(&output));
  if (output.elements != NULL) memory_hand_over(prepare->options->elements, &output.elements);
  log_info("%s: %" PRId64 " images", path, output.image_count);
  return STATUS_OK;
}

/* ---- The task ---- */

static void summary_log(const prepare_t *prepare) {
  const prepare_counts_t *counts = &prepare->counts;
  log_info("prepared %" PRId64 " samples with %" PRId64 " images; %" PRId64 " held out, %" PRId64
           " left out, %" PRId64 " images broken",
           counts->samples, counts->images, counts->held_out, counts->skipped, counts->broken_images);
  if (counts->shared > 0)
    log_warning("%" PRId64
                " of the samples held out show images that samples for training show, too: what is "
                "measured on them may be remembered; held_out_by = 'image' keeps them apart",
                counts->shared);
  if (counts->turned_images > 0)
    log_warning("%" PRId64
                " images are to be turned or mirrored, as their EXIF blocks say; models see them as "
                "they are stored, as in the published code: turn the files themselves if that is not wanted",
                counts->turned_images);
  if (counts->without_facts > 0)
    log_warning("%" PRId64 " samples with an image have no facts in %s", counts->without_facts,
                prepare->options->facts);
}

static status_t prepare_all(prepare_t *prepare) {
  const prepare_options_t *options = prepare->options;
  comm_t *comm = prepare->comm;
  TRY(comm_agree(comm, prepare_is_first(prepare) ? options_check(options) : STATUS_OK));
  sources_list(prepare);
  TRY(prepare_agree(prepare, prepare_is_first(prepare) ? scan_first(prepare) : STATUS_OK));
  TRY(names_share(comm, &prepare->names));
  TRY(comm_agree(comm, folder_open(prepare)));
  const bool apart = prepare_given(options->held_out_output);
  TRY(output_run(prepare, options->output, !apart, false));
  if (apart) TRY(output_run(prepare, options->held_out_output, false, true));
  prepare->counts.images = prepare->names.count;
  TRY(comm_broadcast(comm, &prepare->counts, sizeof prepare->counts, COMM_BYTE, 0));
  if (!options->plan) summary_log(prepare);
  return STATUS_OK;
}

static void prepare_free(prepare_t *prepare) {
  if (prepare->report != NULL) fclose(prepare->report);
  image_folder_close(&prepare->folder);
  names_free(&prepare->names);
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
