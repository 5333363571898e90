/* Base64, by RFC 4648's test vectors. */
#include "base/base64.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_vectors(void **state) {
  static const char *const vectors[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xfb\xff\xbf", "+/+/"}};
  (void)state;
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    SCOPED_MEMORY char *text = NULL;
    SCOPED_MEMORY unsigned char *bytes = NULL;
    size_t n;
    assert_int_equal(base64_encode(vectors[i][0], strlen(vectors[i][0]), &text), STATUS_OK);
    assert_string_equal(text, vectors[i][1]);
    assert_int_equal(base64_decode(text, strlen(text), &bytes, &n), STATUS_OK);
    assert_int_equal(n, strlen(vectors[i][0]));
    assert_memory_equal(bytes, vectors[i][0], n);
  }
}

static void test_refused(void **state) {
  static const char *const bad[] = {
      "Zg", "Zg=", "Z===", "Zh==", "Zm9=", "Zm 9", "Zm9v\n", "=m9v", "Zg==Zg==", "Zm-v"};
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    unsigned char *bytes;
    size_t n;
    assert_int_equal(base64_decode(bad[i], strlen(bad[i]), &bytes, &n), STATUS_DATA);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
