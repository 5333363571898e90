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

/* The member of ELEMENT that is a list of objects, though not one of turns, if there is one only; else NULL:
 * such an object is a file's envelope rather than a sample. */
static const json_t *list_within(const json_t *element) {
  const json_t *list = NULL;
  if (element->type != JSON_OBJECT || json_get(element, "conversations") != NULL) return NULL;
  for (const json_t *member = element->u.first; member != NULL; member = member->next) {
    if (member->type != JSON_ARRAY || member->count == 0 || member->u.first->type != JSON_OBJECT) continue;
    if (list != NULL) return NULL;
    list = member;
  }
  return list;
}

static status_t id_refuse(const sample_reader_t *reader, const json_t *element, const json_t *id) {
  const json_t *list = id == NULL ? list_within(element) : NULL;
  if (list != NULL)
    return error_set(
        STATUS_DATA,
        "%s: found an object with the member '%.80s', an array of %" PRId64
        " objects; expected an array of samples [...], or one sample a line: write that array alone "
        "to a file",
        reader->where, list->key, list->count);
  return error_set(STATUS_DATA, "%s: field 'id': found %s, expected a string or an integer", reader->where,
                   id == NULL ? element->type == JSON_OBJECT ? "nothing" : json_type_name(element->type)
                              : json_type_name(id->type));
}

/* `id`, or `question_id` of the benchmarks; where it MAY_LACK, the element's number stands for it. */
static status_t sample_read_id(sample_reader_t *reader, const json_t *element, int64_t index, bool may_lack) {
  snprintf(reader->where, sizeof reader->where, "sample %" PRId64, index);
  const json_t *id = json_get(element, "id");
  if (id == NULL) id = json_get(element, "question_id");
  if (id == NULL && may_lack) {
    snprintf(reader->number, sizeof reader->number, "%" PRId64, index);
    reader->sample.id = text_view(reader->number);
    return STATUS_OK;
  }
  if (id == NULL || (id->type != JSON_STRING && id->type != JSON_INT)) return id_refuse(reader, element, id);
  reader->sample.id = id->type == JSON_STRING ? view_of(id) : text_view(reader->number);
  if (id->type == JSON_INT) {
    snprintf(reader->number, sizeof reader->number, "%" PRId64, id->u.integer);
    reader->sample.id = text_view(reader->number);
  }
  snprintf(reader->where, sizeof reader->where, "sample '%.80s'", reader->sample.id.bytes);
  return STATUS_OK;
}

static status_t conversation_take(sample_reader_t *reader) {
  reader->sample.conversation =
      (conversation_t){.turns = reader->messages.turns, .count = reader->messages.count};
  status_code_t status = conversation_check(&reader->sample.conversation);
  if (status == STATUS_OK) return STATUS_OK;
  return error_set(status, "%s: %s", reader->where, error_message());
}

/* `conversations`, or `messages` of chat files. */
static status_t sample_read_turns(sample_reader_t *reader, const json_t *element) {
  const json_t *turns = NULL;
  const char *key = json_get(element, "messages") != NULL ? "messages" : "conversations";
  TRY(json_array(element, key, reader->where, &turns));
  TRY(messages_read(&reader->messages, turns, reader->where));
  return conversation_take(reader);
}

/* A question alone is one human turn. */
static status_t sample_read_question(sample_reader_t *reader, const json_t *element) {
  const char *text = NULL;
  TRY(json_string(element, "text", reader->where, &text));
  TRY(messages_ask(&reader->messages, view_of(json_get(element, "text"))));
  return conversation_take(reader);
}

/* The one image of a list, by its path. */
static status_t sample_read_image_list(sample_reader_t *reader, const json_t *list) {
  const json_t *image = list->type == JSON_ARRAY ? list->u.first : list;
  if (list->type == JSON_ARRAY && list->count != 1)
    return error_set(STATUS_DATA, "%s: field 'images': found %" PRId64 " images, expected one", reader->where,
                     list->count);
  if (image->type == JSON_STRING) {
    reader->image = image->u.string;
    return STATUS_OK;
  }
  if (json_get(image, "path") == NULL)
    return error_set(STATUS_DATA,
                     "%s: field 'images': found %s without a path; save the image as a file below "
                     "prepare.image_folder and give its name",
                     reader->where, json_type_name(image->type));
  return json_string(image, "path", reader->where, &reader->image);
}

/* UNDERSTOOD: where there is an image, its mark may be missing; it belongs to the first question. */
static status_t sample_read_image(sample_reader_t *reader, const json_t *element, bool understood) {
  reader->image = NULL;
  const json_t *list = json_get(element, "images");
  if (json_get(element, "image") != NULL)
    TRY(json_string(element, "image", reader->where, &reader->image));
  else if (list != NULL && !(list->type == JSON_ARRAY && list->count == 0))
    TRY(sample_read_image_list(reader, list));
  conversation_t *conversation = &reader->sample.conversation;
  if (reader->image == NULL && conversation_asks_for_image(conversation))
    return error_set(
        STATUS_DATA,
        "%s: its first human turn has %s at an end, as if for an image, but the sample has no 'image'",
        reader->where, IMAGE_MARK);
  conversation->imageless = reader->image == NULL;
  if (conversation->imageless || conversation_images(conversation) > 0) return STATUS_OK;
  if (!understood)
    return error_set(STATUS_DATA, "%s: has the image '%s' but its first human turn has no %s", reader->where,
                     reader->image, IMAGE_MARK);
  messages_mark_image(&reader->messages);
  return STATUS_OK;
}

/* ---- Pairs ---- */

/* The answer of `chosen` or `rejected`: a text, or messages of which the last is the answer. BEFORE: how many
 * others there may be. */
static status_t sample_read_choice(sample_reader_t *reader, const json_t *element, const char *key,
                                   int64_t before, text_view_t *out) {
  char where[160];
  const json_t *choice = json_get(element, key), *last = NULL;
  bool answer;
  snprintf(where, sizeof where, "%s: %s", reader->where, key);
  if (choice != NULL && choice->type == JSON_STRING && before == 0) {
    *out = view_of(choice);
    return STATUS_OK;
  }
  TRY(json_array(element, key, reader->where, &choice));
  for (const json_t *message = choice->u.first; message != NULL; message = message->next)
    last = message;
  if (last == NULL || choice->count != before + 1)
    return error_set(STATUS_DATA, "%s: found %" PRId64 " messages, expected %" PRId64, where, choice->count,
                     before + 1);
  TRY(messages_is_answer(last, where, &answer));
  if (!answer) return error_set(STATUS_DATA, "%s: the last message is not the model's", where);
  return messages_text(&reader->messages, json_get(last, json_get(last, "content") ? "content" : "value"),
                       where, out);
}

static bool json_equal(const json_t *a, const json_t *b);

/* Whether A has all members of B, which are equal; null is none. */
static bool json_holds(const json_t *a, const json_t *b) {
  for (const json_t *member = b->u.first; member != NULL; member = member->next) {
    const json_t *other = json_get(a, member->key);
    if (member->type != JSON_NULL && (other == NULL || !json_equal(other, member))) return false;
  }
  return true;
}

static bool json_equal(const json_t *a, const json_t *b) {
  if (a->type != b->type) return false;
  if (a->type == JSON_OBJECT) return json_holds(a, b) && json_holds(b, a);
  if (a->count != b->count) return false;
  if (a->type == JSON_STRING) return memcmp(a->u.string, b->u.string, (size_t)a->count) == 0;
  if (a->type != JSON_ARRAY) return true; /* messages hold texts */
  const json_t *x = a->u.first, *y = b->u.first;
  while (x != NULL && y != NULL && json_equal(x, y)) {
    x = x->next;
    y = y->next;
  }
  return x == NULL && y == NULL;
}

static bool member_equal(const json_t *a, const json_t *b, const char *key) {
  const json_t *x = json_get(a, key), *y = json_get(b, key);
  return x == NULL || y == NULL ? x == y : json_equal(x, y);
}

/* Whether two messages say the same: their other members do not count. */
static bool message_equal(const json_t *a, const json_t *b) {
  return member_equal(a, b, "role") && member_equal(a, b, "content") && member_equal(a, b, "from") &&
         member_equal(a, b, "value");
}

/* Both choices are whole conversations that differ in their last message. */
static status_t sample_read_common_turns(sample_reader_t *reader, const json_t *element, int64_t *before) {
  const json_t *chosen, *rejected;
  TRY(json_array(element, "chosen", reader->where, &chosen));
  TRY(json_array(element, "rejected", reader->where, &rejected));
  *before = chosen->count - 1;
  const json_t *a = chosen->u.first, *b = rejected->u.first;
  for (int64_t i = 0; i < *before; i++, a = a->next, b = b->next)
    if (b == NULL || !message_equal(a, b))
      return error_set(STATUS_DATA,
                       "%s: 'chosen' and 'rejected' differ in message %" PRId64
                       " already; expected conversations that differ in the last one, or a 'prompt'",
                       reader->where, i + 1);
  TRY(messages_read(&reader->messages, chosen, reader->where));
  if (reader->messages.count > 0) reader->messages.count--;
  return STATUS_OK;
}

/* The same with a prompt that is a text: the first message of both says it, too. */
static status_t sample_read_repeated_prompt(sample_reader_t *reader, const json_t *element, int64_t *before) {
  const text_view_t prompt = view_of(json_get(element, "prompt"));
  TRY(sample_read_common_turns(reader, element, before));
  const messages_t *messages = &reader->messages;
  if (messages->count > 0 && messages->turns[0].role == TURN_HUMAN &&
      text_equal(messages->turns[0].text, prompt.bytes))
    return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: 'chosen' and 'rejected' are conversations, but 'prompt' is not their first question; "
                   "expected the same text, or answers alone, or no 'prompt'",
                   reader->where);
}

/* What is said before the choices, to the reader's turns; *BEFORE: how many messages of it they repeat. */
static status_t sample_read_prompt(sample_reader_t *reader, const json_t *element, int64_t *before) {
  const json_t *prompt = json_get(element, "prompt"), *chosen = json_get(element, "chosen");
  if (prompt == NULL) return sample_read_common_turns(reader, element, before);
  if (prompt->type == JSON_STRING && chosen->type == JSON_ARRAY && chosen->count > 1)
    return sample_read_repeated_prompt(reader, element, before);
  if (prompt->type == JSON_STRING) return messages_ask(&reader->messages, view_of(prompt));
  TRY(json_array(element, "prompt", reader->where, &prompt));
  return messages_read(&reader->messages, prompt, reader->where);
}

/* A pair as TRL has it: `prompt`, `chosen`, `rejected`; the chosen answer is output 1. */
static status_t sample_read_chosen(sample_reader_t *reader, const json_t *element) {
  dataset_sample_t *sample = &reader->sample;
  int64_t before = 0;
  TRY(sample_read_prompt(reader, element, &before));
  TRY(conversation_take(reader));
  if (reader->messages.turns[reader->messages.count - 1].role == TURN_GPT)
    return error_set(
        STATUS_DATA,
        "%s: the message before 'chosen' and 'rejected' is the model's; expected a question that "
        "both answer: an answer that was begun cannot be continued",
        reader->where);
  TRY(sample_read_choice(reader, element, "chosen", before, &sample->outputs[0]));
  TRY(sample_read_choice(reader, element, "rejected", before, &sample->outputs[1]));
  sample->paired = true;
  sample->preference = 1;
  return STATUS_OK;
}

/* {"from": ..., "value": text}, or the text itself. */
static status_t sample_read_output(sample_reader_t *reader, const json_t *element, const char *key,
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

static status_t sample_read_pair(sample_reader_t *reader, const json_t *element, sample_kind_t kind) {
  dataset_sample_t *sample = &reader->sample;
  bool any = json_get(element, "output_1") != NULL || json_get(element, "output_2") != NULL;
  if (!any && kind == SAMPLE_CONVERSATION) return STATUS_OK;
  TRY(sample_read_output(reader, element, "output_1", &sample->outputs[0]));
  TRY(sample_read_output(reader, element, "output_2", &sample->outputs[1]));
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

static status_t sample_read_numbers(sample_reader_t *reader, const json_t *element) {
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

status_t sample_read(sample_reader_t *reader, const json_t *element, int64_t index, sample_kind_t kind) {
  reader->sample = (dataset_sample_t){.image = -1};
  bool pair = json_get(element, "chosen") != NULL, chat = json_get(element, "messages") != NULL;
  bool question =
      !pair && !chat && json_get(element, "conversations") == NULL && json_get(element, "text") != NULL;
  TRY(sample_read_id(reader, element, index, pair || chat));
  TRY(messages_start(&reader->messages, element));
  if (pair)
    TRY(sample_read_chosen(reader, element));
  else if (question)
    TRY(sample_read_question(reader, element));
  else
    TRY(sample_read_turns(reader, element));
  TRY(sample_read_image(reader, element, pair || chat || question));
  if (!pair) TRY(sample_read_pair(reader, element, kind));
  return sample_read_numbers(reader, element);
}

void sample_reader_free(sample_reader_t *reader) {
  messages_free(&reader->messages);
  *reader = (sample_reader_t){0};
}
