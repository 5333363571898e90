/* The watchdog ends runs that hang, and no others: `hang` (hang.c) is run under mpirun and its exit status is
 * looked at. ctest's time limit is the bound on how long that may take. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* For cases that rest on rounds, which a rank must look at in time. On two cores with 12 endless loops and
 * four more such runs there were at most 0.21 s between two looks of a rank, and a round took 0.38 s on one
 * host, 0.43 s on two (0.05 s on idle cores). To name a rank takes two looks and 0.6 of the timeout; a round
 * that takes half of it names ranks that are there. */
static const double crowd_timeout = 1.5;

/* MPIRUN and HANG are paths that the build sets. Returns the exit status. */
static int run(const char *ranks, const char *name, double timeout) {
  char seconds[32];
  snprintf(seconds, sizeof seconds, "%g", timeout);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    execl(MPIRUN, MPIRUN, "--bind-to", "none", "-np", ranks, HANG, name, seconds, (char *)NULL);
    _exit(127);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

/* A machine on which TIMEOUT is too short a time for ranks to look is given more: what is wrong in the
 * watchdog is wrong with any. */
static void expect(const char *ranks, const char *name, double timeout, int status) {
  enum { TRIES = 3 };
  int found = run(ranks, name, timeout);
  for (int i = 1; i < TRIES && found != status && timeout > 0; i++) {
    print_message("%s on %s ranks: exit status %d with a timeout of %g s\n", name, ranks, found, timeout);
    timeout *= 4;
    found = run(ranks, name, timeout);
  }
  assert_int_equal(found, status);
}

static void absent_rank_ends_the_run(void **state) {
  (void)state;
  expect("2", "absent", crowd_timeout, 5);
  expect("4", "absent", crowd_timeout, 5);
  expect("3", "absent_from_split", crowd_timeout, 5);
}

static void wait_marked_by_hand_ends_the_run(void **state) {
  (void)state;
  expect("1", "stuck", 0.3, 5);
  expect("3", "stuck", 0.3, 5);
}

static void short_waits_do_not(void **state) {
  (void)state;
  expect("3", "busy", 1, 0);
}

static void a_rank_at_work_is_waited_for(void **state) {
  (void)state;
  expect("2", "late", crowd_timeout, 0);
  expect("8", "late", crowd_timeout, 0);
}

static void a_stopped_rank_ends_the_run(void **state) {
  (void)state;
  expect("2", "stopped", crowd_timeout, 5);
  expect("4", "stopped", crowd_timeout, 5);
}

static void a_suspended_run_goes_on(void **state) {
  (void)state;
  expect("1", "suspended", 1, 0);
  expect("3", "suspended", 1, 0);
}

static void ranks_that_wait_for_each_other_end_the_run(void **state) {
  (void)state;
  expect("3", "crossed", crowd_timeout, 5);
}

/* At once and with its own status, whatever the timeout. */
static void a_failure_that_nobody_comes_to_hear_of_ends_the_run(void **state) {
  (void)state;
  expect("3", "failing", 0, 3);
  expect("2", "failing", 600, 3);
}

static void nothing_is_watched_without_a_timeout(void **state) {
  (void)state;
  expect("2", "none", 0, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(absent_rank_ends_the_run),
      cmocka_unit_test(wait_marked_by_hand_ends_the_run),
      cmocka_unit_test(short_waits_do_not),
      cmocka_unit_test(a_rank_at_work_is_waited_for),
      cmocka_unit_test(a_stopped_rank_ends_the_run),
      cmocka_unit_test(a_suspended_run_goes_on),
      cmocka_unit_test(ranks_that_wait_for_each_other_end_the_run),
      cmocka_unit_test(a_failure_that_nobody_comes_to_hear_of_ends_the_run),
      cmocka_unit_test(nothing_is_watched_without_a_timeout),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
