/* Byte-level BPE beside the tokenizers library (golden/make_bpe.py): ids, texts, what may be drawn, long
 * words, any bytes. */
#include "text_test.h"

#include "base/random.h"

#include <stdlib.h>

static int digit(char c) {
  return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Reads hexadecimal bytes, then ids, from AT, which they fill. */
static void read_case(const char *at, text_buffer_t *bytes, token_list_t *ids) {
  for (; *at != ' '; at += 2) {
    char byte = (char)(digit(at[0]) * 16 + digit(at[1]));
    assert_int_equal(text_buffer_append(bytes, (text_view_t){&byte, 1}), STATUS_OK);
  }
  char *end;
  for (long id = strtol(at, &end, 10); end != at; id = strtol(at, &end, 10)) {
    assert_int_equal(token_list_append(ids, (int32_t)id), STATUS_OK);
    at = end;
  }
}

static void check_ids(const tokenizer_t *tokenizer, const text_buffer_t *bytes,
                      const token_list_t *expected) {
  int32_t *ids, n;
  assert_int_equal(tokenizer_encode(tokenizer, bytes->bytes, bytes->n, &ids, &n), STATUS_OK);
  assert_int_equal(n, expected->n);
  if (n > 0) assert_memory_equal(ids, expected->ids, (size_t)n * sizeof *ids);
  memory_free(ids);
}

static void check_text(const tokenizer_t *tokenizer, const text_buffer_t *expected, const token_list_t *ids) {
  char *text;
  size_t n;
  assert_int_equal(tokenizer_decode(tokenizer, ids->ids, ids->n, &text, &n), STATUS_OK);
  assert_int_equal(n, expected->n);
  if (n > 0) assert_memory_equal(text, expected->bytes, n);
  memory_free(text);
}

static void test_ids_of_the_library(void **state) {
  (void)state;
  FILE *file = fopen(TEST_SOURCE_DIR "/text/golden/bpe_ids.txt", "r");
  tokenizer_t *tokenizer = NULL;
  char line[4096];
  int shapes = 0, cases = 0;
  assert_non_null(file);
  while (fgets(line, sizeof line, file)) {
    text_buffer_t bytes = {0};
    token_list_t ids = {0};
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "shape ", 6) == 0) {
      tokenizer_free(tokenizer);
      tokenizer = load_golden(line + 6);
      shapes++;
      continue;
    }
    bool text = strncmp(line, "text ", 5) == 0;
    read_case(line + (text ? 5 : 4), &bytes, &ids);
    text ? check_ids(tokenizer, &bytes, &ids) : check_text(tokenizer, &bytes, &ids);
    cases++;
    text_buffer_free(&bytes);
    memory_free(ids.ids);
  }
  fclose(file);
  tokenizer_free(tokenizer);
  assert_int_equal(shapes, 7);
  assert_in_range(cases, 500, 1000);
}

static bool drawable(const tokenizer_t *tokenizer, int32_t id) {
  int32_t count;
  const token_range_t *ranges = tokenizer_drawable(tokenizer, &count);
  for (int32_t r = 0; r < count; r++) {
    assert_true(ranges[r].begin < ranges[r].end);
    if (r > 0) assert_true(ranges[r - 1].end < ranges[r].begin);
    if (id >= ranges[r].begin && id < ranges[r].end) return true;
  }
  return false;
}

/* BOS, placeholders and ids without a piece are never drawn; all else may be. */
static void test_what_may_be_drawn(void **state) {
  (void)state;
  tokenizer_t *qwen = load_golden("bpe_qwen2.json"), *llama = load_golden("bpe_llama3.json"),
              *sparse = load_golden("bpe_sparse.json");
  int32_t absent = 0;
  int32_t pad = tokenizer_piece_id(qwen, "<|image_pad|>");
  assert_int_equal(pad, tokenizer_size(qwen) - 1);
  for (int32_t id = 0; id < tokenizer_size(qwen); id++)
    assert_int_equal(drawable(qwen, id), id != pad);
  for (int32_t id = 0; id < tokenizer_size(sparse); id++) {
    assert_int_equal(drawable(sparse, id), tokenizer_piece(sparse, id) != NULL);
    absent += tokenizer_piece(sparse, id) == NULL;
  }
  assert_int_equal(absent, 3);
  assert_int_equal(tokenizer_bos(qwen), -1);
  assert_string_equal(tokenizer_piece(qwen, tokenizer_eos(qwen)), "<|endoftext|>");
  assert_string_equal(tokenizer_piece(llama, tokenizer_bos(llama)), "<|begin_of_text|>");
  for (int32_t id = 0; id < tokenizer_size(llama); id++)
    assert_int_equal(drawable(llama, id), id != tokenizer_bos(llama));
  tokenizer_free(qwen);
  tokenizer_free(llama);
  tokenizer_free(sparse);
}

/* In a text a placeholder is a word. */
static void test_placeholders_are_text(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_golden("bpe_qwen2.json");
  int32_t *ids, n;
  char *text;
  assert_int_equal(tokenizer_encode(tokenizer, "a <|image_pad|>", 15, &ids, &n), STATUS_OK);
  for (int32_t i = 0; i < n; i++)
    assert_true(drawable(tokenizer, ids[i]));
  assert_int_equal(tokenizer_decode(tokenizer, ids, n, &text, NULL), STATUS_OK);
  assert_string_equal(text, "a <|image_pad|>");
  memory_free(text);
  memory_free(ids);
  tokenizer_free(tokenizer);
}

/* Words beyond those that are looked through again and again have the ids of the same rule: what long and
 * short ways have in common is tried on words of one letter, which merge in pairs of pairs. */
static void test_long_words(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_golden("bpe_qwen2.json");
  enum { LONG = 1 << 20 };
  char *word = malloc(LONG);
  const char part[] = "starcirclenotthere";
  for (size_t i = 0; i < LONG; i++)
    word[i] = part[i % (sizeof part - 1)];
  int32_t *ids, n, *short_ids, short_n;
  assert_int_equal(tokenizer_encode(tokenizer, word, LONG, &ids, &n), STATUS_OK);
  assert_int_equal(tokenizer_encode(tokenizer, word, 60, &short_ids, &short_n), STATUS_OK);
  assert_in_range(short_n, 3, 59);
  assert_memory_equal(ids, short_ids, (size_t)(short_n - 2) * sizeof *ids);
  char *back;
  size_t length;
  assert_int_equal(tokenizer_decode(tokenizer, ids, n, &back, &length), STATUS_OK);
  assert_int_equal(length, LONG);
  assert_memory_equal(back, word, LONG);
  memory_free(back);
  memory_free(ids);
  memory_free(short_ids);
  memset(word, ' ', LONG); /* and megabytes of white space before a letter */
  word[LONG - 1] = 'x';
  assert_int_equal(tokenizer_encode(tokenizer, word, LONG, &ids, &n), STATUS_OK);
  assert_true(n > 0);
  memory_free(ids);
  free(word);
  tokenizer_free(tokenizer);
}

/* Any bytes are tokenised; what comes back is what Python makes of them, but for 0, which would end a text.
 */
static void test_any_bytes(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_golden("bpe_smollm2.json");
  random_stream_t stream = random_stream(1, RANDOM_TEST, 0);
  for (int round = 0; round < 500; round++) {
    char text[64], *back;
    int32_t *ids, n;
    size_t m;
    uint32_t length = random_below(&stream, sizeof text);
    for (uint32_t i = 0; i < length; i++)
      text[i] = (char)random_below(&stream, 256);
    assert_int_equal(tokenizer_encode(tokenizer, text, length, &ids, &n), STATUS_OK);
    for (uint32_t i = 0; i < length; i++)
      if (text[i] == '\0') text[i] = '\xFF';
    text_buffer_t expected = {0};
    assert_int_equal(text_buffer_append_repaired(&expected, (text_view_t){text, length}), STATUS_OK);
    assert_true(text_is_utf8(text_buffer_view(&expected), NULL));
    assert_int_equal(tokenizer_decode(tokenizer, ids, n, &back, &m), STATUS_OK);
    assert_int_equal(m, expected.n);
    assert_string_equal(back, expected.bytes);
    text_buffer_free(&expected);
    memory_free(ids);
    memory_free(back);
  }
  tokenizer_free(tokenizer);
}

static void test_repair(void **state) {
  (void)state;
  static const struct {
    const char *broken, *expected;
  } cases[] = {{"a\xF0\x9F\x98z", "a\uFFFDz"},
               {"\xE0\x80\xAF", "\uFFFD\uFFFD\uFFFD"},
               {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
               {"\xC0\xAF", "\uFFFD\uFFFD"},
               {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
               {"\xE2\x82", "\uFFFD"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    text_buffer_t text = {0};
    assert_int_equal(text_buffer_append_repaired(&text, text_view(cases[i].broken)), STATUS_OK);
    assert_text(&text, cases[i].expected);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ids_of_the_library),
      cmocka_unit_test(test_what_may_be_drawn),
      cmocka_unit_test(test_placeholders_are_text),
      cmocka_unit_test(test_long_words),
      cmocka_unit_test(test_any_bytes),
      cmocka_unit_test(test_repair),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
