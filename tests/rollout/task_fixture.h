/* A small shapes world with a model that knows nothing, in a folder of its own, for the tests of whole tasks.
 */
#ifndef TESTS_ROLLOUT_TASK_FIXTURE_H
#define TESTS_ROLLOUT_TASK_FIXTURE_H

#include "io/json.h"
#include "mpi_test.h"
#include "session/session.h"

#include <string.h>

typedef struct {
  char folder[FILE_MAX_PATH]; /* world/, model.h5 (weights), reward.h5 (adapter, head "reward"), adapted.h5
                                 (the same adapter, to answer with) */
} fixture_t;

enum { FIXTURE_QUESTIONS = 16 };

/* Makes it: eval.json, pope.jsonl, prompts.json with their images, eval.h5 and prompts.h5 with facts.
 * Collective on WORLD. Remove with fixture_free. */
status_t fixture_create(comm_t *world, fixture_t *out);
void fixture_free(comm_t *world, fixture_t *fixture);

/* Runs TASK with the input TEXT, in which every '@' stands for the fixture's folder, on the plain device in
 * double, split over TP. Collective on WORLD. */
status_t fixture_run(const fixture_t *fixture, comm_t *world, int tp, const char *text,
                     status_t (*task)(session_t *session));

/* FOLDER/NAME to PATH. */
const char *fixture_path(const fixture_t *fixture, const char *name, char path[FILE_MAX_PATH]);

/* The one that all tests of a program share, and the first and the last of its tests, which make and remove
 * it. */
static inline fixture_t *fixture(void) {
  static fixture_t made;
  return &made;
}

static inline void fixture_set_up(void **state) {
  (void)state;
  assert_ok(fixture_create(mpi_test_world(), fixture()));
}

static inline void fixture_tear_down(void **state) {
  (void)state;
  fixture_free(mpi_test_world(), fixture());
}

/* The shared one's file NAME, '\0'-ended, to be freed with memory_free. */
static inline void fixture_read(const char *name, char **text) {
  char path[FILE_MAX_PATH];
  assert_ok(file_read(fixture_path(fixture(), name, path), 1 << 24, text, NULL));
}

static inline bool fixture_next_answer(json_reader_t *reader, const char **text) {
  json_element_t element;
  assert_ok(json_reader_next(reader, &element));
  if (element.value) assert_ok(json_string(element.value, "answer", "answers", text));
  return element.value != NULL;
}

/* How many elements of two files of answers have other texts as `answer`, of the *COUNT that both have. */
static inline int64_t fixture_answers_differ(const char *name, const char *other, int64_t *count) {
  char path[FILE_MAX_PATH];
  json_reader_t *readers[2];
  int64_t differ = 0;
  assert_ok(json_reader_open(fixture_path(fixture(), name, path), JSON_ELEMENTS, &readers[0]));
  assert_ok(json_reader_open(fixture_path(fixture(), other, path), JSON_ELEMENTS, &readers[1]));
  for (*count = 0;; ++*count) {
    const char *texts[2];
    bool more = fixture_next_answer(readers[0], &texts[0]);
    assert_int_equal(fixture_next_answer(readers[1], &texts[1]), more);
    if (!more) break;
    differ += strcmp(texts[0], texts[1]) != 0;
  }
  json_reader_close(readers[0]);
  json_reader_close(readers[1]);
  return differ;
}

#endif
