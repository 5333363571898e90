/* CMocka tests that run on several ranks. A test program's main is one line:
 *
 *   int main(int argc, char **argv) {
 *     const struct CMUnitTest tests[] = {cmocka_unit_test(sums_agree), ...};
 *     return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
 *   }
 *
 * Every rank runs every test, in the same order; tests get their communicator from mpi_test_world(). Rank 0
 * alone prints; the output of another rank is kept back and shown only if a test fails there (sanitizers
 * report at once). On more than one rank the first failing test ends the program on all ranks, because they
 * would no longer be in step. Include this header in one source file of a program, and link `parallel`. */
#ifndef TESTS_MPI_TEST_H
#define TESTS_MPI_TEST_H

#include "base/log.h"
#include "parallel/comm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Fails the test, showing the error's message, unless EXPR is STATUS_OK. */
#define assert_ok(expr)                                                                                      \
  do {                                                                                                       \
    status_code_t assert_status_ = (expr);                                                                   \
    if (assert_status_ != STATUS_OK) fail_msg("%s: %s", status_name(assert_status_), error_message());       \
  } while (0)

/* Fails the test unless EXPR returns the error STATUS with a message that names TEXT; then forgets the
 * message.
 */
#define assert_error_about(expr, status, text)                                                               \
  do {                                                                                                       \
    status_code_t assert_status_ = (expr);                                                                   \
    if (assert_status_ != (status))                                                                          \
      fail_msg("status %s, expected %s", status_name(assert_status_), status_name(status));                  \
    if (error_message()[0] == '\0' || !strstr(error_message(), (text)))                                      \
      fail_msg("'%s' does not name '%s'", error_message(), (text));                                          \
    error_clear();                                                                                           \
  } while (0)

/* The same with any message. */
#define assert_error(expr, status) assert_error_about(expr, status, "")

/* Present where a sanitizer is linked in. */
extern void __sanitizer_set_report_fd(void *file) __attribute__((weak));

static inline comm_t **mpi_test_world_place(void) {
  static comm_t *world;
  return &world;
}

/* The communicator of all ranks of the test program. */
static inline comm_t *mpi_test_world(void) {
  return *mpi_test_world_place();
}

/* Whether the ranks divide into groups of TP, none of them on two hosts (tests/hosts). Collective on all
 * ranks. */
static inline bool mpi_test_fits(int tp) {
  comm_t *world = mpi_test_world(), *part;
  int32_t first = comm_rank(world), last;
  bool spans;
  if (comm_size(world) % tp != 0) return false;
  assert_ok(comm_split_node(world, "node", &part));
  assert_ok(comm_allreduce(part, &first, 1, COMM_I32, COMM_MIN));
  comm_free(part);
  last = first;
  assert_ok(comm_split(world, comm_rank(world) / tp, comm_rank(world), "group", &part));
  assert_ok(comm_allreduce(part, &first, 1, COMM_I32, COMM_MIN));
  assert_ok(comm_allreduce(part, &last, 1, COMM_I32, COMM_MAX));
  comm_free(part);
  assert_ok(comm_any(world, first != last, &spans));
  return !spans;
}

/* Keeps back what this rank prints from now on; returns the file it goes to, or NULL (it is printed at once
 * then). */
static inline FILE *mpi_test_capture(void) {
  FILE *file = tmpfile();
  if (file != NULL) {
    dup2(fileno(file), STDOUT_FILENO);
    dup2(fileno(file), STDERR_FILENO);
  }
  return file;
}

/* Writes what was kept back in FILE (NULL: nothing) to SCREEN. */
static inline void mpi_test_show(FILE *file, int screen, int rank) {
  char buffer[4096];
  ssize_t n = 0;
  fflush(NULL);
  dprintf(screen, "[rank %d] a test failed:\n", rank);
  if (file == NULL || lseek(fileno(file), 0, SEEK_SET) < 0) return;
  while ((n = read(fileno(file), buffer, sizeof buffer)) > 0) {
    if (write(screen, buffer, (size_t)n) != n) return;
  }
}

/* Starts MPI, runs TESTS (count) on every rank, agrees on the outcome and finishes MPI. Returns the exit
 * status of the program: 0 if all tests passed on all ranks. */
static inline int mpi_test_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count) {
  comm_t **world = mpi_test_world_place();
  if (comm_init(&argc, &argv, world) != STATUS_OK) {
    fprintf(stderr, "MPI does not start: %s\n", error_message());
    return 1;
  }
  const int rank = comm_rank(*world), size = comm_size(*world);
  log_set_rank(rank, size);
  const int screen = dup(STDERR_FILENO); /* open to the end, for a leak report */
  if (__sanitizer_set_report_fd != NULL) __sanitizer_set_report_fd((void *)(intptr_t)screen);
  FILE *const kept = rank == 0 ? NULL : mpi_test_capture();
  bool failed = false;
  for (size_t i = 0; i < count; i++) {
    if (_cmocka_run_group_tests(tests[i].name, &tests[i], 1, NULL, NULL) == 0) continue;
    failed = true;
    if (size == 1) continue;
    mpi_test_show(kept, screen, rank);
    comm_abort(1);
  }
  comm_finish(*world);
  if (kept != NULL) fclose(kept);
  return failed ? 1 : 0;
}

#endif
