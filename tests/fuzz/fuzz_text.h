/* What the targets of tokenizers share: texts through a tokenizer and back. */
#ifndef TESTS_FUZZ_TEXT_H
#define TESTS_FUZZ_TEXT_H

#include "fuzz.h"

#include "base/memory.h"
#include "text/tokenizer.h"
#include "text/view.h"

#include <string.h>

static inline void fuzz_text_decode(const tokenizer_t *tokenizer, const int32_t *ids, int32_t n) {
  char *text = NULL;
  size_t length = 0;
  if (tokenizer_decode(tokenizer, ids, n, &text, &length) != STATUS_OK) return;
  FUZZ_EXPECT(strlen(text) == length && text_is_utf8((text_view_t){text, length}, NULL));
  memory_free(text);
}

static inline void fuzz_text_encode(const tokenizer_t *tokenizer, const char *text) {
  int32_t *ids = NULL, count = 0;
  if (tokenizer_encode(tokenizer, text, strlen(text), &ids, &count) != STATUS_OK) return;
  for (int32_t i = 0; i < count; i++)
    FUZZ_EXPECT(ids[i] >= 0 && ids[i] < tokenizer_size(tokenizer) &&
                tokenizer_piece(tokenizer, ids[i]) != NULL);
  fuzz_text_decode(tokenizer, ids, count);
  memory_free(ids);
}

#endif
