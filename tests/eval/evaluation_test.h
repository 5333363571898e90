/* What task evaluate has written, for its tests. */
#ifndef TESTS_EVAL_EVALUATION_TEST_H
#define TESTS_EVAL_EVALUATION_TEST_H

#include "eval/evaluate.h"
#include "eval/tally.h"
#include "mpi_test.h"
#include "rollout/task_fixture.h"

#include <math.h>
#include <string.h>

static inline const char *member(const json_element_t *element, const char *key) {
  const char *text;
  assert_ok(json_string(element->value, key, "answer", &text));
  return text;
}

/* The next answer of a file; false at its end. */
static inline bool next_answer(json_reader_t *reader, json_element_t *element) {
  assert_ok(json_reader_next(reader, element));
  return element->value != NULL;
}

static inline json_reader_t *open_answers(const char *name) {
  char path[FILE_MAX_PATH];
  json_reader_t *reader;
  assert_ok(json_reader_open(fixture_path(fixture(), name, path), JSON_ELEMENTS, &reader));
  return reader;
}

static inline void check_real(const json_t *object, const char *key, double expected) {
  double got;
  assert_ok(json_real(object, key, "evaluation", &got));
  assert_true(fabs(got - expected) < 1e-12);
}

/* KEY with its interval; an end that is not known is null. */
static inline void check_interval(const json_t *object, const char *key, interval_t expected) {
  char name[64];
  int64_t answers;
  check_real(object, key, expected.value);
  snprintf(name, sizeof name, "%s_answers", key);
  assert_ok(json_int(object, name, "evaluation", &answers));
  assert_int_equal(answers, expected.answers);
  for (int end = 0; end < 2; end++) {
    snprintf(name, sizeof name, end == 0 ? "%s_low" : "%s_high", key);
    if (isfinite(expected.low))
      check_real(object, name, end == 0 ? expected.low : expected.high);
    else
      assert_null(json_get(object, name)); /* null */
  }
}

/* The models of an evaluation.json, COUNT of them. */
static inline const json_t *open_models(const char *name, int64_t count, json_document_t *document) {
  char path[FILE_MAX_PATH];
  const json_t *models;
  assert_ok(json_parse_file(fixture_path(fixture(), name, path), 1 << 24, document));
  assert_ok(json_array(document->root, "models", "evaluation", &models));
  assert_int_equal(models->count, count);
  return models;
}

#endif
