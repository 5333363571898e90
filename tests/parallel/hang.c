/* Run by test_watchdog under mpirun: hang CASE TIMEOUT. Exits with 0 if nothing ends it before. */
#include "base/log.h"
#include "parallel/comm.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A rank that never comes to the barrier that the others wait in. */
static status_t absent(comm_t *world) {
  if (comm_rank(world) == comm_size(world) - 1) {
    for (;;)
      pause();
  }
  perf_begin(REGION_BACKWARD);
  TRY(comm_barrier(world));
  perf_end(REGION_BACKWARD);
  return STATUS_OK;
}

/* The same where the others wait inside MPI, in a call that does not look at our clock. */
static status_t absent_from_split(comm_t *world) {
  comm_t *part = NULL;
  while (comm_rank(world) == 0)
    pause();
  TRY(comm_split(world, 0, 0, "part", &part));
  comm_free(part);
  return STATUS_OK;
}

/* Every rank waits for something that is not MPI: a wait marked by hand. */
static status_t stuck(comm_t *world) {
  watchdog_enter("something that never comes");
  while (comm_size(world) > 0)
    pause();
  watchdog_leave();
  return STATUS_OK;
}

/* Many short waits, which together last longer than the timeout, are no reason to stop. */
static status_t busy(comm_t *world, double seconds) {
  bool late = false;
  for (double end = perf_now() + seconds; !late;) {
    watchdog_enter("outer");
    TRY(comm_any(world, perf_now() > end, &late));
    watchdog_leave();
  }
  return STATUS_OK;
}

/* The last rank works for SECONDS without a collective, and says that it lives; the others wait for it. */
static status_t late(comm_t *world, double seconds) {
  double end = perf_now() + seconds;
  while (comm_rank(world) == comm_size(world) - 1 && perf_now() < end)
    watchdog_alive();
  return comm_barrier(world);
}

/* As if its node were gone, though it is in a wait and had always shown that it lives. */
static status_t stopped(comm_t *world, double seconds) {
  TRY(late(world, seconds));
  if (comm_rank(world) == comm_size(world) - 1) raise(SIGSTOP);
  return busy(world, seconds);
}

/* All ranks are stopped while they wait, as in a job that the scheduler suspends, and go on after SECONDS. */
static status_t suspended(comm_t *world, double seconds) {
  pid_t self = getpid();
  TRY(comm_barrier(world));
  watchdog_enter("outer");
  if (fork() == 0) {
    usleep((useconds_t)(1e6 * seconds));
    kill(self, SIGCONT);
    _exit(0);
  }
  raise(SIGSTOP);
  usleep((useconds_t)(2e5 * seconds));
  watchdog_leave();
  return comm_barrier(world);
}

/* The ranks wait for each other, in different calls. */
static status_t crossed(comm_t *world) {
  comm_t *other = NULL;
  TRY(comm_split(world, 0, comm_rank(world), "other", &other));
  TRY(comm_barrier(comm_rank(world) == 0 ? world : other));
  comm_free(other);
  return STATUS_OK;
}

/* The same, where the last rank has failed and wants to say so. */
static status_t failing(comm_t *world) {
  bool failed = comm_rank(world) == comm_size(world) - 1;
  comm_t *other = NULL;
  TRY(comm_split(world, 0, comm_rank(world), "other", &other));
  if (failed) return comm_agree(world, error_set(STATUS_DATA, "a file is broken"));
  return comm_barrier(other);
}

/* ---- What is said of it ---- */

typedef struct {
  int rank, missing; /* this rank; the one that holds all up, -1 where they hold up each other */
} hang_expected_t;

/* Ends the run with 1 where the message does not name the rank that nothing comes from, and its host. Only
 * rank 0 knows of others than itself. */
static void hang_tell(void *context, status_code_t status, const char *message) {
  const hang_expected_t *expected = context;
  char line[64];
  snprintf(line, sizeof line, "\n  rank %d on ", expected->missing);
  bool named = strstr(message, expected->missing < 0 ? "Nothing comes from" : line) != NULL;
  bool knows = expected->missing <= 0 || expected->rank == 0;
  fprintf(stderr, "%s: %s\n", status_name(status), message);
  if (knows && named != (expected->missing >= 0)) comm_abort(1);
}

static int hang_missing(const char *name, int size) {
  if (strcmp(name, "absent") == 0 || strcmp(name, "stopped") == 0) return size - 1;
  return strcmp(name, "absent_from_split") == 0 ? 0 : -1;
}

static status_t run(comm_t *world, const char *name, double timeout) {
  static hang_expected_t expected;
  expected = (hang_expected_t){comm_rank(world), hang_missing(name, comm_size(world))};
  TRY(watchdog_start(world, timeout));
  watchdog_on_end(hang_tell, &expected);
  if (strcmp(name, "late") == 0) TRY(late(world, 2 * timeout));
  if (strcmp(name, "stopped") == 0) TRY(stopped(world, timeout));
  if (strcmp(name, "suspended") == 0) TRY(suspended(world, 2 * timeout));
  if (strcmp(name, "crossed") == 0) TRY(crossed(world));
  if (strcmp(name, "failing") == 0) TRY(failing(world));
  if (strcmp(name, "absent") == 0) TRY(absent(world));
  if (strcmp(name, "absent_from_split") == 0) TRY(absent_from_split(world));
  if (strcmp(name, "stuck") == 0) TRY(stuck(world));
  if (strcmp(name, "busy") == 0) TRY(busy(world, 2 * timeout));
  watchdog_stop();
  return STATUS_OK;
}

int main(int argc, char **argv) {
  comm_t *world = NULL;
  if (comm_init(&argc, &argv, &world) != STATUS_OK || argc != 3) return 1;
  log_set_rank(comm_rank(world), comm_size(world));
  status_code_t status = run(world, argv[1], atof(argv[2]));
  if (status != STATUS_OK) comm_abort(1);
  comm_finish(world);
  return 0;
}
