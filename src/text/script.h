/* A text with the spans of it that are to be learnt and the places of its images: what stands between a
 * conversation and its tokens. */
#ifndef TEXT_SCRIPT_H
#define TEXT_SCRIPT_H

#include "text/buffer.h"
#include "text/sequence.h"
#include "text/tokenizer.h"

/* How data write the place of an image, and how v1 conversations end an answer. */
#define IMAGE_MARK "<image>"
#define END_MARK "</s>"

/* Bytes of the text: an answer, or the mark of an image. */
typedef struct {
  size_t begin, end;
} script_span_t;

typedef struct {
  script_span_t *spans; /* (count), ascending */
  int32_t count, capacity;
} script_spans_t;

/* All zero is the empty script. */
typedef struct {
  text_buffer_t text;
  script_spans_t answers; /* learnt; the rest is not */
  script_spans_t images;  /* "<image>" anywhere else is a word like others */
} script_t;

/* Says that what is appended from here on is to be learnt / that this ends here. */
status_t script_begin_answer(script_t *script);
void script_end_answer(script_t *script);

/* Appends the place of an image, spelt "<image>". */
status_t script_append_image(script_t *script);
void script_free(script_t *script);

/* Appends BOS, if the tokenizer has one, and the tokens of the script to SEQUENCE: split at images and where
 * an answer ends, piece by piece (conversation.h says where an answer begins within a piece). Image places
 * are never learnt. Local. */
status_t script_tokenise(const tokenizer_t *tokenizer, const script_t *script, sequence_t *sequence);

#endif
