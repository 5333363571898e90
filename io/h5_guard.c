#define _GNU_SOURCE
#include "io/h5_guard.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SIGNALS = 6, STACK_BYTES = 64 << 10, LAST_SECONDS = 20 };

/* The last one comes from the timer. */
static const int signals[SIGNALS] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGVTALRM};
static double limit_seconds = 30;

sigjmp_buf h5_guard_place;

static struct {
  bool inside, broken;
  pthread_t thread;
  pid_t process; /* that has the timer: a child of it has none */
  timer_t timer;
  struct sigaction before[SIGNALS];
  stack_t stack_before;
  char stack[STACK_BYTES]; /* a crash may be one of the stack */
  volatile sig_atomic_t signal;
  char message[1024]; /* of the first failure */
  int exit_status;
} guard;

bool h5_guard_is_broken(void) {
  return guard.broken;
}

void h5_guard_set_limit(double seconds) {
  limit_seconds = seconds;
}

/* The library has failed and the program's orderly end with it. */
static void h5_guard_end_now(int number) {
  (void)number;
  ssize_t written = write(STDERR_FILENO, guard.message, strlen(guard.message));
  (void)written;
  _exit(guard.exit_status);
}

static void h5_guard_handle(int number) {
  bool ours = pthread_equal(pthread_self(), guard.thread);
  if (ours && guard.inside) {
    guard.signal = number;
    siglongjmp(h5_guard_place, 1);
  }
  if (ours && guard.broken) h5_guard_end_now(number);
  for (int s = 0; s < SIGNALS; s++) /* another thread's crash: not the library's */
    if (signals[s] == number) sigaction(number, &guard.before[s], NULL);
  raise(number);
}

/* ---- in and out ---- */

static void timer_set(double seconds) {
  struct itimerspec time = {.it_value = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)}};
  if (guard.process == getpid()) timer_settime(guard.timer, 0, &time, NULL);
}

/* Of this thread's processor time: a slow disk is no endless loop. */
static void timer_make(void) {
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGVTALRM};
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &guard.timer) == 0) guard.process = getpid();
}

bool h5_guard_enter(void) {
  if (guard.broken) return false;
  if (guard.process != getpid()) timer_make();
  struct sigaction action = {.sa_handler = h5_guard_handle, .sa_flags = SA_ONSTACK};
  const stack_t stack = {.ss_sp = guard.stack, .ss_size = sizeof guard.stack};
  sigaltstack(&stack, &guard.stack_before);
  guard.thread = pthread_self();
  guard.inside = true;
  for (int s = 0; s < SIGNALS; s++)
    sigaction(signals[s], &action, &guard.before[s]);
  timer_set(limit_seconds);
  return true;
}

status_t h5_guard_leave(status_code_t status) {
  timer_set(0);
  guard.inside = false;
  for (int s = 0; s < SIGNALS; s++)
    sigaction(signals[s], &guard.before[s], NULL);
  sigaltstack(&guard.stack_before, NULL);
  return status;
}

/* The handlers stay: the memory that the library used may be damaged, so nothing is certain any more. */
status_t h5_guard_failed(const char *path) {
  if (guard.broken)
    return error_set(STATUS_DATA, "%s: not read, since reading another file has failed: %s", path,
                     guard.message);
  guard.inside = false;
  guard.broken = true;
  guard.exit_status = status_exit(STATUS_DATA);
  timer_set(0);
  snprintf(guard.message, sizeof guard.message,
           "%.900s: HDF5 %s on it: the file is damaged; take another copy or make it again\n", path,
           guard.signal == SIGVTALRM ? "does not come to an end" : "crashes");
  signal(SIGALRM, h5_guard_end_now);
  alarm(LAST_SECONDS);
  return error_set(STATUS_DATA, "%.*s", (int)strlen(guard.message) - 1, guard.message);
}
