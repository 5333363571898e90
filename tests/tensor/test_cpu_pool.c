/* The thread pool of the cpu device: every item of every job is done once, whoever takes it. */
#include "tensor/cpu/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { ITEMS = 200, MANY_THREADS = 7 };

typedef struct {
  atomic_int *done;      /* (ITEMS): how often each item was done */
  atomic_int *by;        /* (MANY_THREADS): how many items each thread did */
  atomic_int *outsiders; /* items done by threads beyond the limit */
  int limit;
} cpu_pool_job_t;

/* Later items take longer, so that threads end at different times. */
static void count_item(const void *context, int64_t item, int thread) {
  const cpu_pool_job_t *job = context;
  for (volatile int64_t i = 0; i < 3 * item; i++) {
  }
  atomic_fetch_add(&job->done[item], 1);
  atomic_fetch_add(&job->by[thread], 1);
  if (thread >= job->limit) atomic_fetch_add(job->outsiders, 1);
}

static void run_jobs(int threads, int limit, int jobs) {
  pool_t *pool = NULL;
  atomic_int done[ITEMS], by[MANY_THREADS] = {0}, outsiders = 0;
  cpu_pool_job_t job = {.done = done, .by = by, .outsiders = &outsiders, .limit = limit};
  int64_t total = 0;
  assert_int_equal(pool_create(threads, &pool), STATUS_OK);
  for (int i = 0; i < jobs; i++) {
    int64_t n = (i * 37) % (ITEMS + 1);
    memset(done, 0, sizeof done);
    pool_run(pool, limit, n, count_item, &job);
    for (int64_t item = 0; item < ITEMS; item++)
      assert_int_equal(atomic_load(&done[item]), item < n);
    total += n;
  }
  for (int thread = 0; thread < MANY_THREADS; thread++)
    total -= atomic_load(&by[thread]);
  assert_int_equal(total, 0);
  assert_int_equal(atomic_load(&outsiders), 0);
  pool_free(pool);
}

static void test_one_thread(void **state) {
  (void)state;
  run_jobs(1, 1, 50);
}

static void test_two_threads(void **state) {
  (void)state;
  run_jobs(2, 2, 2000);
}

/* More threads than most machines have cores: workers sleep between jobs. */
static void test_many_threads(void **state) {
  (void)state;
  run_jobs(MANY_THREADS, MANY_THREADS, 500);
}

static void test_limit(void **state) {
  (void)state;
  run_jobs(MANY_THREADS, 3, 500);
}

/* Threads that never had work end, too. */
static void test_no_jobs(void **state) {
  (void)state;
  for (int i = 0; i < 20; i++)
    run_jobs(MANY_THREADS, MANY_THREADS, 0);
  pool_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_thread),   cmocka_unit_test(test_two_threads),
      cmocka_unit_test(test_many_threads), cmocka_unit_test(test_limit),
      cmocka_unit_test(test_no_jobs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
