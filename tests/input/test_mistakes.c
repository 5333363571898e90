#include "base/memory.h"
#include "input/mistakes.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *nearest_of(const char *wanted, const char *const *candidates, int count) {
  nearest_t nearest = nearest_to(wanted);
  for (int i = 0; i < count; i++)
    nearest_offer(&nearest, candidates[i]);
  return nearest.found;
}

static void misspellings_find_their_name(void **state) {
  (void)state;
  static const char *const names[] = {"kl_coef", "clip", "clip_value", "minibatch",
                                      "lr",      "eps",  "betas",      "steps"};
  static const struct {
    const char *wrong, *right;
  } cases[] = {
      {"kl_coeff", "kl_coef"}, {"klcoef", "kl_coef"},       {"KL_COEF", "kl_coef"}, {"lk_coef", "kl_coef"},
      {"clp", "clip"},         {"mini_batch", "minibatch"}, {"Lr", "lr"},           {"step", "steps"},
      {"beta", "betas"},       {"clipvalue", "clip_value"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    assert_string_equal(nearest_of(cases[i].wrong, names, 8), cases[i].right);
}

static void what_is_far_finds_nothing(void **state) {
  (void)state;
  static const char *const names[] = {"kl_coef", "clip", "lr"};
  assert_null(nearest_of("temperature", names, 3));
  assert_null(nearest_of("xyzw", names, 3));
  assert_null(nearest_of("", names, 3));
  char huge[4096];
  memset(huge, 'a', sizeof huge);
  huge[sizeof huge - 1] = '\0';
  assert_null(nearest_of(huge, names, 3));
}

static void lists_are_searched(void **state) {
  (void)state;
  char found[16];
  nearest_in_list("recomputed", "recompute|sampled", found, sizeof found);
  assert_string_equal(found, "recompute");
  nearest_in_list("sample", "recompute|sampled", found, sizeof found);
  assert_string_equal(found, "sampled");
  nearest_in_list("other", "recompute|sampled", found, sizeof found);
  assert_string_equal(found, "");
}

static void no_mistakes_are_no_error(void **state) {
  (void)state;
  mistakes_t mistakes = {.name = "a.nml"};
  assert_int_equal(mistakes_report(&mistakes), STATUS_OK);
}

/* File first, by line and column; then what has no place; then overrides. */
static void mistakes_are_reported_in_order(void **state) {
  (void)state;
  const char *const overrides[] = {"x.y=1"};
  mistakes_t mistakes = {.name = "a.nml", .overrides = overrides};
  mistakes_add(&mistakes, (place_t){.override = 1}, "fifth");
  mistakes_add(&mistakes, (place_t){.line = 3, .column = 9}, "third");
  mistakes_add(&mistakes, (place_t){0}, "fourth");
  mistakes_add(&mistakes, (place_t){.line = 3, .column = 2}, "second");
  mistakes_add(&mistakes, (place_t){.line = 1, .column = 30}, "first");
  assert_int_equal(mistakes_report(&mistakes), STATUS_INPUT);
  static const char *const order[] = {"a.nml:1:30: first", "a.nml:3:2: second", "a.nml:3:9: third", "fourth",
                                      "x.y=1: fifth"};
  const char *at = error_message();
  for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
    at = strstr(at, order[i]);
    assert_non_null(at);
  }
  mistakes_free(&mistakes);
  error_clear();
}

static void thousands_of_mistakes_are_counted(void **state) {
  (void)state;
  mistakes_t mistakes = {.name = "a.nml"};
  for (int i = 0; i < 5000; i++)
    mistakes_add(&mistakes, (place_t){.line = i + 1, .column = 1}, "mistake %d", i);
  assert_int_equal(mistakes.count, 5000);
  assert_int_equal(mistakes_report(&mistakes), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "5000"));
  assert_null(strstr(error_message(), "mistake 4999"));
  mistakes_free(&mistakes);
  assert_int_equal(memory_usage(ARENA_OTHER).current, 0);
  error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(misspellings_find_their_name),
      cmocka_unit_test(what_is_far_finds_nothing),
      cmocka_unit_test(lists_are_searched),
      cmocka_unit_test(no_mistakes_are_no_error),
      cmocka_unit_test(mistakes_are_reported_in_order),
      cmocka_unit_test(thousands_of_mistakes_are_counted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
