/* Conversations, their templates, and the token sequences made from them (docs/method.md; wire constants
 * are those that published weights were trained with).
 *
 * Text is split at images and where an answer ends; each piece goes to the tokenizer by itself, which splits
 * it at special tokens ("</s>"); BOS stands in front where the tokenizer has one. The template's question and
 * answer usually share a piece (" USER: q ASSISTANT: a"), so where the answer's tokens begin is found by
 * tokenising the piece's prompt part, up to and including "ASSISTANT:", by itself: the tokens that both have
 * in common from the start are the prompt, the rest is the answer. So exactly that part of a training
 * sequence that a query would hold is never learnt, the space after "ASSISTANT:" belongs to the answer's
 * first token (generation has to produce it), and a token that reaches over the border, which some
 * vocabularies may have, is learnt. LLaVA's own code counts the prompt's tokens and assumes that they agree;
 * with its vocabulary they do.
 *
 * Where the image stands is known from the sample, not counted in the text: a sample with an image has its
 * place in the first human turn, which says "<image>"; anywhere else, and in samples without an image,
 * "<image>" is a word. */
#ifndef TEXT_CONVERSATION_H
#define TEXT_CONVERSATION_H

#include "text/buffer.h"
#include "text/sequence.h"
#include "text/template.h"

typedef enum { TURN_HUMAN, TURN_GPT } turn_role_t;

typedef struct {
  turn_role_t role;
  text_view_t text;
} turn_t;

/* The turns belong to somebody else. */
typedef struct {
  const turn_t *turns; /* (count) */
  int32_t count;
  bool imageless; /* the sample has no image: "<image>" is a word wherever it stands */
} conversation_t;

/* A first turn that is not the human's does not count. What remains must alternate, starting with the human.
 * Errors: STATUS_DATA (no human turn, two turns of one side in a row; says which). Local. */
status_t conversation_check(const conversation_t *conversation);

/* Number of answers: gpt turns that follow a human turn. Local. */
int32_t conversation_answers(const conversation_t *conversation);

/* Number of image places in the sequences of this conversation: 1 where the sample has an image and the first
 * human turn says "<image>", else 0 (but the plain template always has one). Local. */
int32_t conversation_images(const conversation_t *conversation);

/* Whether the first human turn begins or ends with "<image>", as those that were written for an image do;
 * within a sentence it may be a word. Local. */
bool conversation_asks_for_image(const conversation_t *conversation);

/* Appends the text of the whole conversation under TEMPLATE, as it goes to the tokenizer ("</s>" where the
 * tokenizer's EOS ends answers). Of the human turn with the image all "<image>" are removed, it is stripped,
 * "<image>\n" is put in front, and it is stripped again; other turns are taken as they are (stripped, where
 * the template says so). A last human turn without answer is left out. Errors as conversation_check. Local.
 */
status_t conversation_text(template_t template, const conversation_t *conversation, text_buffer_t *text);

/* Training sequence of the whole conversation, cut after MAX_LEN tokens (0: no limit; an image counts one
 * token). Learnt are the answers and what ends them (plain: the caption and its line end). SEQUENCE may have
 * no learnt token after a cut. Free with sequence_free. Errors: as conversation_check; STATUS_DATA where
 * there is no answer, or more than one question under the plain template. Local, thread-safe. */
status_t conversation_sequence(const tokenizer_t *tokenizer, template_t template,
                               const conversation_t *conversation, int32_t max_len, sequence_t *sequence);

/* The same where the last answer is replaced by ANSWER (or follows the last human turn, if that has none),
 * uncut: what the reward model reads before the judging prompt. CLOSED: what ends answers follows it;
 * without, none is inserted. Local, thread-safe. */
status_t conversation_answered(const tokenizer_t *tokenizer, template_t template,
                               const conversation_t *conversation, text_view_t answer, bool closed,
                               sequence_t *sequence);

/* Query for answer number ANSWER (0 is the first; PPO uses that one): everything up to and including its
 * "ASSISTANT:", or what the template has there; nothing is learnt. Plain: the image alone. *FITS is false,
 * and QUERY empty, where it is longer than QUERY_LEN tokens (0: no limit): the caller drops the sample with
 * all that belongs to it, and counts it. Free with sequence_free. Errors: as conversation_check; STATUS_DATA
 * where there is no such question. Local, thread-safe. */
status_t conversation_query(const tokenizer_t *tokenizer, template_t template,
                            const conversation_t *conversation, int32_t answer, int32_t query_len,
                            sequence_t *query, bool *fits);

/* Number of the last question: what conversation_query is asked for to answer a conversation's end. -1 if
 * none. Local. */
int32_t conversation_last_question(const conversation_t *conversation);

/* Query and a sampled response (N tokens): the response is learnt. Free with
 * sequence_free. Local. */
status_t sequence_respond(const sequence_t *query, const int32_t *response, int32_t n, sequence_t *sequence);

#endif
