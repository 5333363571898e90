/* A small shapes world with a model that knows nothing, in a folder of its own, for the tests of whole tasks.
 */
#ifndef TESTS_ROLLOUT_TASK_FIXTURE_H
#define TESTS_ROLLOUT_TASK_FIXTURE_H

#include "mpi_test.h"
#include "run/session.h"

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

#endif
