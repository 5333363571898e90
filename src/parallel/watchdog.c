#define _GNU_SOURCE
#include "parallel/watchdog.h"

#include "base/log.h"
#include "base/memory.h"
#include "parallel/comm_internal.h"
#include "parallel/rounds.h"
#include "perf/perf.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CALL_MAX = 40, RANKS_SHOWN = 8 };

/* Seconds that a rank which has failed waits for others that all wait for each other. */
static const double failing_patience = 3;
/* Seconds by which the ranks of other nodes leave rank 0 the first word. */
static const double leader_precedence = 4;
/* Most seconds between two rounds. */
static const double round_interval = 1;

/* What the ranks of a node show each other, in memory that they share. Only its own rank writes an entry. */
typedef struct {
  _Atomic uint64_t calls; /* waits begun so far */
  _Atomic double since;   /* perf_now() at the start of the current wait, 0 outside */
  _Atomic double moved;   /* the same at the newest sign of life */
  _Atomic int region;     /* region_t at the start of the newest wait */
  _Atomic int world_rank;
  _Atomic int reporting;       /* entry 0 only: some rank of the node is writing the report */
  _Atomic char call[CALL_MAX]; /* the newest wait; the last byte stays 0 */
  char apart[64];              /* keeps the entries of different ranks out of each other's cache lines */
} watchdog_entry_t;

/* The watch of this process. Like the log it is one per process, because any code may mark a wait. */
static struct {
  bool started;
  rounds_t *rounds;     /* NULL: one rank */
  uint64_t moves;       /* signs of life of this rank */
  status_code_t failed; /* see watchdog_failing */
  watchdog_tell_t tell;
  void *tell_context;
  atomic_flag ending;         /* some thread ends the run */
  watchdog_entry_t *mine;     /* NULL: nothing is watched */
  watchdog_entry_t **entries; /* (node_size) */
  int node_size;
  int depth; /* open waits of the main thread; the outermost is the one watched */
  double timeout;
  double looked, resumed; /* the thread's newest look; its newest one after a time in which it did not run */
  comm_t *node;
  MPI_Win window;
  watchdog_entry_t *alone; /* the entry where there is one rank and thus no window */
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  bool stop;
} watch = {.mutex = PTHREAD_MUTEX_INITIALIZER, .window = MPI_WIN_NULL, .ending = ATOMIC_FLAG_INIT};

/* ---- Signs of life ---- */

void watchdog_alive(void) {
  if (!watch.started) return;
  double now = perf_now();
  watch.moves++;
  if (watch.mine != NULL) atomic_store_explicit(&watch.mine->moved, now, memory_order_relaxed);
  if (watch.rounds != NULL) rounds_look(watch.rounds, watch.moves, now);
}

static void watchdog_end_failing(void);

void watchdog_poll(void) {
  if (watch.rounds == NULL) return;
  rounds_look(watch.rounds, watch.moves, perf_now());
  if (watch.failed != STATUS_OK && rounds_still(watch.rounds) > failing_patience) watchdog_end_failing();
}

void watchdog_failing(status_code_t status) {
  watch.failed = status == STATUS_STOPPED ? STATUS_OK : status; /* a clean stop is no failure */
}

void watchdog_enter(const char *call) {
  watchdog_entry_t *entry = watch.mine;
  watchdog_alive();
  if (entry == NULL || watch.depth++ > 0) return;
  for (int i = 0; i < CALL_MAX - 1; i++) {
    atomic_store_explicit(&entry->call[i], call[i], memory_order_relaxed);
    if (call[i] == '\0') break;
  }
  atomic_store_explicit(&entry->region, (int)perf_region(), memory_order_relaxed);
  atomic_fetch_add_explicit(&entry->calls, 1, memory_order_relaxed);
  atomic_store_explicit(&entry->since, perf_now(), memory_order_release);
}

void watchdog_leave(void) {
  watchdog_alive();
  if (watch.mine == NULL || --watch.depth > 0) return;
  atomic_store_explicit(&watch.mine->since, 0, memory_order_release);
}

/* ---- The end of a run ---- */

void watchdog_on_end(watchdog_tell_t tell, void *context) {
  watch.tell_context = context;
  watch.tell = tell;
}

/* Says what the run ends for and ends it. The disk may be what hangs: the time for saying so is limited. */
static _Noreturn void end_run(status_code_t status, const char *message) {
  comm_abort_soon(status_exit(status));
  if (atomic_flag_test_and_set(&watch.ending)) {
    for (;;)
      pause(); /* another thread of this rank is at it */
  }
  if (watch.tell != NULL) {
    watch.tell(watch.tell_context, status, message);
  } else {
    log_error("%s", message);
  }
  comm_abort(status_exit(status));
}

static void watchdog_end_failing(void) {
  char message[4096];
  snprintf(message, sizeof message, "%s", error_message());
  end_run(watch.failed, message);
}

static void watchdog_read_call(watchdog_entry_t *entry, char *call) {
  for (int i = 0; i < CALL_MAX; i++)
    call[i] = atomic_load_explicit(&entry->call[i], memory_order_relaxed);
}

/* Appends one line about a rank. */
static void watchdog_describe(watchdog_entry_t *entry, double now, char *text, size_t capacity) {
  char call[CALL_MAX];
  size_t used = strlen(text);
  double since = atomic_load(&entry->since), silent = now - atomic_load(&entry->moved);
  watchdog_read_call(entry, call);
  const char *region = perf_region_name((region_t)atomic_load(&entry->region));
  unsigned long long calls = atomic_load(&entry->calls);
  int rank = atomic_load(&entry->world_rank);
  if (since > 0) {
    snprintf(text + used, capacity - used,
             "\n  rank %d waits in '%s' (region %s) for %.1f s, its wait no. %llu", rank, call, region,
             now - since, calls);
  } else if (calls > 0) {
    snprintf(text + used, capacity - used,
             "\n  rank %d is in no wait and silent for %.1f s; its newest was no. %llu, '%s' (region %s)",
             rank, silent, calls, call, region);
  } else {
    snprintf(text + used, capacity - used, "\n  rank %d has waited for nothing yet", rank);
  }
}

/* A rank lags if it is outside any wait or has begun fewer of them than this one. */
static bool watchdog_lags(watchdog_entry_t *entry) {
  return atomic_load(&entry->since) <= 0 || atomic_load(&entry->calls) < atomic_load(&watch.mine->calls);
}

/* Appends the node's ranks that lag, or, ALL, all but this one; returns their number. */
static int watchdog_describe_ranks(bool all, double now, char *text, size_t capacity) {
  int found = 0;
  for (int i = 0; i < watch.node_size; i++) {
    if (watch.entries[i] == watch.mine || !(all || watchdog_lags(watch.entries[i]))) continue;
    if (found++ < RANKS_SHOWN) watchdog_describe(watch.entries[i], now, text, capacity);
  }
  size_t used = strlen(text);
  if (found > RANKS_SHOWN) snprintf(text + used, capacity - used, "\n  and %d more", found - RANKS_SHOWN);
  return found;
}

static _Noreturn void report(double now, double since, double silent) {
  char head[640], ranks[4096] = "", absent[1024] = "", call[CALL_MAX];
  char message[sizeof head + sizeof ranks + sizeof absent + 256];
  const char *title = "Ranks of this node that lag:";
  watchdog_read_call(watch.mine, call);
  snprintf(head, sizeof head,
           "rank %d has waited %.1f s in '%s' (region %s, wait no. %llu), and no rank has shown a sign of "
           "life for %.1f s, longer than parallel.timeout = %g s: the run ends.",
           atomic_load(&watch.mine->world_rank), now - since, call,
           perf_region_name((region_t)atomic_load(&watch.mine->region)),
           (unsigned long long)atomic_load(&watch.mine->calls), silent, watch.timeout);
  if (watchdog_describe_ranks(false, now, ranks, sizeof ranks) == 0) {
    title = "No rank of this node lags (look at other nodes' messages, or for ranks whose waits differ):";
    if (watchdog_describe_ranks(true, now, ranks, sizeof ranks) == 0)
      title = "It is the only rank of this node.";
  }
  int count = watch.rounds != NULL ? rounds_describe(watch.rounds, absent, sizeof absent) : 0;
  snprintf(message, sizeof message, "%s %s%s%s%s", head, title, ranks,
           count > 0 ? "\nNothing comes from (gone with its host, cut off, stopped, or in an endless loop):"
                     : "",
           absent);
  end_run(STATUS_COMM, message);
}

/* When any rank has shown a sign of life, as far as this one knows; a process that was stopped (a suspended
 * job) does not count that time. */
static double newest_sign(double since) {
  double moved = atomic_load_explicit(&watch.mine->moved, memory_order_relaxed);
  double seen = watch.rounds != NULL ? rounds_seen(watch.rounds) : 0;
  if (moved > since) since = moved;
  if (watch.resumed > since) since = watch.resumed;
  return seen > since ? seen : since;
}

/* Seconds between two looks, which cost nothing. */
static double watchdog_period(void) {
  return fmin(fmax(watch.timeout / 10, 0.01), 1);
}

/* Seconds that this rank leaves others to notice first: its node's first one, and rank 0, which knows most.
 */
static double watchdog_precedence(void) {
  double precedence = watch.mine == watch.entries[0] ? 0 : 2 * watchdog_period();
  return precedence + (watch.rounds != NULL && rounds_led(watch.rounds) ? leader_precedence : 0);
}

static void watchdog_notice_stop(double now) {
  if (now - watch.looked > 10 * watchdog_period()) watch.resumed = now;
  watch.looked = now;
}

/* Looks once; ends the run if the current wait is overdue. The first rank of a node to notice reports; the
 * others leave it the time to do so. */
static void watchdog_look(void) {
  double since = atomic_load_explicit(&watch.mine->since, memory_order_acquire), now = perf_now();
  watchdog_notice_stop(now);
  if (since <= 0) return;
  double silent = now - newest_sign(since);
  if (silent < watch.timeout || silent < watch.timeout + watchdog_precedence()) return;
  if (atomic_exchange(&watch.entries[0]->reporting, 1) == 0) report(now, since, silent);
  nanosleep(&(struct timespec){.tv_sec = 2}, NULL);
  comm_abort(status_exit(STATUS_COMM));
}

static void *watch_thread(void *unused) {
  (void)unused;
  pthread_mutex_lock(&watch.mutex);
  while (!watch.stop) {
    struct timespec until;
    double wake = perf_now() + watchdog_period();
    until.tv_sec = (time_t)wake;
    until.tv_nsec = (long)((wake - (double)until.tv_sec) * 1e9);
    pthread_cond_timedwait(&watch.wake, &watch.mutex, &until);
    if (!watch.stop) watchdog_look();
  }
  pthread_mutex_unlock(&watch.mutex);
  return NULL;
}

static status_t share_entries(comm_t *world, watchdog_entry_t **own) {
  TRY(comm_split_node(world, "node (watchdog)", &watch.node));
  watch.node_size = comm_size(watch.node);
  TRY(memory_alloc(&watch.entries, ARENA_COMM, (size_t)watch.node_size, sizeof(watchdog_entry_t *)));
  TRY_MPI(MPI_Win_allocate_shared(sizeof(watchdog_entry_t), 1, MPI_INFO_NULL, comm_mpi(watch.node), own,
                                  &watch.window));
  TRY_MPI(MPI_Win_set_errhandler(watch.window, MPI_ERRORS_RETURN));
  for (int i = 0; i < watch.node_size; i++) {
    MPI_Aint bytes;
    int unit;
    TRY_MPI(MPI_Win_shared_query(watch.window, i, &bytes, &unit, &watch.entries[i]));
  }
  return STATUS_OK;
}

static status_t own_entry(watchdog_entry_t **own) {
  watch.node_size = 1;
  TRY(memory_alloc(&watch.entries, ARENA_COMM, 1, sizeof(watchdog_entry_t *)));
  TRY(memory_alloc(&watch.alone, ARENA_COMM, 1, sizeof(watchdog_entry_t)));
  watch.entries[0] = *own = watch.alone;
  return STATUS_OK;
}

/* Sleeps by the clock of perf_now(), which no change of the time of day moves. */
static status_t watchdog_start_thread(void) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&watch.wake, &attributes);
  pthread_condattr_destroy(&attributes);
  watch.stop = false;
  int code = pthread_create(&watch.thread, NULL, watch_thread, NULL);
  if (code != 0) return error_set(STATUS_COMM, "the watchdog's thread does not start: %s", strerror(code));
  return STATUS_OK;
}

static void watchdog_release(void) {
  if (watch.window != MPI_WIN_NULL) MPI_Win_free(&watch.window);
  comm_free(watch.node);
  memory_free(watch.entries);
  memory_free(watch.alone);
  watch.window = MPI_WIN_NULL;
  watch.node = NULL;
  watch.entries = NULL;
  watch.alone = NULL;
}

/* The entry is complete before the first rank reads another's: a barrier ends the set-up. */
static status_t watchdog_start_watching(comm_t *world) {
  watchdog_entry_t *own = NULL;
  TRY(comm_size(world) > 1 ? share_entries(world, &own) : own_entry(&own));
  memset(own, 0, sizeof *own);
  atomic_store(&own->world_rank, comm_rank(world));
  TRY(comm_barrier(world));
  watch.depth = 0;
  watch.looked = perf_now();
  watch.resumed = 0;
  watch.mine = own;
  return watchdog_start_thread();
}

static status_t watchdog_start_inner(comm_t *world) {
  double interval = watch.timeout > 0 ? fmin(watch.timeout / 10, round_interval) : round_interval;
  if (comm_size(world) > 1) TRY(rounds_start(world, interval, watch.timeout / 2, &watch.rounds));
  return watch.timeout > 0 ? watchdog_start_watching(world) : STATUS_OK;
}

status_t watchdog_start(comm_t *world, double timeout) {
  if (watch.started) return error_set(STATUS_INTERNAL, "the watchdog was started twice");
  watch.timeout = timeout;
  status_code_t status = watchdog_start_inner(world);
  watch.started = status == STATUS_OK;
  if (status == STATUS_OK) return STATUS_OK;
  watch.mine = NULL;
  watchdog_release();
  return status;
}

void watchdog_stop(void) {
  if (!watch.started) return;
  if (watch.mine != NULL) {
    pthread_mutex_lock(&watch.mutex);
    watch.stop = true;
    pthread_cond_signal(&watch.wake);
    pthread_mutex_unlock(&watch.mutex);
    pthread_join(watch.thread, NULL);
    pthread_cond_destroy(&watch.wake);
  }
  rounds_stop(watch.rounds);
  watch.rounds = NULL;
  watch.started = false;
  watch.mine = NULL;
  watch.tell = NULL;
  watch.failed = STATUS_OK;
  watchdog_release();
}
