/* Stripping, finding, well-formed UTF-8, and removal of marks. */
#include "text/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void assert_strip(const char *text, const char *expected) {
  text_view_t stripped = text_strip(text_view(text));
  assert_int_equal(stripped.n, strlen(expected));
  assert_true(text_equal(stripped, expected));
}

static void test_strip(void **state) {
  (void)state;
  assert_strip("  a b\t\r\n", "a b");
  assert_strip("", "");
  assert_strip(" \n ", "");
  assert_strip("\u3000\u00a0\u2003a\u2028\xC2\x85", "a");
  assert_strip("\u200bzero width is kept\u200b", "\u200bzero width is kept\u200b");
  assert_strip("\xA0 bad bytes are kept \xE3\x80", "\xA0 bad bytes are kept \xE3\x80");
  assert_int_equal(text_strip((text_view_t){NULL, 0}).n, 0);
}

static void test_find(void **state) {
  (void)state;
  text_view_t text = text_view("a.b.c");
  assert_int_equal(text_find(text, ".", 0), 1);
  assert_int_equal(text_find(text, ".", 2), 3);
  assert_int_equal(text_find(text, ".", 4), 5);
  assert_int_equal(text_find(text, ".", 9), 5);
  assert_int_equal(text_find((text_view_t){NULL, 0}, ".", 0), 0);
  assert_true(text_contains(text, "b.c"));
  assert_false(text_contains(text, "c."));
  assert_true(text_starts_with(text, "a."));
  assert_false(text_starts_with(text, "a.b.c."));
}

static void test_utf8(void **state) {
  (void)state;
  const char *const bad[] = {"a\x80",
                             "a\xC0\x80",
                             "a\xC3",
                             "a\xE0\x9F\x80",
                             "a\xED\xA0\x80",
                             "a\xF4\x90\x80\x80",
                             "a\xF8\x88\x80\x80\x80",
                             "a\xFF"};
  size_t at;
  assert_true(text_is_utf8(text_view("a\u00dc\u20ac\U0001f600\U0010ffff"), &at));
  assert_true(text_is_utf8((text_view_t){"\0", 1}, NULL));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_false(text_is_utf8(text_view(bad[i]), &at));
    assert_int_equal(at, 1);
  }
}

static void assert_without(const char *text, const char *expected) {
  text_buffer_t buffer = {0};
  assert_int_equal(text_buffer_append_string(&buffer, "<im"), STATUS_OK);
  assert_int_equal(text_buffer_append_without(&buffer, text_view(text), "<image>"), STATUS_OK);
  assert_memory_equal(buffer.bytes, "<im", 3);
  assert_string_equal(buffer.bytes + 3, expected);
  assert_int_equal(buffer.n, 3 + strlen(expected));
  text_buffer_free(&buffer);
}

static void test_removal(void **state) {
  (void)state;
  assert_without("a<image>b<image>", "ab");
  assert_without("<im<image>age>c", "c");
  assert_without("<im<im<image>age>age>", "");
  assert_without("age>x", "age>x"); /* what stood there before is not touched */
  assert_without("", "");
}

static void test_growth(void **state) {
  (void)state;
  text_buffer_t buffer = {0};
  for (int i = 0; i < 5000; i++)
    assert_int_equal(text_buffer_append_string(&buffer, "abc"), STATUS_OK);
  assert_int_equal(buffer.n, 15000);
  assert_int_equal(strlen(buffer.bytes), 15000);
  text_buffer_free(&buffer);
  assert_null(buffer.bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_strip),   cmocka_unit_test(test_find),   cmocka_unit_test(test_utf8),
      cmocka_unit_test(test_removal), cmocka_unit_test(test_growth),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
