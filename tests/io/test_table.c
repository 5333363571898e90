/* Tables of text between tabs, and images in base64 within them. */
#include "io/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *file_with(const char *text, size_t n, char path[64]) {
  snprintf(path, 64, "/tmp/llava_table_XXXXXX");
  int descriptor = mkstemp(path);
  assert_true(descriptor >= 0);
  assert_int_equal(write(descriptor, text, n), n);
  close(descriptor);
  return path;
}

static void reads_fields(void **state) {
  static const char text[] = "\xef\xbb\xbfid\tname\tlast\r\n"
                             "1\tplain\tx\r\n"
                             "\n"
                             "2\t\"two\nlines, a \"\"quote\"\"\tand a tab\"\t\n"
                             "3\tin \"the\" middle\t\"\"";
  char path[64];
  table_t *table;
  bool more;
  (void)state;
  assert_int_equal(table_open(file_with(text, sizeof text - 1, path), &table), STATUS_OK);
  assert_int_equal(table_columns(table), 3);
  assert_string_equal(table_name(table, 0), "id");
  assert_int_equal(table_find(table, "last"), 2);
  assert_int_equal(table_find(table, "none"), -1);
  assert_int_equal(table_next(table, &more), STATUS_OK);
  assert_true(more);
  assert_string_equal(table_field(table, 2), "x");
  assert_string_equal(table_field(table, -1), "");
  assert_int_equal(table_next(table, &more), STATUS_OK);
  assert_string_equal(table_field(table, 1), "two\nlines, a \"quote\"\tand a tab");
  assert_string_equal(table_field(table, 2), "");
  assert_non_null(strstr(table_where(table), "line 4"));
  assert_int_equal(table_next(table, &more), STATUS_OK);
  assert_string_equal(table_field(table, 1), "in \"the\" middle");
  assert_string_equal(table_field(table, 2), "");
  assert_int_equal(table_next(table, &more), STATUS_OK);
  assert_false(more);
  table_close(table);
  unlink(path);
}

/* The status of opening TEXT and reading all of it; the message has PART. */
static void check_refused(const char *text, size_t n, const char *part) {
  char path[64];
  table_t *table;
  bool more = true;
  status_code_t status = table_open(file_with(text, n, path), &table);
  while (status == STATUS_OK && more)
    status = table_next(table, &more);
  assert_int_equal(status, STATUS_DATA);
  assert_non_null(strstr(error_message(), part));
  table_close(table);
  unlink(path);
}

static void refuses(void **state) {
  (void)state;
  check_refused("", 0, "empty");
  check_refused("a\tb\ta\n", 6, "'a'");
  check_refused("a\tb\n1\n", 6, "line 2: has 1 fields");
  check_refused("a\tb\n1\t2\t3\n", 10, "expected 2");
  check_refused("a\tb\n1\t\"2\n3\n", 11, "line 2: the file ends within");
  check_refused("a\tb\n1\t\"2\"x\n", 11, "closing quote");
  check_refused("a\tb\n1\t\0\n", 8, "zero byte");
  check_refused("a\tb\n1\t\xff\n", 8, "UTF-8");
  table_t *table;
  assert_int_equal(table_open("/nowhere/at.tsv", &table), STATUS_DATA);
  assert_int_equal(table_open("/tmp", &table), STATUS_DATA);
}

static void writes_what_it_reads(void **state) {
  static const char *const fields[] = {"plain", "a \"quote\"", "tab\tand\nline", "", "'", "\"\""};
  char path[64];
  table_t *table;
  bool more;
  (void)state;
  FILE *file = fopen(file_with("", 0, path), "w");
  for (int row = 0; row < 2; row++)
    for (int i = 0; i < 6; i++) {
      if (row == 0)
        fprintf(file, "c%d", i);
      else
        table_write_field(file, fields[i]);
      fputc(i < 5 ? '\t' : '\n', file);
    }
  fclose(file);
  assert_int_equal(table_open(path, &table), STATUS_OK);
  assert_int_equal(table_next(table, &more), STATUS_OK);
  for (int i = 0; i < 6; i++)
    assert_string_equal(table_field(table, i), fields[i]);
  table_close(table);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_fields),
      cmocka_unit_test(refuses),
      cmocka_unit_test(writes_what_it_reads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
