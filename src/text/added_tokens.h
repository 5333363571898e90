/* Tokens that a text is split at before anything else looks at it: the "added tokens" of tokenizer.json. */
#ifndef TEXT_ADDED_TOKENS_H
#define TEXT_ADDED_TOKENS_H

#include "text/view.h"

#include "base/status.h"

#include <stdint.h>

typedef struct {
  const char *text; /* '\0'-terminated, not empty */
  int32_t id;
  bool special;     /* leaves no trace when it is decoded */
  bool left, right; /* takes the white space on that side along */
  bool single_word; /* counts only where no letter, digit or underscore touches it */
  bool normalized;  /* looked for after the text was normalised */
} added_token_t;

/* A part of a text: an added token, or what lies between (id -1). */
typedef struct {
  int32_t id;
  text_view_t text;
} added_part_t;

typedef struct added_tokens added_tokens_t;

/* For TOKENS (count), whose texts are copied. Free with added_tokens_free. Local. */
status_t added_tokens_create(const added_token_t *tokens, int32_t count, added_tokens_t **out);
void added_tokens_free(added_tokens_t *set);

/* The part of TEXT (UTF-8) that begins at *AT, and *AT after it; false at the end. Of tokens that begin at
 * the same place the longest counts. A call with *AT = 0 starts; parts are asked for in order. Local,
 * thread-safe. */
bool added_tokens_next(const added_tokens_t *set, text_view_t text, size_t *at, added_part_t *part);

#endif
