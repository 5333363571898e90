/* Lists within the top-level object of a JSON file, item by item. */
#include "base/memory.h"
#include "io/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What is read of the lists "a" and, if ALSO, "b". */
typedef struct {
  int64_t a, b; /* sums of their items, all numbers */
  int64_t line; /* of the last item */
} lists_sum_t;

static lists_sum_t read_lists(const char *text, const char *also, status_code_t expected, const char *hint) {
  char path[] = "/tmp/llava_json_XXXXXX";
  int descriptor = mkstemp(path);
  json_reader_t *reader = NULL;
  json_element_t element = {0};
  lists_sum_t sum = {0};
  assert_int_equal(write(descriptor, text, strlen(text)), strlen(text));
  close(descriptor);
  status_code_t status = json_reader_open_list(path, "a", also, &reader);
  for (int64_t i = 0; status == STATUS_OK; i++) {
    status = json_reader_next(reader, &element);
    if (status != STATUS_OK || !element.value) break;
    assert_int_equal(element.index, i);
    assert_int_equal(element.value->type, JSON_INT);
    if (strcmp(element.key, "b") != 0) assert_string_equal(element.key, "a");
    *(*element.key == 'a' ? &sum.a : &sum.b) += element.value->u.integer;
    sum.line = element.line;
  }
  assert_int_equal(status, expected);
  if (expected != STATUS_OK && strstr(error_message(), hint) == NULL)
    fail_msg("'%s' lacks '%s'", error_message(), hint);
  error_clear();
  json_reader_close(reader);
  unlink(path);
  return sum;
}

static void expect_sums(const char *text, const char *also, int64_t a, int64_t b) {
  const lists_sum_t sum = read_lists(text, also, STATUS_OK, "");
  assert_int_equal(sum.a, a);
  assert_int_equal(sum.b, b);
}

static void a_list_within_an_object_is_streamed(void **state) {
  (void)state;
  expect_sums("{\"a\": [1, 2, 4]}", NULL, 7, 0);
  expect_sums("{\"b\": {\"a\": [8]}, \"c\": [{\"a\": [16]}, [], 1], \"d\": null, \"a\": [1, 2], \"e\": [32], "
              "\"f\": {\"a\": 1}}",
              NULL, 3, 0);
  expect_sums("{\"a\": []}", NULL, 0, 0);
  read_lists("{\"b\": [1]}", NULL, STATUS_DATA, "no member 'a'");
  read_lists("{\"a\": {\"b\": 1}}", NULL, STATUS_DATA, "expected an array");
  read_lists("{\"a\": 3}", NULL, STATUS_DATA, "expected an array");
  read_lists("[1]", NULL, STATUS_DATA, "a JSON object {...} was expected");
  read_lists("{\"a\": [1, 2", NULL, STATUS_DATA, "premature EOF");
  read_lists("{\"a\": [1]} {\"a\": [1]}", NULL, STATUS_DATA, "trailing garbage");
}

/* Two of them in one pass, in any order; only the second may be missing. */
static void another_list_comes_under_its_name(void **state) {
  static const char text[] =
      "{\"aa\": [64], \"b\": [8,\n16], \"\": [64], \"a\": [1, 2], \"c\": {\"b\": [64]}}";
  (void)state;
  expect_sums(text, "b", 3, 24);
  expect_sums(text, NULL, 3, 0);
  expect_sums("{\"a\": [1], \"b\": [8], \"a\": [2]}", "b", 3, 8);
  expect_sums("{\"a\": [1]}", "b", 1, 0);
  assert_int_equal(read_lists(text, "b", STATUS_OK, "").line, 2);
  read_lists("{\"b\": [1]}", "b", STATUS_DATA, "no member 'a'");
  read_lists("{\"a\": [1], \"b\": 1}", "b", STATUS_DATA, "member 'b': found a number, expected an array");
}

/* Other members may be longer than an element, but not nested without end. */
static void what_is_beside_a_list_is_passed_over(void **state) {
  (void)state;
  enum { LONG = JSON_MAX_ELEMENT + JSON_MAX_ELEMENT / 4 };
  char *text = malloc(LONG + 64), *at = text;
  assert_non_null(text);
  at += sprintf(at, "{\"b\": [[0");
  while (at < text + LONG)
    at += sprintf(at, ",1234567");
  sprintf(at, "]], \"a\": [5]}");
  expect_sums(text, NULL, 5, 0);
  memset(text, '[', 5000);
  memcpy(text, "{\"b\":", 5);
  text[5000] = '\0';
  read_lists(text, NULL, STATUS_DATA, "deeper");
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_list_within_an_object_is_streamed),
      cmocka_unit_test(another_list_comes_under_its_name),
      cmocka_unit_test(what_is_beside_a_list_is_passed_over),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
