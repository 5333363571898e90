#include "eval/mmhal.h"

#include "base/log.h"
#include "io/json_elements.h"
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

static status_t mmhal_add_reply(void *context, const json_element_t *element, const char *where) {
  mmhal_counts_t *counts = context;
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

status_t mmhal_read(const char *path, mmhal_counts_t *out) {
  *out = (mmhal_counts_t){0};
  return json_elements_visit(path, mmhal_add_reply, out);
}
