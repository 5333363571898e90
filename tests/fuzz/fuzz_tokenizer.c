/* A tokenizer.model, and texts through it and back. */
#include "fuzz.h"

#include "base/memory.h"
#include "io/formats/tokenizer_file.h"
#include "tensor/packed.h"
#include "text/view.h"

#include <string.h>

static const char *const texts[] = {"A red square, left of 12 blue ones.", "<s>a\tb\n</s><image>",
                                    "\xe4\xbd\xa0\xff\x80 \xf0\x9f\x99\x82", ""};

void fuzz_start(void) {}

static void decode(const tokenizer_t *tokenizer, const int32_t *ids, int32_t n) {
  char *text = NULL;
  size_t length = 0;
  if (tokenizer_decode(tokenizer, ids, n, &text, &length) != STATUS_OK) return;
  FUZZ_EXPECT(strlen(text) <= length && text_is_utf8((text_view_t){text, length}, NULL));
  memory_free(text);
}

static void encode(const tokenizer_t *tokenizer, const char *text) {
  int32_t *ids = NULL, count = 0;
  if (tokenizer_encode(tokenizer, text, strlen(text), &ids, &count) != STATUS_OK) return;
  for (int32_t i = 0; i < count; i++)
    FUZZ_EXPECT(ids[i] >= 0 && ids[i] < tokenizer_size(tokenizer));
  decode(tokenizer, ids, count);
  memory_free(ids);
}

static void use(const tokenizer_t *tokenizer) {
  int32_t size = tokenizer_size(tokenizer);
  const int32_t ids[] = {0, tokenizer_bos(tokenizer), TOKEN_IMAGE, size - 1, size, tokenizer_eos(tokenizer),
                         1};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    encode(tokenizer, texts[i]);
  decode(tokenizer, ids, (int32_t)(sizeof ids / sizeof *ids));
  for (int32_t id = 0; id < size; id++) {
    const char *piece = tokenizer_piece(tokenizer, id);
    FUZZ_EXPECT(piece != NULL);
    FUZZ_EXPECT(tokenizer_piece_id(tokenizer, piece) < size);
    decode(tokenizer, &id, 1);
  }
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  tokenizer_t *tokenizer;
  if (tokenizer_create(bytes, n, &tokenizer) == STATUS_OK) {
    use(tokenizer);
    tokenizer_free(tokenizer);
  }
  error_clear();
}
