#define _GNU_SOURCE
#include "tensor/cpu/pool.h"

#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

/* A thread without work looks for some this long before it sleeps: longer than the pause between two
 * operations, shorter than a wait for other ranks. */
static const double spin_seconds = 100e-6;
/* Looks between two glances at the clock, and before the caller lets others run while it waits for the last
 * items. */
enum { LOOKS = 64, LOOKS_BEFORE_YIELD = 4096 };

/* The state of the current job in one word, changed by compare-and-swap: its number (high 32 bits), how many
 * threads may take part (10), how many items nobody has taken yet (22). Who has taken an item may read the
 * job's other fields: they stay until all items are done. */
enum { LEFT_BITS = 22, THREAD_BITS = 10, MOST_THREADS = (1 << THREAD_BITS) - 1 };
static const uint64_t left_mask = (1u << LEFT_BITS) - 1;

static int64_t word_left(uint64_t word) {
  return (int64_t)(word & left_mask);
}

static int word_threads(uint64_t word) {
  return (int)(word >> LEFT_BITS & MOST_THREADS);
}

typedef struct {
  pool_t *pool;
  int index; /* 1 .. threads-1 */
  pthread_t thread;
  sem_t wake;
  atomic_bool asleep; /* whoever clears it owes or takes back one wake */
} pool_worker_t;

struct pool {
  _Alignas(64) _Atomic uint64_t word;
  pool_task_t task;
  const void *context;
  int64_t n;
  _Alignas(64) _Atomic int64_t done; /* items of the current job */
  _Alignas(64) atomic_bool stop;
  double spin; /* seconds; 0 where there are more threads than cores */
  int threads;
  int started;            /* workers */
  pool_worker_t *workers; /* (threads - 1) */
};

static void relax_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

/* Takes and does items of the job in WORD's number while there are any. */
static void work_on(pool_t *pool, int thread) {
  uint64_t word = atomic_load_explicit(&pool->word, memory_order_acquire);
  while (word_left(word) > 0 && thread < word_threads(word)) {
    if (!atomic_compare_exchange_weak_explicit(&pool->word, &word, word - 1, memory_order_acquire,
                                               memory_order_acquire))
      continue;
    pool->task(pool->context, pool->n - word_left(word), thread);
    atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
    word = atomic_load_explicit(&pool->word, memory_order_acquire);
  }
}

static bool has_work_cpu(pool_t *pool, int thread) {
  uint64_t word = atomic_load(&pool->word);
  return (word_left(word) > 0 && thread < word_threads(word)) || atomic_load(&pool->stop);
}

static double now_cpu(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Looks for work for a while; false: there was none. */
static bool spin_for_work(pool_t *pool, int thread) {
  if (pool->spin == 0.0) return has_work_cpu(pool, thread);
  for (double start = now_cpu(); now_cpu() - start < pool->spin;)
    for (int look = 0; look < LOOKS; look++) {
      if (has_work_cpu(pool, thread)) return true;
      relax_cpu();
    }
  return false;
}

/* Sleeps until pool_run wakes this worker. It says that it sleeps first and looks for work once more after
 * that, and pool_run posts the work first and looks for sleepers after that: one of them sees the other. */
static void sleep_until_woken(pool_worker_t *worker) {
  atomic_store(&worker->asleep, true);
  if (has_work_cpu(worker->pool, worker->index) && atomic_exchange(&worker->asleep, false)) return;
  while (sem_wait(&worker->wake) != 0 && errno == EINTR) {
  }
}

static void *worker_main(void *argument) {
  pool_worker_t *worker = argument;
  pool_t *pool = worker->pool;
  while (!atomic_load(&pool->stop)) {
    if (spin_for_work(pool, worker->index))
      work_on(pool, worker->index);
    else
      sleep_until_woken(worker);
  }
  return NULL;
}

static void wake_cpu(pool_worker_t *worker) {
  if (atomic_load(&worker->asleep) && atomic_exchange(&worker->asleep, false)) sem_post(&worker->wake);
}

void pool_run(pool_t *pool, int threads, int64_t n, pool_task_t task, const void *context) {
  assert(n <= POOL_ITEMS_MAX);
  if (threads > pool->threads) threads = pool->threads;
  if (threads > n) threads = (int)n;
  if (threads <= 1) {
    for (int64_t i = 0; i < n; i++)
      task(context, i, 0);
    return;
  }
  pool->task = task;
  pool->context = context;
  pool->n = n;
  atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
  uint64_t number = (atomic_load_explicit(&pool->word, memory_order_relaxed) >> 32) + 1;
  atomic_store(&pool->word, number << 32 | (uint64_t)threads << LEFT_BITS | (uint64_t)n);
  for (int i = 0; i < threads - 1; i++)
    wake_cpu(&pool->workers[i]);
  work_on(pool, 0);
  for (int looks = 0; atomic_load_explicit(&pool->done, memory_order_acquire) < n; looks++) {
    if (looks < LOOKS_BEFORE_YIELD)
      relax_cpu();
    else
      sched_yield();
  }
}

static int cores_of_process(void) {
  core_set_t set;
  core_set_of_process(&set);
  return core_set_count(&set);
}

/* Signals are for the main thread: workers block them all. */
static status_t start_worker(pool_worker_t *worker) {
  sigset_t all, before;
  if (sem_init(&worker->wake, 0, 0) != 0)
    return error_set(STATUS_DEVICE, "cannot make a semaphore for a thread: %s", strerror(errno));
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&worker->thread, NULL, worker_main, worker);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (failed == 0) return STATUS_OK;
  sem_destroy(&worker->wake);
  return error_set(STATUS_DEVICE,
                   "cannot start thread %d of %d: %s; lower parallel.threads, or raise the limit of "
                   "processes (ulimit -u)",
                   worker->index, worker->pool->threads, strerror(failed));
}

static status_t pool_start(pool_t *pool) {
  TRY(memory_alloc(&pool->workers, ARENA_OTHER, (size_t)pool->threads - 1, sizeof *pool->workers));
  for (; pool->started < pool->threads - 1; pool->started++) {
    pool_worker_t *worker = &pool->workers[pool->started];
    worker->pool = pool;
    worker->index = pool->started + 1;
    TRY(start_worker(worker));
  }
  return STATUS_OK;
}

void pool_add_cores(const pool_t *pool, core_set_t *cores) {
  for (int i = 0; i < pool->started; i++)
    core_set_add_thread(cores, pool->workers[i].thread);
}

status_t pool_create(int threads, pool_t **out) {
  pool_t *pool = NULL;
  *out = NULL;
  TRY(memory_alloc(&pool, ARENA_OTHER, 1, sizeof *pool));
  pool->threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
  pool->spin = pool->threads > cores_of_process() ? 0.0 : spin_seconds;
  status_code_t status = pool_start(pool);
  if (status != STATUS_OK) {
    pool_free(pool);
    return status;
  }
  *out = pool;
  return STATUS_OK;
}

void pool_free(pool_t *pool) {
  if (!pool) return;
  atomic_store(&pool->stop, true);
  for (int i = 0; i < pool->started; i++)
    wake_cpu(&pool->workers[i]);
  for (int i = 0; i < pool->started; i++) {
    pthread_join(pool->workers[i].thread, NULL);
    sem_destroy(&pool->workers[i].wake);
  }
  memory_free(pool->workers);
  memory_free(pool);
}
