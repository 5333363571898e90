/* tokenizer.json: what is read alike, and what is refused by name. Ids are tests/text/test_bpe.c's. */
#include "base/memory.h"
#include "io/file.h"
#include "io/formats/tokenizer_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The file golden/NAME; the caller frees it with memory_free. */
static char *golden(const char *name) {
  char path[1024], *text;
  snprintf(path, sizeof path, TEST_SOURCE_DIR "/text/golden/%.100s", name);
  assert_int_equal(file_read(path, 1 << 20, &text, NULL), STATUS_OK);
  return text;
}

/* TEXT with the first FROM replaced by TO. */
static char *replaced(const char *text, const char *from, const char *to) {
  char *out;
  const char *at = strstr(text, from);
  if (!at) fail_msg("no '%s' in the file", from);
  assert_int_equal(memory_alloc(&out, ARENA_OTHER, strlen(text) + strlen(to) + 1, 1), STATUS_OK);
  snprintf(out, strlen(text) + strlen(to) + 1, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  return out;
}

static void assert_refused(const char *text, const char *hint) {
  tokenizer_t *tokenizer;
  assert_int_equal(tokenizer_create(text, strlen(text), &tokenizer), STATUS_DATA);
  assert_null(tokenizer);
  if (!strstr(error_message(), hint)) fail_msg("'%s' is not in: %s", hint, error_message());
}

static void test_what_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *from, *to, *hint;
  } cases[] = {
      {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", "Unigram"},
      {"\"byte_fallback\":false", "\"byte_fallback\":true", "tokenizer.model"},
      {"\"dropout\":null", "\"dropout\":0.1", "dropout"},
      {"\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"", "end_of_word_suffix"},
      {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}", "Lowercase"},
      {"\"Isolated\"", "\"MergedWithNext\"", "MergedWithNext"},
      {"\"type\":\"Split\"", "\"type\":\"Metaspace\"", "Metaspace"},
      {"\"TemplateProcessing\"", "\"RobertaProcessing\"", "RobertaProcessing"},
      {"{\"Sequence\":{\"id\":\"A\"", "{\"SpecialToken\":{\"id\":\"x\"}},{\"Sequence\":{\"id\":\"A\"",
       "single"},
      {"\"id\":\"<|begin_of_text|>\",\"type_id\":0}", "\"id\":\"<|absent|>\",\"type_id\":0}", "<|absent|>"},
      {"\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"WordPiece\"", "WordPiece"},
      {"{1,3}", "{1,3}+", "a count"},
      {"\\\\s+(?!\\\\S)", "(?:a+)+", "a repeated group"},
      {"\\\\s+(?!\\\\S)", "x.", "one of . ^ $"},
      {"\\\\s+(?!\\\\S)", "\\\\bx", "an escape"},
      {"\\\\s+(?!\\\\S)", "\\\\p{Greek}", "general category"},
      {"\\\\s+(?!\\\\S)", "[a&&b]", "an intersection"},
      {"\\\\s+(?!\\\\S)", "[z-a]", "not valid"},
      {"\\\\s+(?!\\\\S)", "(?<n>a)", "a group of another kind"},
      {"\\\\s+(?!\\\\S)", "(a", "a group without end"},
      {"\"!\":0,", "\"!q!\":0,", "0x21 has no piece"},
      {"\"unk_token\":null", "\"unk_token\":7", "unk_token"},
      {"\"!\":0,", "\"!\":1,", "the same id 1"},
      {"\"!\":0,", "\"!\":-1,", "'!' has no id"},
      {"\"!\":0,", "\"!\":4194304,", "'!' has no id"},
      {"\"!\":0,", "\"!\":\"0\",", "'!' has no id"},
      {"\"merges\":[", "\"merges\":[\"a\",", "two pieces with a space"},
      {"\"merges\":[", "\"merges\":[\"a b c\",", "two pieces with a space"},
      {"\"merges\":[", "\"merges\":[[\"a\"],", "expected two pieces"},
      {"\"merges\":[", "\"merges\":[\"q zz\",", "pieces of the vocabulary"},
      {"\"merges\":[", "\"merges\":[\"q q\",", "pieces of the vocabulary"},
      {"\"merges\":[", "\"merges\":[7,", "expected texts"},
      {"\"content\":\"<|end_of_text|>\"", "\"content\":\"\"", "is empty"},
      {"\"content\":\"<|end_of_text|>\"", "\"content\":\"!\"", "has the ids"},
      {"\"content\":\"<|end_of_text|>\"", "\"content\":\"<|eot_id|>\"", "has the ids"},
      {"\"id\":467,\"content\"", "\"id\":900,\"content\"", "gives it 467"},
      {"\"id\":470,\"content\"", "\"id\":5,\"content\"", "the same id 5"},
      {"\"!\":0,", "\"!\":0,\"!q!\":5000,", "gives it 467"},
  };
  char *good = golden("bpe_llama3.json");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *bad = replaced(good, cases[i].from, cases[i].to);
    assert_refused(bad, cases[i].hint);
    memory_free(bad);
  }
  memory_free(good);
}

/* "</s>" may be a word like others, as in Qwen2's vocabulary: what ends a text is a special token. */
static void test_the_end_is_special(void **state) {
  (void)state;
  tokenizer_t *tokenizer;
  char *text = golden("bpe_qwen2.json"), *with = replaced(text, "\"<tool_call>\"", "\"</s>\"");
  assert_int_equal(tokenizer_create(with, strlen(with), &tokenizer), STATUS_OK);
  assert_true(tokenizer_piece_id(tokenizer, "</s>") == 467);
  assert_string_equal(tokenizer_piece(tokenizer, tokenizer_eos(tokenizer)), "<|endoftext|>");
  tokenizer_free(tokenizer);
  memory_free(with);
  memory_free(text);
}

/* A file that is cut anywhere is an error, and so is one without what a tokenizer needs. */
static void test_cut_files(void **state) {
  (void)state;
  char *good = golden("bpe_smollm2.json");
  tokenizer_t *tokenizer;
  size_t n = strlen(good);
  for (size_t i = 0; i < n; i += 1 + n / 200) {
    assert_int_equal(tokenizer_create(good, i, &tokenizer), STATUS_DATA);
    assert_null(tokenizer);
  }
  assert_refused("{}", "model");
  assert_refused("{\"model\":{\"vocab\":[],\"merges\":{}}}", "vocab");
  assert_refused("[]", "SentencePiece");
  memory_free(good);
}

/* Texts of megabytes where short ones are expected take their time in proportion. */
static void test_long_texts(void **state) {
  (void)state;
  enum { LONG = 10 << 20 };
  char *good = golden("bpe_sparse.json"), *word = malloc(LONG + 1), *to = malloc(LONG + 64), *bad;
  tokenizer_t *tokenizer;
  memset(word, 'a', LONG);
  word[LONG] = '\0';
  snprintf(to, LONG + 64, "\"%s\":4000,\"!\":0,", word); /* a piece */
  bad = replaced(good, "\"!\":0,", to);
  assert_int_equal(tokenizer_create(bad, strlen(bad), &tokenizer), STATUS_OK);
  assert_int_equal(tokenizer_size(tokenizer), 4001);
  tokenizer_free(tokenizer);
  memory_free(bad);
  snprintf(to, LONG + 64, "\"merges\":[[\"a\",\"%s\"],", word);
  bad = replaced(good, "\"merges\":[", to);
  assert_refused(bad, "pieces of the vocabulary");
  memory_free(bad);
  free(word);
  free(to);
  memory_free(good);
}

/* The kind shows in the content: white space may come first, and the file's bytes are kept as they are. */
static void test_told_by_content(void **state) {
  (void)state;
  char *good = golden("bpe_gpt2.json"), *spaced;
  tokenizer_t *tokenizer;
  size_t n;
  assert_int_equal(memory_alloc(&spaced, ARENA_OTHER, strlen(good) + 8, 1), STATUS_OK);
  snprintf(spaced, strlen(good) + 8, " \n\t\r%s", good);
  assert_int_equal(tokenizer_create(spaced, strlen(spaced), &tokenizer), STATUS_OK);
  const void *bytes = tokenizer_bytes(tokenizer, &n);
  assert_int_equal(n, strlen(spaced));
  assert_memory_equal(bytes, spaced, n);
  tokenizer_free(tokenizer);
  memory_free(spaced);
  memory_free(good);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_is_refused), cmocka_unit_test(test_the_end_is_special),
      cmocka_unit_test(test_cut_files),       cmocka_unit_test(test_long_texts),
      cmocka_unit_test(test_told_by_content),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
