#include "eval/requests.h"

#include "base/memory.h"
#include "eval/lookup.h"
#include "io/file.h"
#include "io/json_elements.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PROMPT_BYTES = 1 << 20, REPLY_TOKENS = 1024, TYPE_BYTES = 64 };

static const char *const slot_names[SLOTS] = {"{question}", "{answer}", "{reference}", "{context}"};

/* ---- Prompts ---- */

status_t prompt_take(const char *path, const char *builtin, char **out) {
  if (!*path) return memory_copy_text(out, ARENA_OTHER, builtin, strlen(builtin));
  TRY(file_read(path, PROMPT_BYTES, out, NULL));
  if (strstr(*out, slot_names[SLOT_ANSWER])) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "eval.judge_prompt = '%s': has no place {answer} for the answer to be judged; other places are "
      "{question}, {reference}, {context}",
      path);
}

/* The slot that TEXT begins with, SLOTS where it is none. */
static int slot_at(const char *text) {
  int slot = 0;
  while (slot < SLOTS && strncmp(text, slot_names[slot], strlen(slot_names[slot])) != 0)
    slot++;
  return slot;
}

status_t prompt_fill(const char *template, const char *const slots[SLOTS], text_buffer_t *out) {
  const char *from = template;
  for (const char *at = strchr(from, '{'); at; at = strchr(at, '{')) {
    int slot = slot_at(at);
    if (slot == SLOTS) {
      at++;
      continue;
    }
    TRY(text_buffer_append(out, (text_view_t){from, (size_t)(at - from)}));
    TRY(text_buffer_append_string(out, slots[slot] ? slots[slot] : ""));
    from = at = at + strlen(slot_names[slot]);
  }
  return text_buffer_append_string(out, from);
}

status_t prompt_join(const json_t *list, const char *field, const char *where, const char *between,
                     text_buffer_t *out) {
  for (const json_t *item = list->u.first; item; item = item->next) {
    if (item->type != JSON_STRING)
      return error_set(STATUS_DATA, "%s: field '%s': found %s, expected strings", where, field,
                       json_type_name(item->type));
    if (out->n > 0) TRY(text_buffer_append_string(out, between));
    TRY(text_buffer_append_string(out, item->u.string));
  }
  return STATUS_OK;
}

/* ---- Requests ---- */

static void message_write(json_writer_t *writer, const char *role, const char *content) {
  json_write_object_begin(writer);
  json_write_member(writer, "role", role);
  json_write_member(writer, "content", content);
  json_write_object_end(writer);
}

static void body_write(json_writer_t *writer, const char *model, const char *system, const char *prompt) {
  json_write_object_begin(writer);
  json_write_member(writer, "model", model);
  json_write_key(writer, "messages");
  json_write_array_begin(writer);
  if (system) message_write(writer, "system", system);
  message_write(writer, "user", prompt);
  json_write_array_end(writer);
  json_write_real_member(writer, "temperature", 0.0);
  json_write_int_member(writer, "max_tokens", REPLY_TOKENS);
  json_write_object_end(writer);
}

status_t request_write(judge_t *judge, const answer_t *answer, const char *model, json_writer_t *writer) {
  SCOPED(text_buffer_free) text_buffer_t prompt = {0};
  const char *system = NULL;
  char id[TYPE_BYTES + 32];
  int32_t type;
  TRY(judge->ask(judge, answer, &system, &prompt, &type));
  snprintf(id, sizeof id, "%s-%" PRId64, judge->type_name(type), answer->row);
  json_write_object_begin(writer);
  json_write_member(writer, "custom_id", id);
  json_write_member(writer, "method", "POST");
  json_write_member(writer, "url", "/v1/chat/completions");
  json_write_key(writer, "body");
  body_write(writer, model, system, prompt.bytes);
  json_write_object_end(writer);
  json_write_line(writer);
  return STATUS_OK;
}

/* ---- Replies ---- */

typedef struct {
  judge_t *judge;
  tally_t *tally;
  int64_t count;
  lookup_t places; /* by custom_id: where it is */
} hearing_t;

static status_t completion_text(const json_t *completion, const char *where, const char **text) {
  const json_t *choices, *message;
  TRY(json_array(completion, "choices", where, &choices));
  const json_t *choice = json_at(choices, 0);
  if (!choice) return error_set(STATUS_DATA, "%s: field 'choices': found no item, expected one", where);
  TRY(json_object(choice, "message", where, &message));
  return json_string(message, "content", where, text);
}

/* What HOLDER's member `error` says; NULL: there is none. */
static const char *failure_of(const json_t *holder) {
  const json_t *failure = json_get(holder, "error");
  const json_t *message = failure && failure->type == JSON_OBJECT ? json_get(failure, "message") : failure;
  if (!failure || failure->type == JSON_NULL) return NULL;
  return message && message->type == JSON_STRING ? message->u.string : "no message";
}

static status_t refuse_failed(const json_t *holder, const char *id, const char *where) {
  const char *failure = failure_of(holder);
  if (!failure) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: request '%.80s' has failed (%.200s); have it answered and put its reply here", where,
                   id, failure);
}

/* A line of a batch's results; TYPE gets what its custom_id begins with. */
static status_t batch_read(const json_t *element, reply_t *reply, char type[TYPE_BYTES]) {
  const json_t *response, *body;
  const char *id;
  TRY(json_string(element, "custom_id", reply->where, &id));
  const char *dash = strrchr(id, '-');
  snprintf(type, TYPE_BYTES, "%.*s", dash ? (int)(dash - id) : 0, id);
  if (dash) reply->type = type;
  TRY(refuse_failed(element, id, reply->where));
  TRY(json_object(element, "response", reply->where, &response));
  TRY(json_object(response, "body", reply->where, &body));
  TRY(refuse_failed(body, id, reply->where));
  return completion_text(body, reply->where, &reply->text);
}

/* Categories of reviews may have the benchmark's name in front. */
static status_t review_read(const json_t *element, reply_t *reply) {
  static const char prefix[] = "llava_bench_";
  TRY(json_string(element, "category", reply->where, &reply->type));
  if (strncmp(reply->type, prefix, sizeof prefix - 1) == 0) reply->type += sizeof prefix - 1;
  reply->text = "";
  if (json_get(element, "content")) TRY(json_string(element, "content", reply->where, &reply->text));
  return json_get(element, "tuple") ? json_array(element, "tuple", reply->where, &reply->scores) : STATUS_OK;
}

static status_t reply_hear(void *context, const json_element_t *element, const char *where) {
  hearing_t *hearing = context;
  reply_t reply = {.where = where, .index = element->index};
  verdict_t verdict = {0};
  char type[TYPE_BYTES];
  const json_t *id = json_get(element->value, "custom_id");
  if (id)
    TRY(batch_read(element->value, &reply, type));
  else if (json_get(element->value, "category"))
    TRY(review_read(element->value, &reply));
  else
    TRY(completion_text(element->value, where, &reply.text));
  if (id) TRY(lookup_add(&hearing->places, id->u.string, where));
  TRY(hearing->judge->hear(hearing->judge, &reply, &verdict));
  tally_add(hearing->tally, hearing->judge, &verdict);
  hearing->count++;
  return STATUS_OK;
}

/* A batch that was sent twice is not to count twice. */
static status_t replies_check(hearing_t *hearing, const char *path) {
  const lookup_entry_t *entries = hearing->places.entries;
  lookup_sort(&hearing->places);
  for (int64_t i = 1; i < hearing->places.count; i++)
    if (strcmp(entries[i - 1].key, entries[i].key) == 0)
      return error_set(STATUS_DATA, "%s: custom_id '%.80s' is there twice, expected one reply to a request",
                       entries[i].value, entries[i].key);
  return hearing->count > 0 ? STATUS_OK : error_set(STATUS_DATA, "%s holds no replies", path);
}

status_t replies_judge(const char *path, judge_t *judge, tally_t *tally, int64_t *count) {
  hearing_t hearing = {.judge = judge, .tally = tally};
  status_code_t status = json_elements_visit(path, reply_hear, &hearing);
  if (status == STATUS_OK) status = replies_check(&hearing, path);
  lookup_free(&hearing.places);
  *count = hearing.count;
  return status;
}
