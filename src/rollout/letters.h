/* Answers by letter: which of the letters A, B, C, D, as many as a question offers, an answer most likely
 * begins with. Nothing is generated: one forward pass over the query tells. */
#ifndef ROLLOUT_LETTERS_H
#define ROLLOUT_LETTERS_H

#include "rollout/benchmark.h"
#include "rollout/prompts.h"

/* TOKENS: what an answer that is a letter alone begins with, under TEMPLATE. Errors: STATUS_INPUT where
 * the tokenizer begins two of them alike, or joins their beginning to what stands before. Local. */
status_t letters_tokens(const tokenizer_t *tokenizer, template_t template, int32_t tokens[MMBENCH_OPTIONS]);

/* As prompts_respond, but each question is answered by the token of the likeliest of its letters (the first
 * of equals), which is the whole response. Its log-probability is that among all tokens. Collective on the
 * world. Errors besides: those of letters_tokens; STATUS_NUMERIC (log-probabilities that are no
 * numbers). */
status_t letters_respond(prompts_t *prompts, const role_t *role, int64_t begin, int64_t n, responses_t *out);

#endif
