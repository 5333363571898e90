#include "data/prepare_parts.h"

#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

static const char CHOICE_PREFIX[] = "aok_";

struct facts {
  const output_t *output;
  const char *path;
  int64_t images;
  int64_t *entry; /* (2 * images): number of the file's entry under the plain name, then of that under "aok_";
                     -1 none */
  int64_t *first; /* (2 * images): row of its first fact, once it is written */
  int64_t *count; /* (2 * images): of its facts */
  int64_t *size;  /* (2 * images): bytes of its facts */
  bool *needed;   /* (2 * images): some sample asks for it */
  int64_t rows, bytes;
  int64_t repeated;         /* entries that a later one has replaced */
  dataset_writer_t *writer; /* NULL while counting */
  int64_t written;
};

/* Marks what the samples will ask for. */
static void mark_needed(facts_t *facts) {
  const prepare_t *prepare = facts->output->prepare;
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    if (note->bad || note->image < 0 || !output_wants(facts->output, note)) continue;
    int64_t place = facts->output->place[note->image];
    facts->needed[(note->choice ? facts->images : 0) + place] = true;
  }
}

/* One text, or a list of texts. */
static status_t prepare_facts_check_entry(const facts_t *facts, const json_element_t *entry) {
  json_type_t type = entry->value->type;
  if (type == JSON_STRING) return STATUS_OK;
  if (type != JSON_ARRAY)
    return error_set(STATUS_DATA, "%s: line %" PRId64 ": '%.80s': found %s, expected an array of strings",
                     facts->path, entry->line, entry->key, json_type_name(type));
  for (const json_t *fact = entry->value->u.first; fact != NULL; fact = fact->next)
    if (fact->type != JSON_STRING)
      return error_set(STATUS_DATA,
                       "%s: line %" PRId64 ": '%.80s': found %s among the facts, expected strings",
                       facts->path, entry->line, entry->key, json_type_name(fact->type));
  return STATUS_OK;
}

static const json_t *first_fact(const json_t *value) {
  return value->type == JSON_STRING ? value : value->u.first;
}

static const json_t *next_fact(const json_t *value, const json_t *fact) {
  return value->type == JSON_STRING ? NULL : fact->next;
}

/* Of entries under one key the last counts: it replaces an earlier one. */
static void prepare_facts_count_entry(facts_t *facts, int64_t place, const json_element_t *entry) {
  if (!facts->needed[place]) return;
  facts->repeated += facts->entry[place] >= 0;
  facts->rows -= facts->count[place];
  facts->bytes -= facts->size[place];
  facts->entry[place] = entry->index;
  facts->count[place] = facts->size[place] = 0;
  for (const json_t *fact = first_fact(entry->value); fact != NULL; fact = next_fact(entry->value, fact)) {
    facts->count[place]++;
    facts->size[place] += fact->count;
  }
  facts->rows += facts->count[place];
  facts->bytes += facts->size[place];
}

static status_t prepare_facts_write_entry(facts_t *facts, int64_t place, const json_element_t *entry) {
  const json_t *value = entry->value;
  if (!facts->needed[place] || facts->entry[place] != entry->index) return STATUS_OK;
  facts->first[place] = facts->written;
  int64_t left = facts->count[place];
  const json_t *fact = first_fact(value);
  for (; fact != NULL && left > 0; fact = next_fact(value, fact), left--)
    TRY(dataset_writer_fact(facts->writer, (text_view_t){fact->u.string, (size_t)fact->count}));
  facts->written += facts->count[place];
  if (left == 0 && fact == NULL) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: changed while it was read", facts->path);
}

static status_t prepare_facts_take_entry(facts_t *facts, const char *name, bool choice,
                                         const json_element_t *entry) {
  int64_t number = names_find(&facts->output->prepare->names, name);
  int64_t place = number < 0 ? -1 : facts->output->place[number];
  if (place < 0) return STATUS_OK;
  place += choice ? facts->images : 0;
  if (facts->writer != NULL) return prepare_facts_write_entry(facts, place, entry);
  prepare_facts_count_entry(facts, place, entry);
  return STATUS_OK;
}

static status_t prepare_facts_visit_entries(facts_t *facts, json_reader_t *reader) {
  json_element_t entry;
  const size_t prefix = sizeof CHOICE_PREFIX - 1;
  for (;;) {
    TRY(stop_vote_continue(facts->output->prepare->options->vote));
    TRY(json_reader_next(reader, &entry));
    if (entry.value == NULL) return STATUS_OK;
    TRY(prepare_facts_check_entry(facts, &entry));
    TRY(prepare_facts_take_entry(facts, entry.key, false, &entry));
    if (strncmp(entry.key, CHOICE_PREFIX, prefix) == 0)
      TRY(prepare_facts_take_entry(facts, entry.key + prefix, true, &entry));
  }
}

static status_t prepare_facts_read(facts_t *facts) {
  SCOPED(json_reader_close_at) json_reader_t *reader = NULL;
  TRY(json_reader_open(facts->path, JSON_MEMBERS, &reader));
  TRY(prepare_facts_visit_entries(facts, reader));
  if (facts->writer == NULL) json_reader_warn(reader);
  return STATUS_OK;
}

SCOPED_POINTER(facts_free, facts_t)

status_t facts_create(output_t *output, const char *path, facts_t **out) {
  SCOPED(facts_free_at) facts_t *facts = NULL;
  size_t places = 2 * (size_t)output->image_count;
  *out = NULL;
  TRY(memory_alloc(&facts, ARENA_DATA, 1, sizeof *facts));
  facts->output = output;
  facts->path = path;
  facts->images = output->image_count;
  TRY(memory_alloc(&facts->entry, ARENA_DATA, places, sizeof *facts->entry));
  TRY(memory_alloc(&facts->first, ARENA_DATA, places, sizeof *facts->first));
  TRY(memory_alloc(&facts->count, ARENA_DATA, places, sizeof *facts->count));
  TRY(memory_alloc(&facts->size, ARENA_DATA, places, sizeof *facts->size));
  TRY(memory_alloc(&facts->needed, ARENA_DATA, places, sizeof *facts->needed));
  for (size_t i = 0; i < places; i++)
    facts->entry[i] = -1;
  mark_needed(facts);
  TRY(prepare_facts_read(facts));
  json_warn_repeated(path, facts->repeated);
  memory_hand_over(out, &facts);
  return STATUS_OK;
}

void facts_measure(const facts_t *facts, dataset_counts_t *counts) {
  counts->facts = facts->rows;
  counts->fact_bytes = facts->bytes;
}

status_t facts_write(facts_t *facts, dataset_writer_t *writer) {
  facts->writer = writer;
  facts->written = 0;
  TRY(prepare_facts_read(facts));
  if (facts->written == facts->rows) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: changed while it was read", facts->path);
}

bool facts_find(const facts_t *facts, int64_t image, bool choice, int64_t *first, int32_t *count) {
  int64_t place = (choice ? facts->images : 0) + image;
  if (facts->entry[place] < 0) return false;
  *first = facts->first[place];
  *count = (int32_t)facts->count[place];
  return true;
}

void facts_free(facts_t *facts) {
  if (facts == NULL) return;
  memory_free(facts->entry);
  memory_free(facts->first);
  memory_free(facts->count);
  memory_free(facts->size);
  memory_free(facts->needed);
  memory_free(facts);
}
