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
    execl(MPIRUN, MPIRUN, "--oversubscribe", "--bind-to", "none", "-np", ranks, HANG, name, timeout,
          (char *)NULL);
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

static void nothing_is_watched_without_a_timeout(void **state) {
  (void)state;
  assert_int_equal(run("2", "none", "0"), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(absent_rank_ends_the_run),
      cmocka_unit_test(wait_marked_by_hand_ends_the_run),
      cmocka_unit_test(short_waits_do_not),
      cmocka_unit_test(nothing_is_watched_without_a_timeout),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
