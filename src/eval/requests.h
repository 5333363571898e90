/* What a language model elsewhere is asked about answers, and what it replies: judges without a rule. */
#ifndef EVAL_REQUESTS_H
#define EVAL_REQUESTS_H

#include "eval/tally.h"

/* The slots of a prompt, in this order. */
enum { SLOT_QUESTION, SLOT_ANSWER, SLOT_REFERENCE, SLOT_CONTEXT, SLOTS };

/* *OUT: the text of the file PATH, BUILTIN where that is "", freed by the caller with memory_free. Errors:
 * STATUS_DATA (cannot be read, has no {answer}). Local. */
status_t prompt_take(const char *path, const char *builtin, char **out);

/* Appends TEMPLATE with the texts of SLOTS in the places of {question}, {answer}, {reference}, {context}.
 * Local.
 */
status_t prompt_fill(const char *template, const char *const slots[SLOTS], text_buffer_t *out);

/* Appends the strings of LIST, field FIELD of what WHERE names, with BETWEEN between two of them. Errors:
 * STATUS_DATA where one is no string. Local. */
status_t prompt_join(const json_t *list, const char *field, const char *where, const char *between,
                     text_buffer_t *out);

/* Writes what MODEL is to be asked about ANSWER, as a line of a batch that OpenAI's interface and vLLM's
 * take: custom_id ("TYPE-NUMBER"), method, url, body. Local. */
status_t request_write(judge_t *judge, const answer_t *answer, const char *model, json_writer_t *writer);

/* Counts the replies of PATH to TALLY, *COUNT of them: a JSON list of chat completions, or JSON lines of a
 * batch's results (custom_id, response) or of LLaVA-Bench's reviews (category, content, tuple). Errors:
 * STATUS_DATA naming the line, or PATH where there are none; a failed request and a second reply to one are
 * errors too. Local. */
status_t replies_judge(const char *path, judge_t *judge, tally_t *tally, int64_t *count);

#endif
