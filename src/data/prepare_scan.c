#include "data/prepare_parts.h"

#include "base/log.h"
#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

enum { WARNINGS_SHOWN = 10 };

status_t source_next(const prepare_t *prepare, const char *path, json_reader_t *reader,
                     json_element_t *element) {
  const int64_t size = json_reader_size(reader);
  TRY(stop_vote_continue(prepare->options->vote));
  TRY(json_reader_next(reader, element));
  const int64_t done = element->value != NULL ? json_reader_position(reader) : size;
  if (element->value == NULL || done < size)
    log_progress("texts", (done + 1023) / 1024, (size + 1023) / 1024, "KiB", path);
  if (element->value == NULL) json_reader_warn(reader);
  return STATUS_OK;
}

/* ---- Samples ---- */

static status_t note_add(prepare_t *prepare, const prepare_source_t *source, sample_note_t **note) {
  TRY(memory_reserve(&prepare->notes, ARENA_DATA, (size_t)prepare->note_count + 1, sizeof *prepare->notes));
  *note = &prepare->notes[prepare->note_count++];
  **note = (sample_note_t){.image = -1, .source = (uint8_t)(source - prepare->sources)};
  return STATUS_OK;
}

status_t sample_take(prepare_t *prepare, prepare_source_t *source, int64_t line,
                     const dataset_sample_t *sample, const char *image) {
  sample_note_t *note;
  TRY(note_add(prepare, source, &note));
  note->held_out = sample->held_out;
  note->choice = sample->caption_type >= 2 && sample->caption_type <= 5;
  TRY(record_write(prepare, line, sample, note));
  if (image == NULL) return STATUS_OK;
  SCOPED_MEMORY char *name = NULL;
  TRY(memory_copy_text(&name, ARENA_DATA, image, strlen(image)));
  image_file_tidy(name);
  return names_add(&prepare->names, name, sample->id.bytes, &note->image);
}

/* ---- Bad samples ---- */

static status_t prepare_scan_report_line(const prepare_t *prepare, const char *path, int64_t line,
                                         const char *id, const char *reason) {
  json_writer_t *writer = NULL;
  TRY(json_writer_create(prepare->report, &writer));
  json_write_object_begin(writer);
  json_write_member(writer, "file", path);
  json_write_int_member(writer, "line", line);
  json_write_member(writer, "sample", id);
  json_write_member(writer, "reason", reason);
  json_write_object_end(writer);
  json_write_line(writer);
  return error_context(json_writer_finish(writer, NULL, NULL), "while writing %s", prepare->options->report);
}

status_t sample_refuse(prepare_t *prepare, prepare_source_t *source, const char *path, int64_t line,
                       const char *id, const char *reason) {
  if (!prepare->options->skip_bad)
    return error_set(STATUS_DATA,
                     "%s: line %" PRId64 ": %s; mend it, or leave bad samples out with bad_sample = 'skip'",
                     path, line, reason);
  source->fates[FATE_BAD]++;
  prepare->counts.skipped++;
  if (prepare->counts.skipped <= WARNINGS_SHOWN)
    log_warning("left out: %s: line %" PRId64 ": %s", path, line, reason);
  if (prepare->counts.skipped == WARNINGS_SHOWN + 1)
    log_warning("more samples are left out%s%s", prepare->report == NULL ? "" : "; all are listed in ",
                prepare->report == NULL ? "" : prepare->options->report);
  return prepare->report == NULL ? STATUS_OK : prepare_scan_report_line(prepare, path, line, id, reason);
}

status_t sample_take_bad(prepare_t *prepare, prepare_source_t *source, const char *path, int64_t line,
                         const char *id) {
  char reason[1024];
  sample_note_t *note;
  snprintf(reason, sizeof reason, "%s", error_message());
  error_clear();
  TRY(note_add(prepare, source, &note));
  note->fate = FATE_BAD;
  return sample_refuse(prepare, source, path, line, id, reason);
}

/* ---- Reading all ---- */

static status_t sources_read(prepare_t *prepare) {
  for (int s = 0; s < prepare->source_count; s++) {
    prepare_source_t *source = &prepare->sources[s];
    source->begin = prepare->note_count;
    TRY(source->read(prepare, source));
    source->end = prepare->note_count;
  }
  return STATUS_OK;
}

static int64_t kept_count(const prepare_t *prepare) {
  int64_t kept = 0;
  for (int64_t i = 0; i < prepare->note_count; i++)
    kept += prepare->notes[i].fate == FATE_KEPT;
  return kept;
}

static status_t none_left(const prepare_t *prepare) {
  if (prepare->counts.skipped == prepare->note_count)
    return error_set(STATUS_DATA, "%s: none of its %" PRId64 " samples can be used", prepare->sources[0].path,
                     prepare->note_count);
  return error_set(STATUS_DATA,
                   "%s: no sample is left: of %" PRId64 ", %" PRId64
                   " cannot be used, and the others show images "
                   "of datasets to keep apart from, or are not among those with high rewards",
                   prepare->sources[0].path, prepare->note_count, prepare->counts.skipped);
}

status_t prepare_scan(prepare_t *prepare) {
  const prepare_options_t *options = prepare->options;
  TRY(spool_open(options->plan ? NULL : options->output, &prepare->spool));
  TRY(sources_read(prepare));
  TRY(samples_choose(prepare));
  const int64_t good = kept_count(prepare);
  if (good == 0) return none_left(prepare);
  TRY(samples_hold_out(prepare, good));
  const bool facts = text_given(options->facts) || text_given(options->caption_facts);
  return facts ? facts_create(prepare, &prepare->facts) : STATUS_OK;
}
