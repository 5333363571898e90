/* What is read from answers: where a response ends, whether it is right, what a judge said. */
#ifndef TEXT_ANSWERS_H
#define TEXT_ANSWERS_H

#include "text/template.h"
#include "text/view.h"

/* Tokens after which a response is cut. */
typedef struct {
  int32_t answer;                  /* what ends answers under the template */
  int32_t text;                    /* the tokenizer's EOS, often the same */
  int32_t own[TOKENIZER_ENDS_MAX]; /* (own_count) what the model's published configuration names */
  int32_t own_count;
  int32_t question[2]; /* the pieces " ?" and "?"; -1 where the model has no such piece or they do not stop */
} response_end_t;

/* The tokens of TOKENIZER under TEMPLATE; question marks only if STOP_AT_QUESTION (rollout.stop_at_question).
 * Local.
 */
response_end_t response_end(const tokenizer_t *tokenizer, template_t template, bool stop_at_question);

/* All of them, each once, as TOKENS; returns how many. Local. */
enum { RESPONSE_ENDS_MAX = TOKENIZER_ENDS_MAX + 4 };
int32_t response_end_tokens(const response_end_t *end, int32_t tokens[RESPONSE_ENDS_MAX]);

/* True if a response ends with TOKEN (which is kept). Local. */
bool response_ends(const response_end_t *end, int32_t token);

/* True if TOKEN says that the response is complete, not only cut. Local. */
bool response_completes(const response_end_t *end, int32_t token);

/* What the true answer is, by the data's `caption_type`. */
typedef enum {
  ANSWER_GENERAL = 1,
  ANSWER_OPTION_A,
  ANSWER_OPTION_B,
  ANSWER_OPTION_C,
  ANSWER_OPTION_D,
  ANSWER_NO,
  ANSWER_YES
} answer_type_t;

/* Errors: STATUS_DATA where NUMBER is not 1..7. Local. */
status_t answer_type_from_number(int64_t number, answer_type_t *out);

/* True for the multiple-choice types, whose facts are looked up under "aok_" + image name first. Local. */
bool answer_type_is_option(answer_type_t type);

/* Correctness of a response's text for the symbolic reward (docs/method.md): options 1 if it
 * starts (stripped) with "X." or contains "correct option is X.", else 0; No: 0.5 if it starts with "No",
 * -0.5 if with "Yes", else 0; others 0. Local. */
double answer_correct(answer_type_t type, text_view_t response);

/* POPE: true (yes) unless the first sentence (up to the first '.'), commas removed, has one of the words No,
 * not, no between single spaces (docs/method.md, Evaluation). Local. */
bool pope_says_yes(text_view_t response);

/* MMHal-Bench: the N of "rating: N" (0..6, any case) in a judge's reply. *FOUND is false, and the result 0,
 * unless exactly one such N occurs (the same one may occur several times). Local. */
int32_t mmhal_rating(text_view_t reply, bool *found);

#endif
