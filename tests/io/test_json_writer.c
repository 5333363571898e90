/* JSON as it is written, to memory and to files. */
#include "base/memory.h"
#include "io/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char *written(void (*write)(json_writer_t *)) {
  json_writer_t *writer;
  char *text;
  size_t n;
  assert_int_equal(json_writer_create(NULL, &writer), STATUS_OK);
  write(writer);
  assert_int_equal(json_writer_finish(writer, &text, &n), STATUS_OK);
  assert_int_equal(strlen(text), n);
  return text;
}

static void write_sample(json_writer_t *writer) {
  json_write_object_begin(writer);
  json_write_key(writer, "a\"\\\n");
  json_write_string(writer, "tab\t bell\a \xe2\x82\xac bad \xff\xc3 end \x7f/");
  json_write_key(writer, "n");
  json_write_null(writer);
  json_write_key(writer, "l");
  json_write_array_begin(writer);
  json_write_int(writer, INT64_MIN);
  json_write_bool(writer, true);
  json_write_real(writer, 1.0);
  json_write_real(writer, (double)NAN);
  json_write_array_begin(writer);
  json_write_array_end(writer);
  json_write_text(writer, "a\0b", 3);
  json_write_string(writer, NULL);
  json_write_array_end(writer);
  json_write_object_end(writer);
}

static void writer_escapes(void **state) {
  (void)state;
  char *text = written(write_sample);
  assert_string_equal(
      text, "{\"a\\\"\\\\\\n\":\"tab\\t bell\\u0007 \xe2\x82\xac bad \xef\xbf\xbd\xef\xbf\xbd end \\u007f/\","
            "\"n\":null,\"l\":[-9223372036854775808,true,1.0,null,[],\"a\\u0000b\",null]}");
  memory_free(text);
}

static void writer_output_reads_back(void **state) {
  (void)state;
  const char *text = "{\"a\":[1,-2.5,\"x\\n\",{\"b\":null,\"c\":[]}],\"d\":true,\"e\":1e+300}";
  json_document_t document;
  json_writer_t *writer;
  char *copy;
  assert_int_equal(json_parse(text, strlen(text), "test", &document), STATUS_OK);
  assert_int_equal(json_writer_create(NULL, &writer), STATUS_OK);
  json_write_tree(writer, document.root);
  assert_int_equal(json_writer_finish(writer, &copy, NULL), STATUS_OK);
  assert_string_equal(copy, text);
  memory_free(copy);
  json_free(&document);
}

static void real_numbers_round_trip(void **state) {
  (void)state;
  static const double values[] = {0.1,  1.0 / 3,       1e22,   5e-324, 1.7976931348623157e308,
                                  -0.0, 123456789.125, 2.5e-8, 1e15,   1e17};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    json_writer_t *writer;
    char *text;
    size_t n;
    json_document_t document;
    assert_int_equal(json_writer_create(NULL, &writer), STATUS_OK);
    json_write_real(writer, values[i]);
    assert_int_equal(json_writer_finish(writer, &text, &n), STATUS_OK);
    assert_int_equal(json_parse(text, n, "number", &document), STATUS_OK);
    assert_int_equal(document.root->type, JSON_REAL);
    assert_memory_equal(&document.root->u.real, &values[i], sizeof(double));
    json_free(&document);
    memory_free(text);
  }
  char *text = NULL;
  json_writer_t *writer;
  assert_int_equal(json_writer_create(NULL, &writer), STATUS_OK);
  json_write_real(writer, 0.1);
  assert_int_equal(json_writer_finish(writer, &text, NULL), STATUS_OK);
  assert_string_equal(text, "0.1");
  memory_free(text);
}

static void misuse_is_an_error(void **state) {
  (void)state;
  for (int k = 0; k < 5; k++) {
    json_writer_t *writer;
    char *text;
    assert_int_equal(json_writer_create(NULL, &writer), STATUS_OK);
    if (k == 0) json_write_object_begin(writer);
    if (k == 1) json_write_array_end(writer);
    if (k == 2) json_write_key(writer, "a");
    if (k == 3) {
      json_write_object_begin(writer);
      json_write_int(writer, 1);
      json_write_object_end(writer);
    }
    if (k == 4) {
      json_write_object_begin(writer);
      json_write_key(writer, "a");
      json_write_object_end(writer);
    }
    assert_int_equal(json_writer_finish(writer, &text, NULL), STATUS_INTERNAL);
    assert_null(text);
  }
}

static void writer_reports_a_full_disk(void **state) {
  (void)state;
  FILE *full = fopen("/dev/full", "w");
  if (full == NULL) skip();
  json_writer_t *writer;
  assert_int_equal(json_writer_create(full, &writer), STATUS_OK);
  json_write_string(writer, "something");
  json_write_line(writer);
  assert_int_equal(json_writer_finish(writer, NULL, NULL), STATUS_DATA);
  fclose(full);
}

static void writer_streams_lines_to_a_file(void **state) {
  (void)state;
  enum { LINES = 5000 };
  char path[] = "/tmp/llava_json_XXXXXX";
  int descriptor = mkstemp(path);
  FILE *file = fdopen(descriptor, "w");
  json_writer_t *writer;
  assert_int_equal(json_writer_create(file, &writer), STATUS_OK);
  for (int i = 0; i < LINES; i++) {
    json_write_object_begin(writer);
    json_write_key(writer, "i");
    json_write_int(writer, i);
    json_write_object_end(writer);
    json_write_line(writer);
  }
  assert_int_equal(json_writer_finish(writer, NULL, NULL), STATUS_OK);
  fclose(file);
  json_reader_t *reader;
  json_element_t element;
  assert_int_equal(json_reader_open(path, JSON_ELEMENTS, &reader), STATUS_OK);
  for (int i = 0; i <= LINES; i++) {
    assert_int_equal(json_reader_next(reader, &element), STATUS_OK);
    if (i == LINES) break;
    assert_int_equal(json_get(element.value, "i")->u.integer, i);
    assert_int_equal(element.line, i + 1);
  }
  assert_null(element.value);
  json_reader_close(reader);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(writer_escapes),
      cmocka_unit_test(writer_output_reads_back),
      cmocka_unit_test(real_numbers_round_trip),
      cmocka_unit_test(misuse_is_an_error),
      cmocka_unit_test(writer_reports_a_full_disk),
      cmocka_unit_test(writer_streams_lines_to_a_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
