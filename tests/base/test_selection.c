/* Selections against a plain list of what is chosen. */
#include "base/selection.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Around a word, a block of words, several of those. */
static const int64_t sizes[] = {1, 2, 63, 64, 65, 127, 128, 1023, 1024, 1025, 5000};
enum { SIZES = sizeof sizes / sizeof *sizes };

typedef bool (*chooses_t)(int64_t i, int64_t n);

static void check(int64_t n, chooses_t chooses) {
  selection_t selection;
  int64_t count = 0;
  assert_int_equal(selection_create(ARENA_DATA, n, &selection), STATUS_OK);
  for (int64_t i = 0; i < n; i++)
    if (chooses(i, n)) selection_add(&selection, i);
  selection_count(&selection);
  for (int64_t i = 0; i < n; i++)
    if (chooses(i, n)) assert_int_equal(selection_find(&selection, count++), i);
  assert_int_equal(selection.count, count);
  selection_free(&selection);
}

static bool all(int64_t i, int64_t n) {
  (void)i;
  (void)n;
  return true;
}

static bool none(int64_t i, int64_t n) {
  return !all(i, n);
}

static bool first(int64_t i, int64_t n) {
  (void)n;
  return i == 0;
}

static bool last(int64_t i, int64_t n) {
  return i == n - 1;
}

static bool edges_of_words(int64_t i, int64_t n) {
  (void)n;
  return i % SELECTION_WORD_BITS == 0 || i % SELECTION_WORD_BITS == SELECTION_WORD_BITS - 1;
}

/* Blocks without any between them. */
static bool ends(int64_t i, int64_t n) {
  return first(i, n) || last(i, n);
}

static double uniform(int64_t i, int64_t n) {
  random_stream_t stream = random_stream((uint64_t)n, RANDOM_TEST, (uint64_t)i);
  return random_uniform(&stream);
}

static bool half(int64_t i, int64_t n) {
  return uniform(i, n) < 0.5;
}

static bool few(int64_t i, int64_t n) {
  return uniform(i, n) < 0.01;
}

static bool most(int64_t i, int64_t n) {
  return !few(i, n);
}

static void the_chosen_are_found_in_order(void **state) {
  static const chooses_t choices[] = {all, none, first, last, ends, edges_of_words, half, few, most};
  (void)state;
  for (size_t c = 0; c < sizeof choices / sizeof *choices; c++)
    for (int s = 0; s < SIZES; s++)
      check(sizes[s], choices[c]);
}

static void nothing_is_nothing(void **state) {
  selection_t selection;
  (void)state;
  assert_int_equal(selection_create(ARENA_DATA, 0, &selection), STATUS_OK);
  selection_count(&selection);
  assert_int_equal(selection.count, 0);
  selection_free(&selection);
  selection_free(&selection);
}

/* As ranks do that look at other things each. */
static void words_of_parts_add_up(void **state) {
  enum { THINGS = 3000, PARTS = 3 };
  selection_t whole, part;
  int64_t count = 0;
  (void)state;
  assert_int_equal(selection_create(ARENA_DATA, THINGS, &whole), STATUS_OK);
  for (int64_t p = 0; p < PARTS; p++) {
    assert_int_equal(selection_create(ARENA_DATA, THINGS, &part), STATUS_OK);
    for (int64_t i = p; i < THINGS; i += PARTS)
      if (half(i, THINGS)) selection_add(&part, i);
    for (int64_t w = 0; w < part.word_count; w++)
      whole.words[w] += part.words[w];
    selection_free(&part);
  }
  selection_count(&whole);
  for (int64_t i = 0; i < THINGS; i++)
    if (half(i, THINGS)) assert_int_equal(selection_find(&whole, count++), i);
  assert_int_equal(whole.count, count);
  selection_free(&whole);
}

static void a_million_take_little(void **state) {
  enum { MILLION = 1000000, MOST = MILLION / 7 };
  selection_t selection;
  size_t before = memory_usage(ARENA_DATA).current;
  (void)state;
  assert_int_equal(selection_create(ARENA_DATA, MILLION, &selection), STATUS_OK);
  assert_true(memory_usage(ARENA_DATA).current - before <= MOST);
  selection_free(&selection);
  assert_int_equal(memory_usage(ARENA_DATA).current, before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_chosen_are_found_in_order),
      cmocka_unit_test(nothing_is_nothing),
      cmocka_unit_test(words_of_parts_add_up),
      cmocka_unit_test(a_million_take_little),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
