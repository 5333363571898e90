#include "text/script.h"

#include "base/memory.h"
#include "tensor/packed.h"

#include <string.h>

status_t script_begin_answer(script_t *script) {
  if (script->count == script->capacity) {
    int32_t capacity = 2 * script->capacity + 4;
    TRY(memory_resize(&script->answers, ARENA_DATA, (size_t)capacity, sizeof *script->answers));
    script->capacity = capacity;
  }
  script->answers[script->count++] = (script_span_t){script->text.n, script->text.n};
  return STATUS_OK;
}

void script_end_answer(script_t *script) {
  script->answers[script->count - 1].end = script->text.n;
}

void script_free(script_t *script) {
  text_buffer_free(&script->text);
  memory_free(script->answers);
  *script = (script_t){0};
}

/* Where the scanner stands: SPAN is the first answer that does not end at or before AT. */
typedef struct {
  const tokenizer_t *tokenizer;
  const script_t *script;
  size_t at;
  int32_t span;
} scanner_t;

static bool learnt_at(scanner_t *scanner, size_t at) {
  const script_t *script = scanner->script;
  while (scanner->span < script->count && script->answers[scanner->span].end <= at)
    scanner->span++;
  return scanner->span < script->count && script->answers[scanner->span].begin <= at;
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

static status_t script_append_ids(scanner_t *scanner, size_t begin, size_t end, const int32_t *ids, int32_t n,
                                  sequence_t *sequence) {
  const script_t *script = scanner->script;
  const char *piece = script->text.bytes + begin;
  if (learnt_at(scanner, begin)) return sequence_append(sequence, ids, n, true);
  bool answered = scanner->span < script->count && script->answers[scanner->span].begin < end;
  int32_t prompt = n;
  if (answered)
    TRY(prompt_tokens(scanner, piece, script->answers[scanner->span].begin - begin, ids, n, &prompt));
  TRY(sequence_append(sequence, ids, prompt, false));
  return sequence_append(sequence, ids + prompt, n - prompt, true);
}

/* The piece [BEGIN, END) holds no mark. It may go from prompt to answer once; from answer to prompt only at a
 * mark, where a piece ends anyway. */
static status_t script_append_piece(scanner_t *scanner, size_t begin, size_t end, sequence_t *sequence) {
  if (begin == end) return STATUS_OK;
  int32_t *ids = NULL, n = 0;
  TRY(tokenizer_encode(scanner->tokenizer, scanner->script->text.bytes + begin, end - begin, &ids, &n));
  status_code_t status = script_append_ids(scanner, begin, end, ids, n, sequence);
  memory_free(ids);
  return status;
}

status_t script_tokenise(const tokenizer_t *tokenizer, const script_t *script, sequence_t *sequence) {
  scanner_t scanner = {.tokenizer = tokenizer, .script = script};
  text_view_t text = text_buffer_view(&script->text);
  int32_t bos = tokenizer_bos(tokenizer), eos = tokenizer_eos(tokenizer), image = TOKEN_IMAGE;
  size_t next_image = text_find(text, IMAGE_MARK, 0), next_end = text_find(text, END_MARK, 0);
  TRY(sequence_append(sequence, &bos, 1, false));
  while (scanner.at < text.n) {
    size_t mark = next_image < next_end ? next_image : next_end;
    TRY(script_append_piece(&scanner, scanner.at, mark, sequence));
    scanner.at = mark;
    if (mark == text.n) break;
    if (mark == next_image) {
      TRY(sequence_append(sequence, &image, 1, false));
      scanner.at += strlen(IMAGE_MARK);
      next_image = text_find(text, IMAGE_MARK, scanner.at);
    } else {
      TRY(sequence_append(sequence, &eos, 1, learnt_at(&scanner, mark)));
      scanner.at += strlen(END_MARK);
      next_end = text_find(text, END_MARK, scanner.at);
    }
  }
  return STATUS_OK;
}
