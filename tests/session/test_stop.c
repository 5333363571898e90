/* What the signals do to a process that has taken them over. */
#include "session/stop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Runs BODY in a process of its own, for it may end by a signal; returns the status of waitpid. */
static int run(void (*body)(void)) {
  int status = 0;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    body();
    _exit(1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  return status;
}

static void ask(int signal_number) {
  stop_install();
  raise(signal_number);
  _exit(stop_signal() == signal_number ? 0 : 1);
}

static void ask_usr1(void) {
  ask(SIGUSR1);
}

static void ask_term(void) {
  ask(SIGTERM);
}

static void ask_hup(void) {
  ask(SIGHUP);
}

static void ask_int(void) {
  ask(SIGINT);
}

static void ask_twice(void) {
  stop_install();
  raise(SIGINT);
  if (stop_signal() != SIGINT) _exit(1);
  raise(SIGINT);
}

static void ask_first_blocked(void) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  raise(SIGTERM);
  stop_install();
  _exit(stop_signal() == SIGTERM ? 0 : 1);
}

static void in_the_background(void) {
  signal(SIGINT, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  stop_install();
  raise(SIGINT);
  raise(SIGHUP);
  _exit(stop_signal() == 0 ? 0 : 1);
}

static void write_to_nobody(void) {
  int ends[2];
  if (pipe(ends) != 0) _exit(1);
  close(ends[0]);
  stop_install();
  _exit(write(ends[1], "x", 1) == -1 && stop_signal() == 0 ? 0 : 1);
}

static void ask_after_release(void) {
  stop_install();
  stop_release();
  raise(SIGTERM);
}

static void signals_are_requests(void **state) {
  (void)state;
  assert_int_equal(run(ask_usr1), 0);
  assert_int_equal(run(ask_term), 0);
  assert_int_equal(run(ask_hup), 0);
  assert_int_equal(run(ask_int), 0);
  assert_int_equal(run(ask_first_blocked), 0);
}

static void a_second_interrupt_ends_at_once(void **state) {
  (void)state;
  int status = run(ask_twice);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGINT);
}

static void what_was_ignored_stays_so(void **state) {
  (void)state;
  assert_int_equal(run(in_the_background), 0);
}

static void a_broken_pipe_is_an_error_of_the_call(void **state) {
  (void)state;
  assert_int_equal(run(write_to_nobody), 0);
}

static void released_signals_end_the_process(void **state) {
  (void)state;
  int status = run(ask_after_release);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGTERM);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(signals_are_requests),
      cmocka_unit_test(a_second_interrupt_ends_at_once),
      cmocka_unit_test(what_was_ignored_stays_so),
      cmocka_unit_test(a_broken_pipe_is_an_error_of_the_call),
      cmocka_unit_test(released_signals_end_the_process),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
