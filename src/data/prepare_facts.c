#include "data/gathering.h"
#include "data/prepare_parts.h"

#include "base/memory.h"
#include "io/file.h"

#include <inttypes.h>
#include <string.h>

static const char CHOICE_PREFIX[] = "aok_";

/* A list of facts has a place: twice the number of its image, and one more where it is of multiple choice. */
struct facts {
  prepare_t *prepare;
  const char *path;
  int64_t places;
  bool *needed;      /* (places): some sample asks for it */
  int64_t *entry;    /* (places): number of the entry that counts, -1 none */
  int64_t *begin;    /* (places): of its rows, in texts */
  int32_t *count;    /* (places): of its rows */
  int64_t *first;    /* (places): row of its first fact in the output */
  gathering_t texts; /* group: place */
  bool captions;     /* entry 0 is COCO's captions */
  int64_t entries;   /* over all files */
  int64_t repeated;  /* entries that a later one has replaced */
};

static int64_t place_of(int64_t image, bool choice) {
  return 2 * image + choice;
}

/* Does this sample look its facts up? */
static bool asks(const sample_note_t *note) {
  return note->fate == FATE_KEPT && note->image >= 0 && note->facts == 0;
}

static void mark_needed(facts_t *facts) {
  const prepare_t *prepare = facts->prepare;
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    if (asks(note)) facts->needed[place_of(note->image, note->choice)] = true;
  }
}

/* Adds a text to the entry ENTRY of PLACE. In a plan it is counted only. */
static status_t fact_add(facts_t *facts, int64_t place, int64_t entry, text_view_t text) {
  prepare_t *prepare = facts->prepare;
  const gathered_t row = {.group = place,
                          .order = (uint64_t)facts->texts.count,
                          .n = (int32_t)text.n,
                          .value = (int32_t)(facts->entry[place] = entry)};
  return gathering_add(&facts->texts, prepare->options->plan ? NULL : &prepare->spool, row, text.bytes);
}

/* Number of the image NAME, which is put in order; -1 if no sample shows it. */
static int64_t image_of(const facts_t *facts, char *name) {
  image_file_tidy(name);
  return names_find(&facts->prepare->names, name);
}

/* ---- Facts by image name ---- */

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

/* Of entries under one key the last counts. The key is the image's name in the files of samples. */
static status_t prepare_facts_take_entry(facts_t *facts, const char *key, bool choice,
                                         const json_element_t *entry) {
  const json_t *value = entry->value;
  char name[FILE_MAX_PATH];
  snprintf(name, sizeof name, "%s%s", text_or_none(facts->prepare->options->image_prefix), key);
  const int64_t image = image_of(facts, name);
  const int64_t place = image < 0 ? -1 : place_of(image, choice);
  if (place < 0 || !facts->needed[place]) return STATUS_OK;
  const int64_t number = facts->entries + entry->index;
  facts->repeated += facts->entry[place] >= facts->entries;
  facts->entry[place] = number;
  if (value->type == JSON_STRING)
    return fact_add(facts, place, number, (text_view_t){value->u.string, (size_t)value->count});
  for (const json_t *fact = value->u.first; fact != NULL; fact = fact->next)
    TRY(fact_add(facts, place, number, (text_view_t){fact->u.string, (size_t)fact->count}));
  return STATUS_OK;
}

static status_t prepare_facts_take_both(facts_t *facts, const json_element_t *entry) {
  const size_t prefix = sizeof CHOICE_PREFIX - 1;
  TRY(prepare_facts_check_entry(facts, entry));
  TRY(prepare_facts_take_entry(facts, entry->key, false, entry));
  if (strncmp(entry->key, CHOICE_PREFIX, prefix) != 0) return STATUS_OK;
  return prepare_facts_take_entry(facts, entry->key + prefix, true, entry);
}

static status_t named_facts_read(facts_t *facts, const char *path) {
  SCOPED(json_reader_close_at) json_reader_t *reader = NULL;
  json_element_t entry;
  facts->path = path;
  TRY(json_reader_open(path, JSON_MEMBERS, &reader));
  for (;;) {
    TRY(source_next(facts->prepare, path, reader, &entry));
    if (entry.value == NULL) break;
    TRY(prepare_facts_take_both(facts, &entry));
  }
  facts->entries += entry.index;
  json_warn_repeated(path, facts->repeated);
  return STATUS_OK;
}

/* ---- COCO's captions ---- */

/* All captions of an image in the file are one entry. */
static status_t caption_take(facts_t *facts, const json_element_t *element) {
  char where[512], name[1024];
  const char *caption;
  int64_t number;
  snprintf(where, sizeof where, "%.400s: line %" PRId64, facts->path, element->line);
  TRY(json_int(element->value, "image_id", where, &number));
  TRY(json_string(element->value, "caption", where, &caption));
  snprintf(name, sizeof name, "%s%012" PRId64 ".jpg", text_or_none(facts->prepare->options->coco_prefix),
           number);
  const int64_t image = image_of(facts, name);
  if (image < 0 || !facts->needed[place_of(image, false)]) return STATUS_OK;
  const text_view_t text =
      text_strip((text_view_t){caption, (size_t)json_get(element->value, "caption")->count});
  return fact_add(facts, place_of(image, false), facts->entries, text);
}

static status_t caption_facts_read(facts_t *facts, const char *path) {
  SCOPED(json_reader_close_at) json_reader_t *reader = NULL;
  json_element_t element;
  facts->path = path;
  TRY(json_reader_open_list(path, "annotations", NULL, &reader));
  for (;;) {
    TRY(source_next(facts->prepare, path, reader, &element));
    if (element.value == NULL) break;
    TRY(caption_take(facts, &element));
  }
  facts->captions = true;
  facts->entries++;
  return STATUS_OK;
}

/* ---- Both ---- */

/* Which rows of each place count: those of its last entry, of COCO's captions the first of them. */
static void facts_arrange(facts_t *facts) {
  const int64_t most = facts->prepare->options->facts_per_image;
  gathering_sort(&facts->texts);
  for (int64_t row = 0, end; row < facts->texts.count; row = end) {
    const int64_t place = facts->texts.rows[row].group;
    end = gathering_end(&facts->texts, row);
    while (row < end && facts->texts.rows[row].value != (int32_t)facts->entry[place])
      row++;
    const bool captions = facts->captions && facts->entry[place] == 0;
    facts->begin[place] = row;
    facts->count[place] = (int32_t)(captions && most > 0 && end - row > most ? most : end - row);
  }
}

SCOPED_POINTER(facts_free, facts_t)

static status_t facts_alloc(prepare_t *prepare, facts_t *facts) {
  const size_t places = 2 * (size_t)prepare->names.count;
  facts->prepare = prepare;
  facts->places = (int64_t)places;
  TRY(memory_alloc(&facts->needed, ARENA_DATA, places, sizeof *facts->needed));
  TRY(memory_alloc(&facts->entry, ARENA_DATA, places, sizeof *facts->entry));
  TRY(memory_alloc(&facts->begin, ARENA_DATA, places, sizeof *facts->begin));
  TRY(memory_alloc(&facts->count, ARENA_DATA, places, sizeof *facts->count));
  TRY(memory_alloc(&facts->first, ARENA_DATA, places, sizeof *facts->first));
  for (size_t p = 0; p < places; p++)
    facts->entry[p] = -1;
  return STATUS_OK;
}

status_t facts_create(prepare_t *prepare, facts_t **out) {
  SCOPED(facts_free_at) facts_t *facts = NULL;
  const prepare_options_t *options = prepare->options;
  *out = NULL;
  TRY(memory_alloc(&facts, ARENA_DATA, 1, sizeof *facts));
  TRY(facts_alloc(prepare, facts));
  mark_needed(facts);
  if (text_given(options->caption_facts)) TRY(caption_facts_read(facts, options->caption_facts));
  if (text_given(options->facts)) TRY(named_facts_read(facts, options->facts));
  facts_arrange(facts);
  memory_hand_over(out, &facts);
  return STATUS_OK;
}

/* Marks what the samples of OUTPUT ask for. */
static void mark_of_output(facts_t *facts, const output_t *output) {
  memset(facts->needed, 0, (size_t)facts->places);
  for (int64_t i = 0; i < facts->prepare->note_count; i++) {
    const sample_note_t *note = &facts->prepare->notes[i];
    if (asks(note) && output_wants(output, note)) facts->needed[place_of(note->image, note->choice)] = true;
  }
}

void facts_plan(facts_t *facts, const output_t *output, dataset_counts_t *counts) {
  mark_of_output(facts, output);
  for (int64_t p = 0; p < facts->places; p++) {
    if (!facts->needed[p]) continue;
    counts->facts += facts->count[p];
    for (int64_t k = 0; k < facts->count[p]; k++)
      counts->fact_bytes += facts->texts.rows[facts->begin[p] + k].n;
  }
}

static status_t facts_write_place(facts_t *facts, output_t *output, int64_t place, char **text) {
  facts->first[place] = output->facts;
  for (int64_t k = 0; k < facts->count[place]; k++) {
    const gathered_t *row = &facts->texts.rows[facts->begin[place] + k];
    TRY(memory_reserve(text, ARENA_DATA, (size_t)row->n, 1));
    TRY(spool_read(&facts->prepare->spool, row->at, *text, (size_t)row->n));
    TRY(dataset_writer_fact(output->writer, (text_view_t){*text, (size_t)row->n}));
    output->facts++;
  }
  return STATUS_OK;
}

status_t facts_write(facts_t *facts, output_t *output) {
  SCOPED_MEMORY char *text = NULL;
  for (int64_t p = 0; p < facts->places; p++) {
    if (!facts->needed[p]) continue;
    TRY(stop_vote_continue(facts->prepare->options->vote));
    TRY(facts_write_place(facts, output, p, &text));
  }
  return STATUS_OK;
}

bool facts_find(const facts_t *facts, int64_t image, bool choice, int64_t *first, int32_t *count) {
  const int64_t place = place_of(image, choice);
  if (facts->entry[place] < 0) return false;
  *first = facts->first[place];
  *count = facts->count[place];
  return true;
}

void facts_free(facts_t *facts) {
  if (facts == NULL) return;
  memory_free(facts->needed);
  memory_free(facts->entry);
  memory_free(facts->begin);
  memory_free(facts->count);
  memory_free(facts->first);
  gathering_free(&facts->texts);
  memory_free(facts);
}
