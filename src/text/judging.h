/* The judging prompt: what the reward model reads after a conversation, and at whose last token its reward is
 * read (docs/method.md, Reward model). */
#ifndef TEXT_JUDGING_H
#define TEXT_JUDGING_H

#include "text/buffer.h"
#include "text/sequence.h"
#include "text/tokenizer.h"

/* The slot in a prompt file that facts fill. */
#define JUDGING_SLOT "{factual_prompt}"

/* The prompt used where none is brought (reward.prompt_file, rm.prompt_file): four criteria and a slot for
 * facts. Owned by the program. */
const char *judging_prompt_builtin(void);

/* True if facts have a place in PROMPT. A run with facts needs one. Local. */
bool judging_prompt_has_slot(text_view_t prompt);

/* Order in which the N captions of a sample are shown: ORDER (n) out, a permutation of 0..n-1. A function of
 * (SEED, SAMPLE, USE) alone, by the numbers of RANDOM_FACTS; USE (below 2^32) tells apart the answers and
 * passes of one sample. Local. */
void judging_facts_order(uint64_t seed, uint64_t sample, uint64_t use, int32_t n, int32_t *order);

/* Appends PROMPT as it is tokenised: stripped, one space in front, each slot filled with the line that
 * demands support by the captions (a wire constant) and one line per caption, CAPTIONS (n) in ORDER (n; NULL
 * for as they stand); with nothing where n is 0. Local. */
status_t judging_prompt_fill(text_view_t prompt, const text_view_t *captions, const int32_t *order, int32_t n,
                             text_buffer_t *out);

/* Appends the tokens of a filled PROMPT to SEQUENCE: tokenised by itself, without BOS; nothing is learnt.
 * Special tokens that it spells ("</s>", "<|im_end|>") become their ids, "<image>" is a word. Local,
 * thread-safe. */
status_t judging_prompt_append(const tokenizer_t *tokenizer, text_view_t prompt, sequence_t *sequence);

#endif
