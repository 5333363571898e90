/* A text with the spans of it that are to be learnt: what stands between a conversation and its tokens. */
#ifndef TEXT_SCRIPT_H
#define TEXT_SCRIPT_H

#include "text/buffer.h"
#include "text/sequence.h"
#include "text/tokenizer.h"

/* The marks at which text is split before it is tokenised. */
#define IMAGE_MARK "<image>"
#define END_MARK "</s>"

typedef struct {
  size_t begin, end; /* bytes */
} script_span_t;

/* All zero is the empty script. */
typedef struct {
  text_buffer_t text;
  script_span_t *answers; /* (count), ascending, learnt; the rest is not */
  int32_t count, capacity;
} script_t;

/* Says that what is appended from here on is to be learnt / that this ends here. */
status_t script_begin_answer(script_t *script);
void script_end_answer(script_t *script);
void script_free(script_t *script);

/* Appends BOS and the tokens of the script to SEQUENCE: split at the marks, piece by piece (conversation.h
 * says where an answer begins within a piece). Image places are never learnt. Local. */
status_t script_tokenise(const tokenizer_t *tokenizer, const script_t *script, sequence_t *sequence);

#endif
