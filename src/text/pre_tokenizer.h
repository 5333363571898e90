/* The pre-tokenizer of byte-level BPE: cuts a text into the words within which pieces are merged. */
#ifndef TEXT_PRE_TOKENIZER_H
#define TEXT_PRE_TOKENIZER_H

#include "text/view.h"

#include "base/status.h"

#include <stdint.h>

typedef enum {
  SPLIT_ISOLATED, /* what matches and what lies between */
  SPLIT_MATCHES,  /* what matches; the rest is dropped */
  SPLIT_GAPS      /* what lies between; what matches is dropped */
} split_kind_t;

/* One step; it is done to each part that the steps before it made. */
typedef struct {
  bool prefix_space;   /* a part that does not begin with a space gets one in front, first of all */
  const char *pattern; /* '\0'-terminated; NULL: no cut */
  bool plain;          /* the pattern is a text, not a regular expression */
  split_kind_t kind;
} split_step_t;

typedef struct pre_tokenizer pre_tokenizer_t;

/* Compiles STEPS (count, copied). Free with pre_tokenizer_free. Errors: STATUS_DATA for a pattern that is not
 * read (text/pattern.h). Local. */
status_t pre_tokenizer_create(const split_step_t *steps, int32_t count, pre_tokenizer_t **out);
void pre_tokenizer_free(pre_tokenizer_t *pre_tokenizer);

/* Gives each word of TEXT (UTF-8), none of them empty, to WORD in order. Errors: those of WORD; STATUS_DATA
 * where a pattern takes too long. Local, thread-safe. */
typedef status_code_t (*word_t)(void *context, text_view_t word);
status_t pre_tokenizer_words(const pre_tokenizer_t *pre_tokenizer, text_view_t text, word_t word,
                             void *context);

#endif
