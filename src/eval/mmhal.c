#include "eval/mmhal.h"

#include "base/log.h"
#include "io/json.h"
#include "text/answers.h"

const char *mmhal_type_name(int32_t type) {
  static const char *const names[MMHAL_TYPES] = {"attribute", "adversarial", "comparison", "counting",
                                                 "relation",  "environment", "holistic",   "other"};
  return names[type];
}

static status_t reply_text(const json_t *completion, const char *where, const char **text) {
  const json_t *choices, *message;
  TRY(json_array(completion, "choices", where, &choices));
  const json_t *choice = json_at(choices, 0);
  if (!choice) return error_set(STATUS_DATA, "%s: field 'choices': found no item, expected one", where);
  TRY(json_object(choice, "message", where, &message));
  return json_string(message, "content", where, text);
}

static status_t mmhal_add_reply(mmhal_counts_t *counts, const json_element_t *element, const char *where) {
  const char *text;
  bool found;
  TRY(reply_text(element->value, where, &text));
  int32_t rating = mmhal_rating(text_view(text), &found);
  int64_t type = element->index % MMHAL_TYPES;
  if (!found) log_warning("%s: found no single 'rating: 0..6'; it counts as 0", where);
  counts->replies++;
  counts->unread += !found;
  counts->ratings += rating;
  counts->hallucinated += rating < MMHAL_HONEST;
  counts->type_replies[type]++;
  counts->type_ratings[type] += rating;
  return STATUS_OK;
}

static status_t mmhal_add_replies(mmhal_counts_t *counts, json_reader_t *reader, const char *path) {
  for (;;) {
    json_element_t element;
    char where[512];
    TRY(json_reader_next(reader, &element));
    if (!element.value) {
      json_reader_warn(reader);
      return STATUS_OK;
    }
    snprintf(where, sizeof where, "%s, line %lld", path, (long long)element.line);
    TRY(mmhal_add_reply(counts, &element, where));
  }
}

status_t mmhal_read(const char *path, mmhal_counts_t *out) {
  json_reader_t *reader;
  *out = (mmhal_counts_t){0};
  TRY(json_reader_open(path, JSON_ELEMENTS, &reader));
  status_code_t status = mmhal_add_replies(out, reader, path);
  json_reader_close(reader);
  return status;
}
