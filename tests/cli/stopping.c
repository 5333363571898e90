/* The program with a signal that arrives at a chosen moment: the STOP_LOOK-th time (from 1) that rank
 * STOP_RANK looks for one. Linked with --wrap=stop_signal, which sends the looks through here. STOP_COUNT
 * names a file that gets the number of looks of that rank. With STOP_SECONDS the moment brings no signal: the
 * clock of that thread is so many seconds ahead from there on (--wrap=perf_now), however fast the machine is.
 * With STOP_WAITS the rank waits there for a signal, or its death, from outside, however long that takes, or
 * for a file of that name. With STOP_SLOW the other ranks take so many milliseconds more for each look. Or
 * with memory that is used up at a chosen moment: the MEMORY_FAILS-th block that rank 1 asks for
 * (--wrap=memory_alloc). */
#include "base/memory.h"
#include "perf/perf.h"
#include "session/stop.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int __real_stop_signal(void);
int __wrap_stop_signal(void);

double __real_perf_now(void);
double __wrap_perf_now(void);

status_code_t __real_memory_alloc(void *out, arena_t arena, size_t count, size_t size);
status_code_t __wrap_memory_alloc(void *out, arena_t arena, size_t count, size_t size);

static int64_t looks, blocks;
static _Thread_local double ahead; /* of the thread that looks: the watchdog's keeps the time */

double __wrap_perf_now(void) {
  return __real_perf_now() + ahead;
}

status_code_t __wrap_memory_alloc(void *out, arena_t arena, size_t count, size_t size) {
  const char *at = getenv("MEMORY_FAILS"), *mine = getenv("OMPI_COMM_WORLD_RANK");
  void *nothing = NULL;
  bool fails = at && mine && strcmp(mine, "1") == 0 && ++blocks == atoll(at);
  if (!fails) return __real_memory_alloc(out, arena, count, size);
  memcpy(out, &nothing, sizeof nothing);
  return error_set(STATUS_MEMORY, "block %lld of the test is refused", (long long)blocks);
}

static void write_count(void) {
  const char *path = getenv("STOP_COUNT");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "%lld\n", (long long)looks);
  fclose(file);
}

static void wait_milliseconds(long count) {
  nanosleep(&(struct timespec){.tv_nsec = 1000000 * count}, NULL);
}

static void wait_for_signal(const char *file) {
  while (!__real_stop_signal() && access(file, F_OK) != 0)
    wait_milliseconds(1);
}

int __wrap_stop_signal(void) {
  const char *at = getenv("STOP_LOOK"), *seconds = getenv("STOP_SECONDS");
  const char *file = getenv("STOP_WAITS"), *slow = getenv("STOP_SLOW");
  const char *rank = getenv("STOP_RANK"), *mine = getenv("OMPI_COMM_WORLD_RANK");
  bool chosen = rank && strcmp(rank, mine ? mine : "0") == 0;
  if (!chosen && slow) wait_milliseconds(atol(slow));
  if (!chosen) return __real_stop_signal();
  if (looks++ == 0) atexit(write_count);
  if (!at || looks != atoll(at)) return __real_stop_signal();
  if (seconds)
    ahead = atof(seconds);
  else if (file)
    wait_for_signal(file);
  else
    raise(SIGUSR1);
  return __real_stop_signal();
}
