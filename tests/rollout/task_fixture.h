/* A small shapes world with a model that knows nothing, in a folder of its own, for the tests of whole tasks.
 */
#ifndef TESTS_ROLLOUT_TASK_FIXTURE_H
#define TESTS_ROLLOUT_TASK_FIXTURE_H

#include "run/session.h"

typedef struct {
  char folder[FILE_MAX_PATH]; /* world/, model.h5 (weights), reward.h5 (adapter, head "reward") */
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

#endif
