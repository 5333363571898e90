/* What the tests of text/ share: the small models of golden/make_text.py and make_bpe.py, and conversations
 * written as string lists. */
#ifndef TESTS_TEXT_TEXT_TEST_H
#define TESTS_TEXT_TEXT_TEST_H

#include "base/memory.h"
#include "io/formats/tokenizer_file.h"
#include "tensor/packed.h"
#include "text/conversation.h"
#include "text/sentencepiece.h"
#include "text/token_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { TURNS_MAX = 16 };

typedef struct {
  turn_t turns[TURNS_MAX];
  conversation_t conversation;
} talk_t;

/* The tokenizer golden/NAME. */
static inline tokenizer_t *load_golden(const char *name) {
  char path[1024];
  tokenizer_t *tokenizer;
  snprintf(path, sizeof path, TEST_SOURCE_DIR "/text/golden/%.100s", name);
  assert_int_equal(tokenizer_load(path, &tokenizer), STATUS_OK);
  return tokenizer;
}

static inline tokenizer_t *load_words(void) {
  return load_golden("words.model");
}

/* A model with pieces that reach over spaces. */
static inline tokenizer_t *load_over(void) {
  return load_golden("over.model");
}

/* A conversation of TEXTS (NULL ends them), the human first. */
static inline void talk_set(talk_t *talk, const char *const *texts) {
  int32_t count = 0;
  for (; texts[count]; count++) {
    assert_in_range(count, 0, TURNS_MAX - 1);
    talk->turns[count] = (turn_t){count % 2 ? TURN_GPT : TURN_HUMAN, text_view(texts[count])};
  }
  talk->conversation = (conversation_t){.turns = talk->turns, .count = count};
}
#define TALK(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Asserts that TEXT, which is freed, is EXPECTED. */
static inline void assert_text(text_buffer_t *text, const char *expected) {
  assert_non_null(text->bytes);
  assert_int_equal(text->n, strlen(text->bytes));
  assert_string_equal(text->bytes, expected);
  text_buffer_free(text);
}

/* Asserts that the tokens [BEGIN, END) of SEQUENCE are those of the pieces PIECES, in order; "<image>" is the
 * image place. */
static inline void assert_pieces(const tokenizer_t *tokenizer, const sequence_t *sequence, int32_t begin,
                                 int32_t end, const char *const *pieces) {
  int32_t i = 0;
  for (; pieces[i]; i++) {
    assert_in_range(begin + i, 0, end - 1);
    int32_t token = sequence->tokens[begin + i];
    assert_string_equal(token == TOKEN_IMAGE ? "<image>" : tokenizer_piece(tokenizer, token), pieces[i]);
  }
  assert_int_equal(begin + i, end);
}
#define PIECES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* First index at or after FROM with LEARNT; n if none. */
static inline int32_t find_learnt(const sequence_t *sequence, int32_t from, int learnt) {
  while (from < sequence->n && sequence->learnt[from] != learnt)
    from++;
  return from;
}

#endif
