/* A sample in the spool: a head, the lengths of its texts, and the texts. */
#include "data/prepare_parts.h"

#include "base/memory.h"

#include <string.h>

#include <xxhash.h>

typedef struct {
  int32_t turns, paired, preference, caption_type;
  float length_bonus;
  int32_t facts, imageless;
} record_head_t;

/* Twice a length, and one more where the model speaks. */
typedef uint64_t record_length_t;

enum { LINE = sizeof(int64_t) };

static char *put(char *at, const void *bytes, size_t n) {
  memcpy(at, bytes, n);
  return at + n;
}

/* Length and bytes of a text go to where LENGTHS and AT point. */
static void put_text(char **lengths, char **at, text_view_t text, turn_role_t role) {
  const record_length_t length = 2 * (uint64_t)text.n + (role == TURN_GPT);
  *lengths = put(*lengths, &length, sizeof length);
  if (text.n > 0) *at = put(*at, text.bytes, text.n);
  *at = put(*at, "", 1);
}

static size_t record_size(const sample_note_t *note) {
  const size_t texts = (size_t)(note->texts + note->facts);
  return LINE + sizeof(record_head_t) + texts * (sizeof(record_length_t) + 1) +
         (size_t)(note->bytes + note->fact_bytes);
}

static void measure(const dataset_sample_t *sample, sample_note_t *note) {
  note->texts = 1 + sample->conversation.count + (sample->paired ? 2 : 0);
  note->bytes = (int64_t)(sample->id.n + sample->outputs[0].n + sample->outputs[1].n);
  for (int32_t t = 0; t < sample->conversation.count; t++)
    note->bytes += (int64_t)sample->conversation.turns[t].text.n;
  note->facts = sample->fact_count;
  note->fact_bytes = 0;
  for (int32_t f = 0; f < sample->fact_count; f++)
    note->fact_bytes += (int64_t)sample->facts[f].n;
}

static void fill(char *at, int64_t line, const dataset_sample_t *sample, const sample_note_t *note) {
  const record_head_t head = {.turns = sample->conversation.count,
                              .paired = sample->paired,
                              .preference = sample->preference,
                              .caption_type = sample->caption_type,
                              .length_bonus = sample->length_bonus,
                              .facts = sample->fact_count,
                              .imageless = sample->conversation.imageless};
  at = put(at, &line, sizeof line);
  char *lengths = put(at, &head, sizeof head);
  at = lengths + (size_t)(note->texts + note->facts) * sizeof(record_length_t);
  put_text(&lengths, &at, sample->id, TURN_HUMAN);
  for (int32_t t = 0; t < head.turns; t++)
    put_text(&lengths, &at, sample->conversation.turns[t].text, sample->conversation.turns[t].role);
  for (int k = 0; k < 2 && sample->paired; k++)
    put_text(&lengths, &at, sample->outputs[k], TURN_HUMAN);
  for (int32_t f = 0; f < head.facts; f++)
    put_text(&lengths, &at, sample->facts[f], TURN_HUMAN);
}

status_t record_write(prepare_t *prepare, int64_t line, const dataset_sample_t *sample, sample_note_t *note) {
  SCOPED_MEMORY char *bytes = NULL;
  measure(sample, note);
  const size_t n = record_size(note);
  TRY(memory_alloc(&bytes, ARENA_IO, n, 1));
  fill(bytes, line, sample, note);
  note->key = XXH3_64bits_withSeed(bytes + LINE, n - LINE, prepare->options->seed);
  if (prepare->options->plan) return STATUS_OK;
  note->at = prepare->spool.size;
  return spool_append(&prepare->spool, bytes, n);
}

/* ---- Reading ---- */

static text_view_t take_text(const char **lengths, const char **at, turn_role_t *role) {
  record_length_t length;
  memcpy(&length, *lengths, sizeof length);
  *lengths += sizeof length;
  const text_view_t text = {*at, length / 2};
  *at += text.n + 1;
  if (role != NULL) *role = length % 2 == 1 ? TURN_GPT : TURN_HUMAN;
  return text;
}

static status_t room_make(record_t *record, const sample_note_t *note) {
  TRY(memory_reserve(&record->bytes, ARENA_IO, record_size(note), 1));
  TRY(memory_reserve(&record->turns, ARENA_IO, (size_t)note->texts, sizeof *record->turns));
  return memory_reserve(&record->facts, ARENA_IO, (size_t)note->facts, sizeof *record->facts);
}

static void unpack(record_t *record, const sample_note_t *note) {
  record_head_t head;
  dataset_sample_t *sample = &record->sample;
  memcpy(&record->line, record->bytes, LINE);
  memcpy(&head, record->bytes + LINE, sizeof head);
  const char *lengths = record->bytes + LINE + sizeof head;
  const char *at = lengths + (size_t)(note->texts + note->facts) * sizeof(record_length_t);
  *sample = (dataset_sample_t){.image = -1,
                               .paired = head.paired,
                               .preference = head.preference,
                               .caption_type = head.caption_type,
                               .length_bonus = head.length_bonus,
                               .fact_count = head.facts,
                               .facts = record->facts};
  sample->conversation =
      (conversation_t){.turns = record->turns, .count = head.turns, .imageless = head.imageless};
  sample->id = take_text(&lengths, &at, NULL);
  for (int32_t t = 0; t < head.turns; t++)
    record->turns[t].text = take_text(&lengths, &at, &record->turns[t].role);
  for (int k = 0; k < 2 && sample->paired; k++)
    sample->outputs[k] = take_text(&lengths, &at, NULL);
  for (int32_t f = 0; f < head.facts; f++)
    record->facts[f] = take_text(&lengths, &at, NULL);
}

status_t record_read(prepare_t *prepare, const sample_note_t *note, record_t *record) {
  TRY(room_make(record, note));
  TRY(spool_read(&prepare->spool, note->at, record->bytes, record_size(note)));
  unpack(record, note);
  return STATUS_OK;
}

void record_free(record_t *record) {
  memory_free(record->bytes);
  memory_free(record->turns);
  memory_free(record->facts);
  *record = (record_t){0};
}
