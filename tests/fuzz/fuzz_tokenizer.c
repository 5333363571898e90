/* A tokenizer.model, and texts through it and back. */
#include "fuzz_text.h"

#include "io/formats/tokenizer_file.h"
#include "tensor/packed.h"

static const char *const texts[] = {"A red square, left of 12 blue ones.", "<s>a\tb\n</s><image>",
                                    "\xe4\xbd\xa0\xff\x80 \xf0\x9f\x99\x82", ""};

void fuzz_start(void) {}

static void use(const tokenizer_t *tokenizer) {
  int32_t size = tokenizer_size(tokenizer);
  const int32_t ids[] = {0, tokenizer_bos(tokenizer), TOKEN_IMAGE, size - 1, size, tokenizer_eos(tokenizer),
                         1};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    fuzz_text_encode(tokenizer, texts[i]);
  fuzz_text_decode(tokenizer, ids, (int32_t)(sizeof ids / sizeof *ids));
  for (int32_t id = 0; id < size; id++) {
    const char *piece = tokenizer_piece(tokenizer, id);
    FUZZ_EXPECT(piece != NULL);
    FUZZ_EXPECT(tokenizer_piece_id(tokenizer, piece) < size);
    fuzz_text_decode(tokenizer, &id, 1);
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
