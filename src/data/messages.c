#include "data/messages.h"

#include "base/memory.h"
#include "text/script.h"

#include <string.h>

static const char MARK[] = IMAGE_MARK "\n";

typedef enum { ROLE_HUMAN, ROLE_GPT, ROLE_SYSTEM } message_role_t;

/* ---- Text ---- */

/* Bytes of all texts below VALUE, and of a mark for each object in it: more than can be put together of it.
 */
static size_t text_bound(const json_t *value) {
  size_t bytes = 0;
  if (value->type == JSON_STRING) return (size_t)value->count + sizeof MARK;
  if (value->type != JSON_ARRAY && value->type != JSON_OBJECT) return 0;
  for (const json_t *item = value->u.first; item; item = item->next)
    bytes += text_bound(item);
  return bytes + sizeof MARK;
}

status_t messages_start(messages_t *messages, const json_t *element) {
  /* A text is put together as a turn, once more as an answer, and with an image's mark in front. */
  size_t room = 3 * text_bound(element);
  messages->count = 0;
  messages->used = 0;
  if (room <= messages->room) return STATUS_OK;
  TRY(memory_resize(&messages->text, ARENA_DATA, room, 1));
  messages->room = room;
  return STATUS_OK;
}

static void messages_text_put(messages_t *messages, const char *bytes, size_t n) {
  memcpy(messages->text + messages->used, bytes, n);
  messages->used += n;
}

static status_t part_put(messages_t *messages, const json_t *part, const char *where) {
  const char *type;
  TRY(json_string(part, "type", where, &type));
  if (strcmp(type, "image") == 0) {
    if (messages->count > 0)
      return error_set(STATUS_DATA, "%s: has an image; expected it in the first question", where);
    messages_text_put(messages, MARK, sizeof MARK - 1);
    return STATUS_OK;
  }
  if (strcmp(type, "text") != 0)
    return error_set(STATUS_DATA, "%s: a part of type '%.40s', expected 'text' or 'image'", where, type);
  const char *text;
  TRY(json_string(part, "text", where, &text));
  messages_text_put(messages, text, strlen(text));
  return STATUS_OK;
}

status_t messages_text(messages_t *messages, const json_t *value, const char *where, text_view_t *out) {
  if (value && value->type == JSON_STRING) {
    *out = (text_view_t){value->u.string, (size_t)value->count};
    return STATUS_OK;
  }
  if (!value || value->type != JSON_ARRAY)
    return error_set(STATUS_DATA, "%s: field 'content': found %s, expected a string or an array of parts",
                     where, value ? json_type_name(value->type) : "nothing");
  size_t begin = messages->used;
  for (const json_t *part = value->u.first; part; part = part->next)
    TRY(part_put(messages, part, where));
  *out = (text_view_t){messages->text + begin, messages->used - begin};
  messages_text_put(messages, "", 1);
  return STATUS_OK;
}

/* ---- Messages ---- */

static status_t messages_role_of(const json_t *message, const char *where, message_role_t *role) {
  static const struct {
    const char *name;
    message_role_t role;
  } roles[] = {{"human", ROLE_HUMAN},
               {"user", ROLE_HUMAN},
               {"gpt", ROLE_GPT},
               {"assistant", ROLE_GPT},
               {"system", ROLE_SYSTEM}};
  const char *name;
  TRY(json_string(message, json_get(message, "role") ? "role" : "from", where, &name));
  for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
    if (strcmp(name, roles[i].name) == 0) {
      *role = roles[i].role;
      return STATUS_OK;
    }
  return error_set(
      STATUS_DATA,
      "%s: it is from '%.40s'; expected 'human' or 'user', 'gpt' or 'assistant', or 'system' in front", where,
      name);
}

status_t messages_is_answer(const json_t *message, const char *where, bool *answer) {
  message_role_t role;
  TRY(messages_role_of(message, where, &role));
  *answer = role == ROLE_GPT;
  return STATUS_OK;
}

static status_t turns_reserve(messages_t *messages, int64_t count, const char *where) {
  if (count > INT32_MAX / 2)
    return error_set(STATUS_DATA, "%s: %lld turns are too many", where, (long long)count);
  if (count <= messages->capacity) return STATUS_OK;
  TRY(memory_resize(&messages->turns, ARENA_DATA, (size_t)count, sizeof *messages->turns));
  messages->capacity = (int32_t)count;
  return STATUS_OK;
}

static status_t message_read(messages_t *messages, const json_t *message, const char *where) {
  message_role_t role;
  text_view_t text;
  TRY(messages_role_of(message, where, &role));
  if (json_get(message, "role")) {
    TRY(messages_text(messages, json_get(message, "content"), where, &text));
  } else {
    const char *value;
    TRY(json_string(message, "value", where, &value));
    text = (text_view_t){value, (size_t)json_get(message, "value")->count};
  }
  if (role != ROLE_SYSTEM) {
    messages->turns[messages->count++] = (turn_t){role == ROLE_HUMAN ? TURN_HUMAN : TURN_GPT, text};
    return STATUS_OK;
  }
  if (messages->count > 0)
    return error_set(STATUS_DATA, "%s: a system message may stand in front of a conversation, not within it",
                     where);
  messages->systems++;
  return STATUS_OK;
}

status_t messages_read(messages_t *messages, const json_t *list, const char *where) {
  char turn[160];
  int32_t number = 1;
  messages->count = 0;
  TRY(turns_reserve(messages, list->count, where));
  for (const json_t *message = list->u.first; message; message = message->next, number++) {
    snprintf(turn, sizeof turn, "%s: turn %d", where, number);
    TRY(message_read(messages, message, turn));
  }
  return STATUS_OK;
}

status_t messages_ask(messages_t *messages, text_view_t text) {
  TRY(turns_reserve(messages, 1, ""));
  messages->turns[0] = (turn_t){TURN_HUMAN, text};
  messages->count = 1;
  return STATUS_OK;
}

void messages_mark_image(messages_t *messages) {
  int32_t t = 0;
  while (t < messages->count && messages->turns[t].role != TURN_HUMAN)
    t++;
  if (t == messages->count) return;
  text_view_t old = messages->turns[t].text;
  size_t begin = messages->used;
  messages_text_put(messages, MARK, sizeof MARK - 1);
  messages_text_put(messages, old.bytes, old.n);
  messages->turns[t].text = (text_view_t){messages->text + begin, messages->used - begin};
  messages_text_put(messages, "", 1);
}

void messages_free(messages_t *messages) {
  memory_free(messages->turns);
  memory_free(messages->text);
  *messages = (messages_t){0};
}
