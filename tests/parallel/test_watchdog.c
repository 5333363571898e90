/* The watchdog ends runs that hang, and no others: `hang` (hang.c) is run under mpirun and its exit status is
 * looked at. ctest's time limit is the bound on how long that may take. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* MPIRUN and HANG are paths that the build sets. Returns the exit status. */
static int run(const char *ranks, const char *name, const char *timeout) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    execl(MPIRUN, MPIRUN, "--bind-to", "none", "-np", ranks, HANG, name, timeout, (char *)NULL);
    _exit(127);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void absent_rank_ends_the_run(void **state) {
  (void)state;
  assert_int_equal(run("2", "absent", "0.3"), 5);
  assert_int_equal(run("4", "absent", "0.3"), 5);
  assert_int_equal(run("3", "absent_from_split", "0.3"), 5);
}

static void wait_marked_by_hand_ends_the_run(void **state) {
  (void)state;
  assert_int_equal(run("1", "stuck", "0.3"), 5);
  assert_int_equal(run("3", "stuck", "0.3"), 5);
}

static void short_waits_do_not(void **state) {
  (void)state;
  assert_int_equal(run("3", "busy", "1"), 0);
}

static void a_rank_at_work_is_waited_for(void **state) {
  (void)state;
  assert_int_equal(run("2", "late", "0.5"), 0);
  assert_int_equal(run("8", "late", "0.5"), 0);
}

static void a_stopped_rank_ends_the_run(void **state) {
  (void)state;
  assert_int_equal(run("2", "stopped", "0.5"), 5);
  assert_int_equal(run("4", "stopped", "0.5"), 5);
}

static void a_suspended_run_goes_on(void **state) {
  (void)state;
  assert_int_equal(run("1", "suspended", "1"), 0);
  assert_int_equal(run("3", "suspended", "1"), 0);
}

static void ranks_that_wait_for_each_other_end_the_run(void **state) {
  (void)state;
  assert_int_equal(run("3", "crossed", "0.5"), 5);
}

/* At once and with its own status, whatever the timeout. */
static void a_failure_that_nobody_comes_to_hear_of_ends_the_run(void **state) {
  (void)state;
  assert_int_equal(run("3", "failing", "0"), 3);
  assert_int_equal(run("2", "failing", "600"), 3);
}

static void nothing_is_watched_without_a_timeout(void **state) {
  (void)state;
  assert_int_equal(run("2", "none", "0"), 0);
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
