/* Lower case as Python's str.lower() makes it. */
#include "text/lower_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_lower_case(void **state) {
  static const char *const cases[][2] = {
      {"Hello, WORLD 1", "hello, world 1"},
      {"\xC3\x89T\xC3\x89 Stra\xC3\x9F"
       "e",
       "\xC3\xA9t\xC3\xA9 stra\xC3\x9F"
       "e"},
      {"\xD0\x9F\xD0\x81\xD0\xA1", "\xD0\xBF\xD1\x91\xD1\x81"}, /* Cyrillic */
      {"\xCE\x9B\xCE\x8C\xCE\x93\xCE\x9F\xCE\xA3!", "\xCE\xBB\xCF\x8C\xCE\xB3\xCE\xBF\xCF\x83!"}, /* Greek */
      {"\xC4\xB0X", "i\xCC\x87x"}, /* one character becomes two */
      {"\xE1\xBA\x9E\xE7\x8C\xAB", "\xC3\x9F\xE7\x8C\xAB"},
      {"A\xFF\xC3", "a\xFF\xC3"}, /* no UTF-8 */
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    text_buffer_t lower = {0};
    assert_int_equal(lower_case_append(text_view(cases[i][0]), &lower), STATUS_OK);
    assert_string_equal(lower.bytes, cases[i][1]);
    text_buffer_free(&lower);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_lower_case)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
