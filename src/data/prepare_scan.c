#include "data/prepare_parts.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"

#include <inttypes.h>
#include <string.h>

enum { WARNINGS_SHOWN = 10 };

/* ---- Reading all samples ---- */

typedef struct {
  prepare_source_t *source;
  json_reader_t *reader;
  sample_reader_t sample;
  int64_t number; /* of the next sample, over all sources */
  const char *label;
  stop_vote_t *vote;
  sample_visit_t visit;
  void *context;
} visiting_t;

static void visiting_end(visiting_t *visiting) {
  sample_reader_free(&visiting->sample);
}

static void progress_show(const visiting_t *visiting, int64_t done) {
  const int64_t size = json_reader_size(visiting->reader);
  log_progress(visiting->label, (done + 1023) / 1024, (size + 1023) / 1024, "KiB", visiting->source->path);
}

static status_t prepare_scan_visit_source(visiting_t *visiting) {
  const int64_t size = json_reader_size(visiting->reader);
  json_element_t element;
  for (;;) {
    TRY(stop_vote_continue(visiting->vote));
    TRY(json_reader_next(visiting->reader, &element));
    if (element.value == NULL) break;
    sample_place_t place = {visiting->source, visiting->number++, element.line, STATUS_OK};
    place.status = sample_read(&visiting->sample, element.value, element.index, visiting->source->kind);
    if (place.status != STATUS_OK && place.status != STATUS_DATA) return place.status;
    TRY(visiting->visit(visiting->context, &place, &visiting->sample));
    const int64_t done = json_reader_position(visiting->reader);
    if (done < size) progress_show(visiting, done);
  }
  progress_show(visiting, size);
  return STATUS_OK;
}

status_t samples_visit(prepare_t *prepare, const char *label, bool first, sample_visit_t visit,
                       void *context) {
  SCOPED(visiting_end)
  visiting_t visiting = {.label = label, .vote = prepare->options->vote, .visit = visit, .context = context};
  for (int s = 0; s < prepare->source_count; s++) {
    SCOPED(json_reader_close_at) json_reader_t *reader = NULL;
    visiting.source = &prepare->sources[s];
    TRY(json_reader_open(visiting.source->path, JSON_ELEMENTS, &reader));
    visiting.reader = reader;
    TRY(prepare_scan_visit_source(&visiting));
    if (first) json_reader_warn(reader);
  }
  if (first && visiting.sample.messages.systems > 0)
    log_warning("%" PRId64
                " system messages are left out: the template has words of its own (model.template)",
                visiting.sample.messages.systems);
  return STATUS_OK;
}

/* ---- Bad samples ---- */

static status_t prepare_scan_report_line(const prepare_t *prepare, const sample_place_t *place,
                                         const dataset_sample_t *sample, const char *reason) {
  json_writer_t *writer = NULL;
  TRY(json_writer_create(prepare->report, &writer));
  json_write_object_begin(writer);
  json_write_member(writer, "file", place->source->path);
  json_write_int_member(writer, "line", place->line);
  json_write_member(writer, "sample", sample->id.bytes);
  json_write_member(writer, "reason", reason);
  json_write_object_end(writer);
  json_write_line(writer);
  return error_context(json_writer_finish(writer, NULL, NULL), "while writing %s", prepare->options->report);
}

status_t sample_refuse(prepare_t *prepare, const sample_place_t *place, const dataset_sample_t *sample,
                       const char *reason) {
  if (!prepare->options->skip_bad)
    return error_set(STATUS_DATA,
                     "%s: line %" PRId64 ": %s; mend it, or leave bad samples out with bad_sample = 'skip'",
                     place->source->path, place->line, reason);
  place->source->bad++;
  prepare->counts.skipped++;
  if (prepare->counts.skipped <= WARNINGS_SHOWN)
    log_warning("left out: %s: line %" PRId64 ": %s", place->source->path, place->line, reason);
  if (prepare->counts.skipped == WARNINGS_SHOWN + 1)
    log_warning("more samples are left out%s%s", prepare->report == NULL ? "" : "; all are listed in ",
                prepare->report == NULL ? "" : prepare->options->report);
  return prepare->report == NULL ? STATUS_OK : prepare_scan_report_line(prepare, place, sample, reason);
}

/* ---- The first reading ---- */

static status_t scan_visit(void *context, const sample_place_t *place, const sample_reader_t *reader) {
  prepare_t *prepare = context;
  const dataset_sample_t *sample = &reader->sample;
  TRY(memory_reserve(&prepare->notes, ARENA_DATA, (size_t)prepare->note_count + 1, sizeof *prepare->notes));
  sample_note_t *note = &prepare->notes[prepare->note_count++];
  *note = (sample_note_t){.image = -1, .bytes = reader->bytes, .texts = (int32_t)reader->texts};
  place->source->elements++;
  if (place->status != STATUS_OK) {
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", error_message());
    error_clear();
    note->bad = true;
    return sample_refuse(prepare, place, sample, reason);
  }
  note->choice = sample->caption_type >= 2 && sample->caption_type <= 5;
  return reader->image == NULL ? STATUS_OK
                               : names_add(&prepare->names, reader->image, sample->id.bytes, &note->image);
}

/* ---- Holding out ---- */

/* The samples in groups that are held out together or not at all. */
typedef struct {
  int64_t count;
  int64_t *of_note;  /* (notes): group of each sample that is not bad */
  int64_t *of_image; /* (names): group of its samples, -1 none yet */
  int64_t *size;     /* (groups): samples */
  int64_t *order;    /* (groups): as drawn */
  bool *chosen;      /* (groups) */
} prepare_scan_split_t;

static status_t split_alloc(const prepare_t *prepare, int64_t good, prepare_scan_split_t *split) {
  TRY(memory_alloc(&split->of_note, ARENA_DATA, (size_t)prepare->note_count, sizeof *split->of_note));
  TRY(memory_alloc(&split->of_image, ARENA_DATA, (size_t)prepare->names.count, sizeof *split->of_image));
  TRY(memory_alloc(&split->size, ARENA_DATA, (size_t)good, sizeof *split->size));
  TRY(memory_alloc(&split->order, ARENA_DATA, (size_t)good, sizeof *split->order));
  return memory_alloc(&split->chosen, ARENA_DATA, (size_t)good, sizeof *split->chosen);
}

static void split_free(prepare_scan_split_t *split) {
  memory_free(split->of_note);
  memory_free(split->of_image);
  memory_free(split->size);
  memory_free(split->order);
  memory_free(split->chosen);
}

/* Groups in order of their first sample: by image, or each sample for itself. */
static void split_group(const prepare_t *prepare, prepare_scan_split_t *split) {
  for (int64_t i = 0; i < prepare->names.count; i++)
    split->of_image[i] = -1;
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    if (note->bad) continue;
    int64_t *shared =
        note->image >= 0 && !prepare->options->split_images ? &split->of_image[note->image] : NULL;
    int64_t group = shared && *shared >= 0 ? *shared : split->count++;
    if (shared) *shared = group;
    split->of_note[i] = group;
    split->size[group]++;
  }
}

/* Chooses groups until they have as many samples as are wanted; returns how many they have. */
static int64_t split_draw(const prepare_t *prepare, prepare_scan_split_t *split) {
  int64_t held_out = 0;
  random_permutation(prepare->options->seed, RANDOM_SPLIT, 0, split->count, split->order);
  for (int64_t g = 0; g < split->count && held_out < prepare->options->held_out; g++) {
    split->chosen[split->order[g]] = true;
    held_out += split->size[split->order[g]];
  }
  return held_out;
}

/* Marks the samples of the chosen groups, and counts those whose image training will see. */
static void split_mark(prepare_t *prepare, prepare_scan_split_t *split) {
  enum { UNSEEN = -1, SEEN };
  for (int64_t i = 0; i < prepare->names.count; i++)
    split->of_image[i] = UNSEEN;
  for (int64_t i = 0; i < prepare->note_count; i++) {
    sample_note_t *note = &prepare->notes[i];
    if (note->bad) continue;
    note->held_out = split->chosen[split->of_note[i]];
    if (!note->held_out && note->image >= 0) split->of_image[note->image] = SEEN;
  }
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    prepare->counts.shared += note->held_out && note->image >= 0 && split->of_image[note->image] == SEEN;
  }
}

static status_t prepare_scan_hold_out(prepare_t *prepare, int64_t good) {
  SCOPED(split_free) prepare_scan_split_t split = {0};
  TRY(split_alloc(prepare, good, &split));
  split_group(prepare, &split);
  if (split_draw(prepare, &split) == good)
    return error_set(STATUS_INPUT,
                     "%" PRId64 " samples were to be held out of %" PRId64 ", which show too few images: all "
                     "would be; hold out fewer, or let images be on both sides (held_out_by = 'sample')",
                     prepare->options->held_out, good);
  split_mark(prepare, &split);
  return STATUS_OK;
}

status_t prepare_scan(prepare_t *prepare) {
  TRY(samples_visit(prepare, "samples", true, scan_visit, prepare));
  int64_t good = prepare->note_count - prepare->counts.skipped;
  if (good == 0)
    return error_set(STATUS_DATA, "%s: none of its %" PRId64 " samples can be used", prepare->sources[0].path,
                     prepare->note_count);
  if (prepare->options->held_out == 0) return STATUS_OK;
  if (prepare->options->held_out >= good)
    return error_set(STATUS_INPUT, "%" PRId64 " samples were to be held out of %" PRId64 "; hold out fewer",
                     prepare->options->held_out, good);
  return prepare_scan_hold_out(prepare, good);
}
