#include "data/sample.h"

#include "base/memory.h"
#include "text/script.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { TYPE_GENERAL = 1, TYPE_LAST = 7 };

static text_view_t view_of(const json_t *string) {
  return (text_view_t){string->u.string, (size_t)string->count};
}

/* `id`, or `question_id` of the benchmarks. */
static status_t read_id(sample_reader_t *reader, const json_t *element, int64_t index) {
  snprintf(reader->where, sizeof reader->where, "sample %" PRId64, index);
  const json_t *id = json_get(element, "id");
  if (id == NULL) id = json_get(element, "question_id");
  if (id == NULL || (id->type != JSON_STRING && id->type != JSON_INT))
    return error_set(STATUS_DATA, "%s: field 'id': found %s, expected a string or an integer", reader->where,
                     id == NULL ? element->type == JSON_OBJECT ? "nothing" : json_type_name(element->type)
                                : json_type_name(id->type));
  reader->sample.id = id->type == JSON_STRING ? view_of(id) : text_view(reader->number);
  if (id->type == JSON_INT) {
    snprintf(reader->number, sizeof reader->number, "%" PRId64, id->u.integer);
    reader->sample.id = text_view(reader->number);
  }
  snprintf(reader->where, sizeof reader->where, "sample '%.80s'", reader->sample.id.bytes);
  return STATUS_OK;
}

static status_t reserve_turns(sample_reader_t *reader, int64_t count) {
  if (count > INT32_MAX / 2)
    return error_set(STATUS_DATA, "%s: %" PRId64 " turns are too many", reader->where, count);
  if (count <= reader->capacity) return STATUS_OK;
  TRY(memory_resize(&reader->turns, ARENA_DATA, (size_t)count, sizeof *reader->turns));
  reader->capacity = (int32_t)count;
  return STATUS_OK;
}

static status_t read_turn(sample_reader_t *reader, const json_t *element, int32_t number, turn_t *turn) {
  char where[160];
  snprintf(where, sizeof where, "%s: turn %d", reader->where, number + 1);
  const char *from = NULL, *value = NULL;
  TRY(json_string(element, "from", where, &from));
  TRY(json_string(element, "value", where, &value));
  status_code_t status = turn_role_from_name(text_view(from), &turn->role);
  if (status != STATUS_OK) return error_set(status, "%s: %s", where, error_message());
  turn->text = view_of(json_get(element, "value"));
  return STATUS_OK;
}

static status_t read_turns(sample_reader_t *reader, const json_t *element) {
  const json_t *turns = NULL;
  TRY(json_array(element, "conversations", reader->where, &turns));
  TRY(reserve_turns(reader, turns->count));
  int32_t n = 0;
  for (const json_t *at = turns->u.first; at != NULL; at = at->next, n++)
    TRY(read_turn(reader, at, n, &reader->turns[n]));
  reader->sample.conversation = (conversation_t){reader->turns, n};
  status_code_t status = conversation_check(&reader->sample.conversation);
  if (status == STATUS_OK) return STATUS_OK;
  return error_set(status, "%s: %s", reader->where, error_message());
}

/* A question alone is one human turn; where there is an image, its mark is understood. */
static status_t read_question(sample_reader_t *reader, const json_t *element) {
  const char *text = NULL;
  TRY(json_string(element, "text", reader->where, &text));
  TRY(reserve_turns(reader, 1));
  reader->question.n = 0;
  bool marked = strstr(text, IMAGE_MARK) != NULL || json_get(element, "image") == NULL;
  if (!marked) TRY(text_buffer_append_string(&reader->question, IMAGE_MARK "\n"));
  TRY(text_buffer_append_string(&reader->question, text));
  reader->turns[0] = (turn_t){TURN_HUMAN, text_buffer_view(&reader->question)};
  reader->sample.conversation = (conversation_t){reader->turns, 1};
  return STATUS_OK;
}

static status_t read_image(sample_reader_t *reader, const json_t *element) {
  reader->image = NULL;
  if (json_get(element, "image") != NULL) TRY(json_string(element, "image", reader->where, &reader->image));
  int32_t places = conversation_images(&reader->sample.conversation);
  if (reader->image == NULL && places > 0)
    return error_set(STATUS_DATA, "%s: a human turn has %s but the sample has no 'image'", reader->where,
                     IMAGE_MARK);
  if (reader->image != NULL && places == 0)
    return error_set(STATUS_DATA, "%s: has the image '%s' but no human turn has %s", reader->where,
                     reader->image, IMAGE_MARK);
  return STATUS_OK;
}

/* {"from": ..., "value": text}, or the text itself. */
static status_t read_output(sample_reader_t *reader, const json_t *element, const char *key,
                            text_view_t *out) {
  char where[160];
  const json_t *output = json_get(element, key);
  if (output != NULL && output->type == JSON_STRING) {
    *out = view_of(output);
    return STATUS_OK;
  }
  const char *value = NULL;
  TRY(json_object(element, key, reader->where, &output));
  snprintf(where, sizeof where, "%s: %s", reader->where, key);
  TRY(json_string(output, "value", where, &value));
  *out = view_of(json_get(output, "value"));
  return STATUS_OK;
}

static status_t read_pair(sample_reader_t *reader, const json_t *element, sample_kind_t kind) {
  dataset_sample_t *sample = &reader->sample;
  bool any = json_get(element, "output_1") != NULL || json_get(element, "output_2") != NULL;
  if (!any && kind == SAMPLE_CONVERSATION) return STATUS_OK;
  TRY(read_output(reader, element, "output_1", &sample->outputs[0]));
  TRY(read_output(reader, element, "output_2", &sample->outputs[1]));
  sample->paired = true;
  if (json_get(element, "preference") == NULL && kind == SAMPLE_CONVERSATION) return STATUS_OK;
  int64_t preference = 0;
  TRY(json_int(element, "preference", reader->where, &preference));
  bool valid = preference == 1 || preference == 2 || (preference == 0 && kind == SAMPLE_CONVERSATION);
  if (!valid)
    return error_set(STATUS_DATA, "%s: field 'preference': found %" PRId64 ", expected 1 or 2", reader->where,
                     preference);
  sample->preference = (int32_t)preference;
  return STATUS_OK;
}

static status_t read_numbers(sample_reader_t *reader, const json_t *element) {
  int64_t type = TYPE_GENERAL;
  double bonus = 1;
  if (json_get(element, "caption_type") != NULL) TRY(json_int(element, "caption_type", reader->where, &type));
  if (type < TYPE_GENERAL || type > TYPE_LAST)
    return error_set(STATUS_DATA, "%s: field 'caption_type': found %" PRId64 ", expected 1 to %d",
                     reader->where, type, (int)TYPE_LAST);
  if (json_get(element, "length_bonus") != NULL)
    TRY(json_real(element, "length_bonus", reader->where, &bonus));
  if (!isfinite((float)bonus))
    return error_set(STATUS_DATA, "%s: field 'length_bonus': found %g, expected a finite number",
                     reader->where, bonus);
  reader->sample.caption_type = (int32_t)type;
  reader->sample.length_bonus = (float)bonus;
  return STATUS_OK;
}

static void measure(sample_reader_t *reader) {
  const dataset_sample_t *sample = &reader->sample;
  reader->texts = 1 + sample->conversation.count + (sample->paired ? 2 : 0);
  reader->bytes = (int64_t)(sample->id.n + sample->outputs[0].n + sample->outputs[1].n);
  for (int32_t t = 0; t < sample->conversation.count; t++)
    reader->bytes += (int64_t)sample->conversation.turns[t].text.n;
}

status_t sample_read(sample_reader_t *reader, const json_t *element, int64_t index, sample_kind_t kind) {
  reader->sample = (dataset_sample_t){.image = -1};
  TRY(read_id(reader, element, index));
  bool question = json_get(element, "conversations") == NULL && json_get(element, "text") != NULL;
  if (question)
    TRY(read_question(reader, element));
  else
    TRY(read_turns(reader, element));
  TRY(read_image(reader, element));
  TRY(read_pair(reader, element, kind));
  TRY(read_numbers(reader, element));
  measure(reader);
  return STATUS_OK;
}

void sample_reader_free(sample_reader_t *reader) {
  memory_free(reader->turns);
  text_buffer_free(&reader->question);
  *reader = (sample_reader_t){0};
}
