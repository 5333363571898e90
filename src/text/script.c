#include "text/script.h"

#include "base/memory.h"
#include "tensor/packed.h"

#include <string.h>

static status_t script_begin_span(script_spans_t *spans, size_t at) {
  if (spans->count == spans->capacity) {
    int32_t capacity = 2 * spans->capacity + 4;
    TRY(memory_resize(&spans->spans, ARENA_DATA, (size_t)capacity, sizeof *spans->spans));
    spans->capacity = capacity;
  }
  spans->spans[spans->count++] = (script_span_t){at, at};
  return STATUS_OK;
}

status_t script_begin_answer(script_t *script) {
  return script_begin_span(&script->answers, script->text.n);
}

void script_end_answer(script_t *script) {
  script->answers.spans[script->answers.count - 1].end = script->text.n;
}

status_t script_append_image(script_t *script) {
  TRY(script_begin_span(&script->images, script->text.n));
  TRY(text_buffer_append_string(&script->text, IMAGE_MARK));
  script->images.spans[script->images.count - 1].end = script->text.n;
  return STATUS_OK;
}

void script_free(script_t *script) {
  text_buffer_free(&script->text);
  memory_free(script->answers.spans);
  memory_free(script->images.spans);
  *script = (script_t){0};
}

/* Where the scanner stands: ANSWER is the first that does not end at or before AT, IMAGE the next one. */
typedef struct {
  const tokenizer_t *tokenizer;
  const script_t *script;
  size_t at;
  int32_t answer, image;
} scanner_t;

/* The answer that the scanner is in or comes to; NULL if none. */
static const script_span_t *next_answer(const scanner_t *scanner) {
  const script_spans_t *answers = &scanner->script->answers;
  return scanner->answer < answers->count ? &answers->spans[scanner->answer] : NULL;
}

static const script_span_t *next_image(const scanner_t *scanner) {
  const script_spans_t *images = &scanner->script->images;
  return scanner->image < images->count ? &images->spans[scanner->image] : NULL;
}

/* Number of tokens that A (N) and B (M) share from the start. */
static int32_t common_prefix(const int32_t *a, int32_t n, const int32_t *b, int32_t m) {
  int32_t count = 0;
  while (count < n && count < m && a[count] == b[count])
    count++;
  return count;
}

/* Tokens of IDS (N), the tokens of the piece, that belong to its first PROMPT bytes. */
static status_t prompt_tokens(const scanner_t *scanner, const char *piece, size_t prompt, const int32_t *ids,
                              int32_t n, int32_t *count) {
  int32_t *alone = NULL, alone_count = 0;
  TRY(tokenizer_encode(scanner->tokenizer, piece, prompt, &alone, &alone_count));
  *count = common_prefix(ids, n, alone, alone_count);
  memory_free(alone);
  return STATUS_OK;
}

static status_t script_append_ids(const scanner_t *scanner, size_t end, const int32_t *ids, int32_t n,
                                  sequence_t *sequence) {
  const script_span_t *answer = next_answer(scanner);
  int32_t prompt = n;
  if (answer && answer->begin <= scanner->at)
    prompt = 0;
  else if (answer && answer->begin < end)
    TRY(prompt_tokens(scanner, scanner->script->text.bytes + scanner->at, answer->begin - scanner->at, ids, n,
                      &prompt));
  TRY(sequence_append(sequence, ids, prompt, false));
  return sequence_append(sequence, ids + prompt, n - prompt, true);
}

/* The piece from the scanner to END has no image. It may go from prompt to answer once; from answer to prompt
 * only at its end. */
static status_t script_append_piece(scanner_t *scanner, size_t end, sequence_t *sequence) {
  int32_t *ids = NULL, n = 0;
  if (scanner->at < end) {
    TRY(tokenizer_encode(scanner->tokenizer, scanner->script->text.bytes + scanner->at, end - scanner->at,
                         &ids, &n));
    status_code_t status = script_append_ids(scanner, end, ids, n, sequence);
    memory_free(ids);
    if (status != STATUS_OK) return status;
  }
  scanner->at = end;
  const script_span_t *answer = next_answer(scanner);
  if (answer && answer->end <= end) scanner->answer++;
  return STATUS_OK;
}

status_t script_tokenise(const tokenizer_t *tokenizer, const script_t *script, sequence_t *sequence) {
  scanner_t scanner = {.tokenizer = tokenizer, .script = script};
  int32_t bos = tokenizer_bos(tokenizer), image = TOKEN_IMAGE;
  if (bos >= 0) TRY(sequence_append(sequence, &bos, 1, false));
  while (scanner.at < script->text.n) {
    const script_span_t *answer = next_answer(&scanner), *place = next_image(&scanner);
    if (place && place->begin == scanner.at) {
      TRY(sequence_append(sequence, &image, 1, false));
      scanner.at = place->end;
      scanner.image++;
      continue;
    }
    size_t end = script->text.n;
    if (answer && answer->end < end) end = answer->end;
    if (place && place->begin < end) end = place->begin;
    TRY(script_append_piece(&scanner, end, sequence));
  }
  return STATUS_OK;
}
