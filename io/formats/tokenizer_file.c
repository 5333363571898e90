#include "io/formats/tokenizer_file.h"

#include "base/memory.h"
#include "io/file.h"
#include "io/formats/tokenizer_json.h"
#include "text/sentencepiece.h"

/* JSON white space, then '{'. A SentencePiece model begins with a line feed as well, but has the length of
 * its first piece after it. */
static int is_json(const char *bytes, size_t n) {
  size_t at = 0;
  while (at < n && (bytes[at] == ' ' || bytes[at] == '\t' || bytes[at] == '\n' || bytes[at] == '\r'))
    at++;
  return at < n && bytes[at] == '{';
}

const char *tokenizer_file_name(const void *bytes, size_t n) {
  return is_json(bytes, n) ? "tokenizer.json" : "tokenizer.model";
}

status_t tokenizer_create(const void *bytes, size_t n, tokenizer_t **out) {
  *out = NULL;
  return is_json(bytes, n) ? tokenizer_json_create(bytes, n, out) : sentencepiece_create(bytes, n, out);
}

status_t tokenizer_load(const char *path, tokenizer_t **out) {
  enum { MOST_BYTES = 1 << 30 };
  char *bytes = NULL;
  size_t n = 0;
  *out = NULL;
  status_code_t status = file_read(path, MOST_BYTES, &bytes, &n);
  if (status == STATUS_OK) status = tokenizer_create(bytes, n, out);
  memory_free(bytes);
  return status == STATUS_OK ? status : error_context(status, "while reading tokenizer '%s'", path);
}
