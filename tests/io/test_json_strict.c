/* What JSON leaves open: keys that are repeated, and halves of surrogate pairs. */
#include "base/memory.h"
#include "io/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
  char path[32];
} json_strict_file_t;

static json_strict_file_t file_with(const char *text, size_t n) {
  json_strict_file_t file = {"/tmp/llava_json_XXXXXX"};
  int descriptor = mkstemp(file.path);
  assert_int_equal(write(descriptor, text, n), n);
  close(descriptor);
  return file;
}

/* Status of reading TEXT (n bytes) as a stream of elements to its end. */
static status_code_t stream_status(const char *text, size_t n) {
  json_strict_file_t file = file_with(text, n);
  json_reader_t *reader;
  json_element_t element;
  status_code_t status = json_reader_open(file.path, JSON_ELEMENTS, &reader);
  assert_int_equal(status, STATUS_OK);
  do
    status = json_reader_next(reader, &element);
  while (status == STATUS_OK && element.value != NULL);
  json_reader_close(reader);
  unlink(file.path);
  return status;
}

static status_code_t parse_status(const char *text) {
  json_document_t document;
  status_code_t status = json_parse(text, strlen(text), "test", &document);
  json_free(&document);
  return status;
}

static void halves_of_pairs_are_refused(void **state) {
  (void)state;
  static const char *const texts[] = {"[\"\\ud83d\"]",         "[\"\\ud83dx\"]", "[\"\\ud83d\\u0041\"]",
                                      "[\"\\ud83d\\n\"]",      "[\"\\ude00\"]",  "[\"a\\ude00\\ud83d\"]",
                                      "[\"\\ud83d\\ud83d\"]",  "[\"\\uDBFF\"]",  "[\"\\\\\\ud83d\"]",
                                      "[{\"\\udfff\": \"a\"}]"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    assert_int_equal(parse_status(texts[i]), STATUS_DATA);
    assert_int_equal(stream_status(texts[i], strlen(texts[i])), STATUS_DATA);
  }
  error_clear();
}

/* YAJL takes them for blanks. */
static void odd_blanks_are_refused(void **state) {
  (void)state;
  static const char *const texts[] = {"[1,\v2]", "[1]\f", "[{\v\"a\": 1}]", "[\"\f\"]"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    assert_int_equal(parse_status(texts[i]), STATUS_DATA);
    assert_int_equal(stream_status(texts[i], strlen(texts[i])), STATUS_DATA);
  }
  assert_int_equal(parse_status("\v[1]"), STATUS_DATA);
  assert_int_equal(parse_status("\f[1]"), STATUS_DATA);
  assert_int_equal(parse_status(" \t\r\n[1]"), STATUS_OK);
  error_clear();
}

static void whole_pairs_come_through(void **state) {
  (void)state;
  static const char text[] = "[\"\\ud83d\\uDE00\", \"\\\\ud83d\", \"\\ud7ff\\ue000\"]";
  json_document_t document;
  assert_int_equal(json_parse(text, strlen(text), "test", &document), STATUS_OK);
  assert_string_equal(json_at(document.root, 0)->u.string, "\xf0\x9f\x98\x80");
  assert_string_equal(json_at(document.root, 1)->u.string, "\\ud83d");
  assert_string_equal(json_at(document.root, 2)->u.string, "\xed\x9f\xbf\xee\x80\x80");
  json_free(&document);
  assert_int_equal(stream_status(text, strlen(text)), STATUS_OK);
}

/* Wherever a piece of the file ends: within the first half, between the halves, within the second. */
static void pairs_may_lie_across_pieces(void **state) {
  (void)state;
  enum { PIECE = 256 * 1024, PAIR = 12 };
  for (int before = 0; before <= PAIR; before++) {
    size_t blank = (size_t)(PIECE - before - 2), n = blank + PAIR + 4;
    char *text = malloc(n);
    memset(text, ' ', n);
    memcpy(text, "[", 1);
    memcpy(text + blank, "\"\\ud83d\\ude00\"]", PAIR + 3);
    assert_int_equal(stream_status(text, n), STATUS_OK);
    memcpy(text + blank + 1 + PAIR / 2, "xxxxxx", PAIR / 2);
    assert_int_equal(stream_status(text, n), STATUS_DATA);
    error_clear();
    free(text);
  }
}

/* The last value counts, in the place of the first, in every object of a tree and of an element. */
static void check_unique(const json_t *root) {
  int64_t value = 0;
  const json_t *inner = NULL;
  assert_int_equal(root->count, 3);
  assert_string_equal(json_at(root, 0)->key, "a");
  assert_string_equal(json_at(root, 1)->key, "b");
  assert_string_equal(json_at(root, 2)->key, "c");
  assert_null(json_at(root, 3));
  assert_int_equal(json_int(root, "a", "test", &value), STATUS_OK);
  assert_int_equal(value, 3);
  assert_int_equal(json_object(root, "b", "test", &inner), STATUS_OK);
  assert_int_equal(inner->count, 1);
  assert_int_equal(json_int(inner, "x", "test", &value), STATUS_OK);
  assert_int_equal(value, 5);
  assert_null(json_get(root, "c"));
}

static void of_repeated_keys_the_last_counts(void **state) {
  (void)state;
  static const char text[] =
      "{\"a\": 1, \"b\": {\"x\": 4, \"x\": 5}, \"a\": {\"a\": 2}, \"c\": 6, \"c\": null, \"a\": 3}\n";
  json_document_t document;
  assert_int_equal(json_parse(text, strlen(text), "test", &document), STATUS_OK);
  check_unique(document.root);
  json_free(&document);
  json_strict_file_t file = file_with(text, strlen(text));
  json_reader_t *reader;
  json_element_t element;
  assert_int_equal(json_reader_open(file.path, JSON_ELEMENTS, &reader), STATUS_OK);
  assert_int_equal(json_reader_next(reader, &element), STATUS_OK);
  check_unique(element.value);
  json_reader_close(reader);
  unlink(file.path);
}

/* Many members, all of them repeated: in time that grows with their number. */
static void an_object_may_be_large(void **state) {
  (void)state;
  enum { MEMBERS = 200000 };
  char *text = malloc(MEMBERS * 32), *at = text;
  at += sprintf(at, "{");
  for (int i = 0; i < MEMBERS; i++)
    at += sprintf(at, "%s\"key%d\": %d", i == 0 ? "" : ",", i % (MEMBERS / 2), i);
  sprintf(at, "}");
  json_document_t document;
  assert_int_equal(json_parse(text, strlen(text), "test", &document), STATUS_OK);
  assert_int_equal(document.root->count, MEMBERS / 2);
  int64_t i = MEMBERS / 2;
  for (const json_t *member = document.root->u.first; member; member = member->next)
    assert_int_equal(member->u.integer, i++);
  assert_int_equal(i, MEMBERS);
  json_free(&document);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(halves_of_pairs_are_refused),      cmocka_unit_test(odd_blanks_are_refused),
      cmocka_unit_test(whole_pairs_come_through),         cmocka_unit_test(pairs_may_lie_across_pieces),
      cmocka_unit_test(of_repeated_keys_the_last_counts), cmocka_unit_test(an_object_may_be_large),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
