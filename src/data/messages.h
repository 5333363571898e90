/* Turns of a conversation in the spellings that are in use: "from" and "value" with human and gpt (LLaVA,
 * ShareGPT), and "role" and "content" with user, assistant and system (chat files, TRL), where a content is a
 * text or a list of parts. */
#ifndef DATA_MESSAGES_H
#define DATA_MESSAGES_H

#include "io/json.h"
#include "text/conversation.h"

/* All zero to begin with; used for one sample after the other. */
typedef struct {
  turn_t *turns; /* (count) */
  int32_t count, capacity;
  char *text; /* what had to be put together of parts */
  size_t used, room;
  int64_t systems; /* system messages left out, over all samples */
} messages_t;

/* Makes room for the texts of ELEMENT, the sample that is read next; what was read before is gone. Errors:
 * STATUS_MEMORY. Local. */
status_t messages_start(messages_t *messages, const json_t *element);

/* LIST's messages to TURNS, whose texts are valid as long as the sample's JSON and until the next
 * messages_start. A system message in front is left out and counted: the template has words of its own. An
 * image among the parts of the first turn is "<image>", one of a later turn is an error. WHERE stands for the
 * sample in messages. Errors: STATUS_DATA (another role or type, a system message later on). Local. */
status_t messages_read(messages_t *messages, const json_t *list, const char *where);

/* One turn with TEXT. Local. */
status_t messages_ask(messages_t *messages, text_view_t text);

/* Puts "<image>" in front of the first human turn. Local. */
void messages_mark_image(messages_t *messages);

/* The text of a message's VALUE, which is a text or a list of parts. Errors: STATUS_DATA. Local. */
status_t messages_text(messages_t *messages, const json_t *value, const char *where, text_view_t *out);

/* Whether the message is the model's. Errors: STATUS_DATA (no message, another role). Local. */
status_t messages_is_answer(const json_t *message, const char *where, bool *answer);

void messages_free(messages_t *messages);

#endif
