/* Runs tasks on the tiny published models of golden/, and compares what comes out. All functions fail the
 * running test on errors, unless they return a status. */
#ifndef TESTS_CONVERT_CONVERT_TEST_H
#define TESTS_CONVERT_CONVERT_TEST_H

#include "io/tensors/tensor_file.h"
#include "session/models.h"

enum { CONVERT_TEXT = 8192 };

typedef struct {
  comm_t *world;
  int tp;
  char folder[64];          /* of what a test writes; gone afterwards */
  tensor_files_t *expected; /* golden/expected.safetensors */
} convert_test_t;

/* Collective on WORLD. */
void convert_test_open(comm_t *world, int tp, convert_test_t *out);
void convert_test_close(convert_test_t *test);

/* TEXT with the test's folder for each '@' and that of the tests for each '$'. */
const char *convert_fill(const convert_test_t *test, const char *text, char out[CONVERT_TEXT]);

/* Copies the file FROM to TO (convert_fill), where FIND (NULL: nothing), which it must hold, is REPLACE.
 * Collective. */
void convert_copy(const convert_test_t *test, const char *from, const char *to, const char *find,
                  const char *replace);

/* Runs TASK with the input TEXT (convert_fill) on the plain device in double. Collective. */
status_t convert_run(const convert_test_t *test, const char *text, status_t (*task)(session_t *session));

/* Compares, to 1e-5, the log-probabilities of expected.safetensors' CASE with those of the model, and of the
 * adapter if there is one, that the input "&model ... /" TEXT names; and the rewards, where a head is there.
 */
void convert_compare(const convert_test_t *test, const char *text, const char *name);

/* Compares the tower's features with the expected NAME. */
void convert_compare_features(const convert_test_t *test, const char *text, const char *name);

/* Fails unless both model files hold the same tensors, types and numbers. */
void convert_same(const convert_test_t *test, const char *path, const char *other);

#endif
