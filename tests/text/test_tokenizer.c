/* The wrapper around SentencePiece: training, loading, tokenising, decoding, and what must be refused. */
#define _GNU_SOURCE /* memmem */
#include "text_test.h"

#include "base/random.h"

#include <stdlib.h>
#include <unistd.h>

/* A world of few words, said several times. */
static const char *const world[] = {
    "Is there a red circle in the image? Yes, there is a red circle.",
    "What is left of the blue square? A small green star is left of the blue square.",
    "There is no triangle. How many stars are there? There are two stars.",
    "USER: Describe the image. ASSISTANT: A large red circle and a small green star.",
    " ? the red circle ? the blue square ? the green star ?",
};
enum { WORLD = sizeof world / sizeof *world };

static bool next_text(void *context, const char **text, size_t *n) {
  int *at = context;
  if (*at == 4 * WORLD) return false;
  *text = world[(*at)++ % WORLD];
  *n = strlen(*text);
  return true;
}

static tokenizer_t *train(int32_t vocab_size, bool byte_fallback) {
  tokenizer_t *tokenizer;
  tokenizer_training_t training = {vocab_size, byte_fallback};
  int at = 0;
  assert_int_equal(tokenizer_train(&training, next_text, &at, &tokenizer), STATUS_OK);
  return tokenizer;
}

static void assert_one_piece(const tokenizer_t *tokenizer, const char *word) {
  int32_t *ids, n;
  assert_int_equal(tokenizer_encode(tokenizer, word, strlen(word), &ids, &n), STATUS_OK);
  assert_int_equal(n, 1);
  memory_free(ids);
}

static void test_words_become_single_pieces(void **state) {
  (void)state;
  tokenizer_t *tokenizer = train(4000, true);
  assert_int_equal(tokenizer_bos(tokenizer), 1);
  assert_int_equal(tokenizer_eos(tokenizer), 2);
  assert_in_range(tokenizer_size(tokenizer), 259 + 20, 3999);
  const char *const words[] = {"red",      "circle", "square",    "Describe", "image",
                               "triangle", "USER",   "ASSISTANT", "?"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    assert_one_piece(tokenizer, words[i]);
  assert_true(tokenizer_piece_id(tokenizer, "\u2581?") > 2);
  assert_true(tokenizer_piece_id(tokenizer, "?") > 2);
  assert_int_equal(tokenizer_piece_id(tokenizer, "zebra"), -1);
  assert_int_equal(tokenizer_piece_id(tokenizer, "<unk>"), 0);
  tokenizer_free(tokenizer);
}

static void test_training_is_deterministic(void **state) {
  (void)state;
  tokenizer_t *a = train(400, true), *b = train(400, true);
  size_t n, m;
  const void *x = tokenizer_bytes(a, &n), *y = tokenizer_bytes(b, &m);
  assert_int_equal(tokenizer_size(a), 400);
  assert_int_equal(n, m);
  assert_memory_equal(x, y, n);
  tokenizer_free(a);
  tokenizer_free(b);
}

static bool no_text(void *context, const char **text, size_t *n) {
  (void)context, (void)text, (void)n;
  return false;
}

static void test_training_refuses(void **state) {
  (void)state;
  tokenizer_t *tokenizer;
  int at = 0;
  assert_int_equal(tokenizer_train(&(tokenizer_training_t){100, false}, no_text, NULL, &tokenizer),
                   STATUS_INPUT);
  assert_null(tokenizer);
  assert_int_equal(tokenizer_train(&(tokenizer_training_t){5, false}, next_text, &at, &tokenizer),
                   STATUS_INPUT);
  at = 0;
  assert_int_equal(tokenizer_train(&(tokenizer_training_t){-5, true}, next_text, &at, &tokenizer),
                   STATUS_INPUT);
  assert_null(tokenizer);
}

static void assert_round_trip(const tokenizer_t *tokenizer, const char *text) {
  int32_t *ids, n;
  char *back;
  size_t length;
  assert_int_equal(tokenizer_encode(tokenizer, text, strlen(text), &ids, &n), STATUS_OK);
  assert_int_equal(tokenizer_decode(tokenizer, ids, n, &back, &length), STATUS_OK);
  assert_int_equal(length, strlen(text));
  assert_string_equal(back, text);
  memory_free(back);
  memory_free(ids);
}

static void test_round_trip(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  const char *const texts[] = {"A red circle.",        "two\nlines\n", "  spaces  kept ",
                               "\u00dcber \U0001f600", "<s",           ""};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    assert_round_trip(tokenizer, texts[i]);
  tokenizer_free(tokenizer);
}

/* As transformers: a special token that the text spells is its id, and what follows it gets a dummy prefix of
 * its own.
 */
static void test_special_tokens_in_text(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  int32_t *ids, n;
  assert_int_equal(tokenizer_encode(tokenizer, "star</s>star<s><unk> star", 25, &ids, &n), STATUS_OK);
  int32_t star = tokenizer_piece_id(tokenizer, "\u2581star"), space = tokenizer_piece_id(tokenizer, "\u2581");
  const int32_t expected[] = {star, 2, star, 1, 0, space, star};
  assert_int_equal(n, 7);
  assert_memory_equal(ids, expected, sizeof expected);
  memory_free(ids);
  tokenizer_free(tokenizer);
}

static void test_decode_of_special_ids(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  int32_t star = tokenizer_piece_id(tokenizer, "\u2581star");
  assert_true(star > 0);
  int32_t ids[] = {1, star, 2, TOKEN_IMAGE, star, star, 9999, -7};
  char *text;
  assert_int_equal(tokenizer_decode(tokenizer, ids, 8, &text, NULL), STATUS_OK);
  assert_string_equal(text, "star<image>star star\uFFFD\uFFFD");
  memory_free(text);
  int32_t half = tokenizer_piece_id(tokenizer, "<0xC3>"); /* half a character */
  assert_int_equal(tokenizer_decode(tokenizer, &half, 1, &text, NULL), STATUS_OK);
  assert_true(text_is_utf8(text_view(text), NULL));
  memory_free(text);
  tokenizer_free(tokenizer);
}

static void test_bytes_make_the_same_tokenizer(void **state) {
  (void)state;
  tokenizer_t *a = load_words(), *b, *c;
  size_t n;
  const void *bytes = tokenizer_bytes(a, &n);
  assert_int_equal(tokenizer_create(bytes, n, &b), STATUS_OK);
  assert_int_equal(tokenizer_size(a), tokenizer_size(b));
  char path[] = "/tmp/test_tokenizer_XXXXXX";
  int file = mkstemp(path);
  assert_true(file >= 0);
  assert_int_equal(write(file, bytes, n), n);
  close(file);
  assert_int_equal(tokenizer_load(path, &c), STATUS_OK);
  size_t m;
  assert_memory_equal(tokenizer_bytes(c, &m), bytes, n);
  assert_int_equal(n, m);
  unlink(path);
  tokenizer_free(a);
  tokenizer_free(b);
  tokenizer_free(c);
}

static void test_broken_models_are_refused(void **state) {
  (void)state;
  tokenizer_t *good = load_words(), *bad = NULL;
  size_t n;
  const char *bytes = tokenizer_bytes(good, &n);
  assert_int_equal(tokenizer_create("", 0, &bad), STATUS_DATA);
  assert_int_equal(tokenizer_create("no model", 8, &bad), STATUS_DATA);
  assert_int_equal(tokenizer_create(bytes, n / 2, &bad), STATUS_DATA);
  assert_int_equal(tokenizer_load("/nonexistent/tokenizer.model", &bad), STATUS_DATA);
  assert_non_null(strstr(error_message(), "/nonexistent/tokenizer.model"));
  assert_int_equal(tokenizer_create("  {", 3, &bad), STATUS_DATA);
  assert_int_equal(tokenizer_load("/tmp", &bad), STATUS_DATA);
  assert_int_equal(tokenizer_load("/dev/zero", &bad), STATUS_DATA); /* it has no end */
  assert_null(bad);
  tokenizer_free(good);
  tokenizer_free(NULL);
}

/* A model may spell a piece in any bytes; each that is not UTF-8 becomes U+FFFD. */
static void test_pieces_of_any_bytes(void **state) {
  (void)state;
  tokenizer_t *good = load_words(), *odd;
  size_t n, m;
  char *bytes, *place, *text;
  int32_t id = tokenizer_piece_id(good, "\u2581circle");
  const void *model = tokenizer_bytes(good, &n);
  assert_true(id > 0);
  assert_int_equal(memory_copy_text(&bytes, ARENA_OTHER, model, n), STATUS_OK);
  place = memmem(bytes, n, "\u2581circle", strlen("\u2581circle"));
  assert_non_null(place);
  memcpy(place + strlen("\u2581ci"), "\x80\xe2", 2);
  assert_int_equal(tokenizer_create(bytes, n, &odd), STATUS_OK);
  assert_int_equal(tokenizer_decode(odd, &id, 1, &text, &m), STATUS_OK);
  assert_string_equal(text, "ci\uFFFD\uFFFDle");
  memory_free(text);
  memory_free(bytes);
  tokenizer_free(good);
  tokenizer_free(odd);
}

/* Any bytes are tokenised; what comes back is UTF-8 that no 0 ends early. */
static void test_any_bytes(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  random_stream_t stream = random_stream(1, RANDOM_TEST, 0);
  for (int round = 0; round < 200; round++) {
    char text[64];
    uint32_t length = random_below(&stream, sizeof text);
    for (uint32_t i = 0; i < length; i++)
      text[i] = (char)random_below(&stream, 256);
    int32_t *ids, n;
    char *back;
    size_t m;
    assert_int_equal(tokenizer_encode(tokenizer, text, length, &ids, &n), STATUS_OK);
    assert_int_equal(tokenizer_decode(tokenizer, ids, n, &back, &m), STATUS_OK);
    assert_true(text_is_utf8((text_view_t){back, m}, NULL));
    assert_int_equal(strlen(back), m);
    memory_free(ids);
    memory_free(back);
  }
  tokenizer_free(tokenizer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_words_become_single_pieces),
      cmocka_unit_test(test_training_is_deterministic),
      cmocka_unit_test(test_training_refuses),
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_special_tokens_in_text),
      cmocka_unit_test(test_decode_of_special_ids),
      cmocka_unit_test(test_bytes_make_the_same_tokenizer),
      cmocka_unit_test(test_broken_models_are_refused),
      cmocka_unit_test(test_pieces_of_any_bytes),
      cmocka_unit_test(test_any_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
