/* What a kind of tokenizer does; for the kinds only. */
#ifndef TEXT_TOKENIZER_KIND_H
#define TEXT_TOKENIZER_KIND_H

#include "text/buffer.h"
#include "text/token_list.h"
#include "text/tokenizer.h"

typedef struct {
  void (*free)(void *state);
  /* Appends the ids of TEXT, which is UTF-8 and not empty. */
  status_t (*encode)(const void *state, text_view_t text, token_list_t *out);
  /* Appends the text of IDS (n > 0), which all have pieces. */
  status_t (*decode)(const void *state, const int32_t *ids, int32_t n, text_buffer_t *out);
  const char *(*piece)(const void *state, int32_t id); /* id in 0..size-1; NULL where it has none */
  int32_t (*piece_id)(const void *state, const char *piece);
} tokenizer_kind_t;

/* Makes a tokenizer of STATE, which it owns from now on (freed on errors too), and a copy of its file's
 * BYTES. Local. */
status_t tokenizer_make(const tokenizer_kind_t *kind, void *state, const void *bytes, size_t n, int32_t size,
                        int32_t bos, int32_t eos, tokenizer_t **out);

#endif
