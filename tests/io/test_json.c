/* JSON as a tree and as a stream of elements. */
#include "base/memory.h"
#include "io/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static json_document_t parsed(const char *text) {
  json_document_t document;
  if (json_parse(text, strlen(text), "test", &document) != STATUS_OK) fail_msg("%s", error_message());
  return document;
}

static void assert_unparsed(const char *text, size_t n, const char *hint) {
  json_document_t document;
  assert_int_equal(json_parse(text, n, "thing.json", &document), STATUS_DATA);
  assert_non_null(strstr(error_message(), "thing.json"));
  if (strstr(error_message(), hint) == NULL) fail_msg("'%s' lacks '%s'", error_message(), hint);
  assert_null(document.root);
  error_clear();
}

/* ---- Trees ---- */

static void values_have_their_types(void **state) {
  (void)state;
  json_document_t document = parsed(
      " {\"a\": 1, \"b\": -2.5e3, \"c\": [true, null, \"x\\u00e9\\ud83d\\ude00\\n\"], \"d\": {\"e\": {}}, "
      "\"big\": 123456789012345678901, \"min\": -9223372036854775808, \"a\": 7} ");
  const json_t *root = document.root;
  assert_int_equal(root->type, JSON_OBJECT);
  assert_int_equal(root->count, 6);
  int64_t integer = 0;
  double real = 0;
  const char *string = NULL;
  const json_t *list = NULL, *object = NULL;
  assert_int_equal(json_int(root, "a", "here", &integer), STATUS_OK);
  assert_int_equal(integer, 7); /* the last of two */
  assert_int_equal(json_int(root, "min", "here", &integer), STATUS_OK);
  assert_true(integer == INT64_MIN);
  assert_int_equal(json_real(root, "b", "here", &real), STATUS_OK);
  assert_true(real == -2500.0);
  assert_int_equal(json_real(root, "a", "here", &real), STATUS_OK);
  assert_true(real == 7.0);
  assert_int_equal(json_get(root, "big")->type, JSON_REAL);
  assert_int_equal(json_array(root, "c", "here", &list), STATUS_OK);
  assert_int_equal(list->count, 3);
  assert_true(json_at(list, 0)->u.boolean);
  assert_int_equal(json_at(list, 1)->type, JSON_NULL);
  assert_string_equal(json_at(list, 2)->u.string, "x\xc3\xa9\xf0\x9f\x98\x80\n");
  assert_null(json_at(list, 3));
  assert_int_equal(json_object(root, "d", "here", &object), STATUS_OK);
  assert_int_equal(json_get(object, "e")->count, 0);
  assert_null(json_get(root, "absent"));
  assert_null(json_get(list, "absent"));
  assert_int_equal(json_string(root, "a", "here", &string), STATUS_DATA);
  assert_non_null(strstr(error_message(), "here"));
  assert_non_null(strstr(error_message(), "'a'"));
  assert_int_equal(json_string(root, "absent", "here", &string), STATUS_DATA);
  assert_int_equal(json_string(list, "a", "here", &string), STATUS_DATA);
  assert_int_equal(json_int(root, "b", "here", &integer), STATUS_DATA);
  json_free(&document);
}

static void scalars_are_documents(void **state) {
  (void)state;
  json_document_t document = parsed("42");
  assert_int_equal(document.root->u.integer, 42);
  json_free(&document);
  document = parsed("\"\"");
  assert_int_equal(document.root->count, 0);
  assert_string_equal(document.root->u.string, "");
  json_free(&document);
}

static void broken_text_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
      "",        "  ",         "{",         "[1,",        "[1 2]", "{\"a\"}",   "{\"a\":}",
      "[1],",    "tru",        "\"abc",     "'a'",        "[01]",  "[1.]",      "{a:1}",
      "\"\\x\"", "[\"a\nb\"]", "[1] // hi", "{\"a\":1}x", "[NaN]", "\"\\u12\"", "{1:2}"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    assert_unparsed(texts[i], strlen(texts[i]), "line 1");
  assert_unparsed("{\n \"a\": 1,\n \"b\": oops}", 22, "line 3");
  assert_unparsed("[\"a\\u0000b\"]", 12, "NUL");
  assert_unparsed("[1]\0", 4, "");
}

static void bad_utf8_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "\"\xff\"",     "\"\xc3\"",   "\"\xc0\x80\"",         "\"\xed\xa0\x80\"",
      "\"\xe2\x82\"", "\"\x80\"",   "\"\xf5\x80\x80\x80\"", "\"\xf0\x80\x80\x80\"",
      "{\"\xff\":1}", "\"abc\xe9\""};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_unparsed(bad[i], strlen(bad[i]), "UTF");
  json_document_t document = parsed("\"\xf4\x8f\xbf\xbf\xef\xbf\xbf\"");
  json_free(&document);
}

static void nesting_bomb_is_refused(void **state) {
  (void)state;
  enum { DEPTH = 100000 };
  char *text = malloc(DEPTH);
  memset(text, '[', DEPTH);
  assert_unparsed(text, DEPTH, "deeper");
  for (int i = 0; i + 5 < DEPTH; i += 5)
    memcpy(text + i, "{\"a\":", 5);
  assert_unparsed(text, DEPTH - 5, "deeper");
  memset(text, '[', JSON_MAX_DEPTH);
  memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
  text[2 * JSON_MAX_DEPTH] = '\0';
  json_document_t document = parsed(text);
  json_free(&document);
  free(text);
}

/* ---- Streams ---- */

typedef struct {
  char path[64];
} json_file_t;

static json_file_t file_with(const char *text, size_t n) {
  json_file_t file = {"/tmp/llava_json_XXXXXX"};
  int descriptor = mkstemp(file.path);
  assert_true(descriptor >= 0);
  assert_true(write(descriptor, text, n) == (ssize_t)n);
  close(descriptor);
  return file;
}

static void read_error(const char *text, size_t n, json_stream_t kind, const char *hint) {
  json_file_t file = file_with(text, n);
  json_reader_t *reader = NULL;
  json_element_t element;
  status_code_t status = json_reader_open(file.path, kind, &reader);
  while (status == STATUS_OK) {
    status = json_reader_next(reader, &element);
    if (status == STATUS_OK) assert_non_null(element.value);
  }
  assert_int_equal(status, STATUS_DATA);
  assert_non_null(strstr(error_message(), file.path));
  if (strstr(error_message(), hint) == NULL) fail_msg("'%s' lacks '%s'", error_message(), hint);
  error_clear();
  json_reader_close(reader);
  unlink(file.path);
}

/* Elements of all sizes, so that pieces end anywhere: within strings, escapes, characters of several bytes,
 * numbers. */
static char *make_elements(int count, const char *between, const char *begin, const char *end, size_t *n) {
  char *text;
  FILE *file = open_memstream(&text, n);
  fputs(begin, file);
  for (int i = 0; i < count; i++) {
    fprintf(file, "%s{\"id\": %d,\n\"x\": \"", i == 0 ? "" : between, i);
    for (int k = 0; k < i % 301; k++)
      fputs(k % 3 == 0 ? "\xe2\x82\xac" : k % 3 == 1 ? "\\\"" : "ab", file);
    fprintf(file, "\", \"y\": [%d.5, [], {\"z\": null}]}", i);
  }
  fputs(end, file);
  fclose(file);
  return text;
}

static void check_elements(const char *path, int count, int64_t first_line, int64_t lines_each) {
  json_reader_t *reader;
  json_element_t element;
  assert_int_equal(json_reader_open(path, JSON_ELEMENTS, &reader), STATUS_OK);
  for (int i = 0; i < count; i++) {
    assert_int_equal(json_reader_next(reader, &element), STATUS_OK);
    assert_non_null(element.value);
    int64_t id = -1;
    assert_int_equal(json_int(element.value, "id", "", &id), STATUS_OK);
    assert_int_equal(id, i);
    assert_int_equal(element.index, i);
    assert_int_equal(element.line, first_line + i * lines_each);
    int k = i % 301;
    int64_t bytes = (k + 2) / 3 * 3 + (k + 1) / 3 + k / 3 * 2;
    assert_int_equal(json_get(element.value, "x")->count, bytes);
    assert_true(json_at(json_get(element.value, "y"), 0)->u.real == i + 0.5);
  }
  for (int k = 0; k < 2; k++) {
    assert_int_equal(json_reader_next(reader, &element), STATUS_OK);
    assert_null(element.value);
  }
  assert_int_equal(json_reader_position(reader), json_reader_size(reader));
  json_reader_close(reader);
}

static void streams_array_and_lines(void **state) {
  (void)state;
  enum { COUNT = 3000 };
  static const struct {
    const char *begin, *between, *end;
    int64_t first_line, lines_each;
  } forms[] = {{"[", ",", "]", 1, 1},
               {"\xef\xbb\xbf \n[\n", ",\n\n", "\n]\n", 3, 3},
               {"", "\n", "\n", 1, 2},
               {"", "\n", "", 1, 2},
               {"\n\n", "", "  ", 3, 1}};
  for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
    size_t n;
    char *text = make_elements(COUNT, forms[f].between, forms[f].begin, forms[f].end, &n);
    json_file_t file = file_with(text, n);
    size_t before = memory_usage(ARENA_IO).current;
    check_elements(file.path, COUNT, forms[f].first_line, forms[f].lines_each);
    assert_int_equal(memory_usage(ARENA_IO).current, before);
    unlink(file.path);
    free(text);
  }
}

static void streams_object(void **state) {
  (void)state;
  const char *text = "{\"a.jpg\": [\"x\", \"y\"],\n\"b\\n.jpg\": [], \"c\": {\"k\": 1}, \"a.jpg\": 3}";
  static const char *const keys[] = {"a.jpg", "b\n.jpg", "c", "a.jpg"};
  json_file_t file = file_with(text, strlen(text));
  json_reader_t *reader;
  json_element_t element;
  assert_int_equal(json_reader_open(file.path, JSON_MEMBERS, &reader), STATUS_OK);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(json_reader_next(reader, &element), STATUS_OK);
    assert_string_equal(element.key, keys[i]);
    assert_int_equal(element.line, i == 0 ? 1 : 2);
    if (i == 0) assert_int_equal(element.value->count, 2);
    if (i == 3) assert_int_equal(element.value->u.integer, 3);
  }
  assert_int_equal(json_reader_next(reader, &element), STATUS_OK);
  assert_null(element.value);
  json_reader_close(reader);
  unlink(file.path);
}

static void empty_containers_have_no_elements(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++) {
    json_file_t file = file_with(k == 0 ? "[ ]" : "{ }", 3);
    json_reader_t *reader;
    json_element_t element;
    assert_int_equal(json_reader_open(file.path, k == 0 ? JSON_ELEMENTS : JSON_MEMBERS, &reader), STATUS_OK);
    assert_int_equal(json_reader_next(reader, &element), STATUS_OK);
    assert_null(element.value);
    json_reader_close(reader);
    unlink(file.path);
  }
}

static void broken_streams_are_refused(void **state) {
  (void)state;
  read_error("", 0, JSON_ELEMENTS, "empty");
  read_error("\xef\xbb\xbf \n", 5, JSON_ELEMENTS, "empty");
  read_error("hello", 5, JSON_ELEMENTS, "starts with");
  read_error("[1]", 3, JSON_MEMBERS, "expected");
  read_error("[{\"a\":1},{\"b\":", 14, JSON_ELEMENTS, "element 1");
  read_error("[{\"a\":1}", 8, JSON_ELEMENTS, "line 1");
  read_error("[{\"a\":1}\n,}", 11, JSON_ELEMENTS, "line 2");
  read_error("[{\"a\":1}] []", 12, JSON_ELEMENTS, "line 1");
  read_error("{\"a\":1}\n{\"b\":\n", 14, JSON_ELEMENTS, "element 1");
  read_error("{\"a\":1}\n{\"b\":\"\xff\"}", 16, JSON_ELEMENTS, "line 2");
  read_error("{\"a\":1}\n{\"b\":\"\xc0\x80\"}", 17, JSON_ELEMENTS, "UTF-8");
  read_error("{\"a\": [\"x\", }", 13, JSON_MEMBERS, "line 1");
  json_reader_t *reader;
  assert_int_equal(json_reader_open("/nowhere/at.json", JSON_ELEMENTS, &reader), STATUS_DATA);
  assert_int_equal(json_reader_open("/tmp", JSON_ELEMENTS, &reader), STATUS_DATA);
}

static void a_named_pipe_does_not_stop_the_program(void **state) {
  char folder[] = "/tmp/llava_json_XXXXXX", path[64];
  json_reader_t *reader;
  (void)state;
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/pipe", folder);
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_int_equal(json_reader_open(path, JSON_ELEMENTS, &reader), STATUS_DATA);
  unlink(path);
  rmdir(folder);
}

/* A valid file cut anywhere is an error, never fewer elements without a word. */
static void every_cut_is_noticed(void **state) {
  (void)state;
  const char *text = "[{\"a\": \"b\\u20ac\", \"c\": [1.5e3, true]}, {\"d\": null}]";
  for (size_t n = 1; n < strlen(text); n++)
    read_error(text, n, JSON_ELEMENTS, "line 1");
}

static void bombs_in_streams_are_refused(void **state) {
  (void)state;
  enum { DEPTH = 1 << 20 };
  char *text = malloc(DEPTH);
  memset(text, '[', DEPTH);
  read_error(text, DEPTH, JSON_ELEMENTS, "deeper");
  free(text);
  /* One string of many megabytes. */
  size_t n = (size_t)JSON_MAX_ELEMENT + (2 << 20);
  text = malloc(n);
  memset(text, 'x', n);
  memcpy(text, "[{\"a\":\"", 7);
  read_error(text, n, JSON_ELEMENTS, "longer than");
  memcpy(text, "[\"xxxxx", 7);
  read_error(text, n, JSON_ELEMENTS, "longer than");
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_have_their_types),
      cmocka_unit_test(scalars_are_documents),
      cmocka_unit_test(broken_text_is_refused),
      cmocka_unit_test(bad_utf8_is_refused),
      cmocka_unit_test(nesting_bomb_is_refused),
      cmocka_unit_test(streams_array_and_lines),
      cmocka_unit_test(streams_object),
      cmocka_unit_test(empty_containers_have_no_elements),
      cmocka_unit_test(broken_streams_are_refused),
      cmocka_unit_test(a_named_pipe_does_not_stop_the_program),
      cmocka_unit_test(every_cut_is_noticed),
      cmocka_unit_test(bombs_in_streams_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
