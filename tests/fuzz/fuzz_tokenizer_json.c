/* A tokenizer.json, and texts through it and back. Most inputs of whole files fail early, so an input may
 * also be lines that are put into a file which has the bytes' pieces already: vocabulary, merges, added
 * tokens, normalizer, pre_tokenizer, post_processor. */
#include "fuzz_text.h"

#include "base/memory.h"
#include "io/formats/tokenizer_file.h"
#include "tensor/packed.h"
#include "text/buffer.h"
#include "text/byte_letters.h"
#include "text/utf8.h"

#include <stdio.h>
#include <string.h>

static const char *const texts[] = {
    "A red square, left of 12 blue ones.\r\n\r\n", "<|im_start|>user\n  don't<|im_end|></s>",
    "\xe4\xbd\xa0\xff\x80 \xf0\x9f\x99\x82 e\xcc\x81\xcc\xa7 \xe0\xa3\x8a", " ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

static text_buffer_t pieces; /* of all bytes, and an end of texts, as members of a vocabulary */

static void put(text_buffer_t *buffer, const char *text) {
  FUZZ_EXPECT(text_buffer_append_string(buffer, text) == STATUS_OK);
}

void fuzz_start(void) {
  for (int byte = 0; byte < 256; byte++) {
    char letter[8] = "", member[32];
    utf8_encode(byte_letter((unsigned char)byte), letter);
    const char *escape = *letter == '"' || *letter == '\\' ? "\\" : "";
    snprintf(member, sizeof member, "\"%s%s\":%d,", escape, letter, byte);
    put(&pieces, member);
  }
  put(&pieces, "\"</s>\":256");
}

static void use(const tokenizer_t *tokenizer) {
  int32_t size = tokenizer_size(tokenizer), ranges;
  const token_range_t *drawable = tokenizer_drawable(tokenizer, &ranges);
  const int32_t ids[] = {0,    tokenizer_bos(tokenizer), TOKEN_IMAGE, size - 1,
                         size, tokenizer_eos(tokenizer), 0xC3};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    fuzz_text_encode(tokenizer, texts[i]);
  fuzz_text_decode(tokenizer, ids, (int32_t)(sizeof ids / sizeof *ids));
  for (int32_t r = 0; r < ranges && r < 1000; r++) {
    const char *piece = tokenizer_piece(tokenizer, drawable[r].begin);
    FUZZ_EXPECT(piece != NULL && tokenizer_piece_id(tokenizer, piece) == drawable[r].begin);
  }
}

static void try_file(const void *bytes, size_t n) {
  tokenizer_t *tokenizer;
  if (tokenizer_create(bytes, n, &tokenizer) == STATUS_OK) {
    use(tokenizer);
    tokenizer_free(tokenizer);
  }
  error_clear();
}

/* The next line of *REST; STANDARD where it is empty. */
static void put_line(text_buffer_t *file, text_view_t *rest, const char *before, const char *standard) {
  size_t end = text_find(*rest, "\n", 0);
  put(file, before);
  if (end == 0)
    put(file, standard);
  else
    FUZZ_EXPECT(text_buffer_append(file, text_slice(*rest, 0, end)) == STATUS_OK);
  *rest = text_slice(*rest, end + 1, rest->n);
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  if (n == 0 || bytes[0] != 'L') {
    try_file(bytes, n);
    return;
  }
  text_buffer_t file = {0};
  text_view_t rest = {(const char *)bytes + 1, n - 1};
  put(&file, "{\"model\":{\"vocab\":{");
  put(&file, pieces.bytes);
  put_line(&file, &rest, "", "");
  put_line(&file, &rest, "},\"merges\":[", "");
  put_line(&file, &rest, "]},\"added_tokens\":[", "");
  put_line(&file, &rest, "],\"normalizer\":", "{\"type\":\"NFC\"}");
  put_line(&file, &rest, ",\"pre_tokenizer\":", "{\"type\":\"ByteLevel\"}");
  put_line(&file, &rest, ",\"post_processor\":", "null");
  put(&file, "}");
  try_file(file.bytes, file.n);
  text_buffer_free(&file);
}
