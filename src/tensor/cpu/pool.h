/* The threads of a cpu device. Work is cut into items, and whoever is free takes the next: the caller works
 * too and never waits for a thread that has not begun, so that a core which is busy elsewhere (an image being
 * decoded, another rank) or a thread that must be woken costs its share of the speed, not a time slice per
 * operation as a team with barriers would. */
#ifndef TENSOR_CPU_POOL_H
#define TENSOR_CPU_POOL_H

#include "base/status.h"
#include "parallel/cores.h"

#include <stdint.h>

typedef struct pool pool_t;

/* One item of a job, done by THREAD (0: the caller). */
typedef void (*pool_task_t)(const void *context, int64_t item, int thread);

/* Makes a pool of THREADS, the caller of pool_run among them; 1 starts none. Errors: STATUS_MEMORY,
 * STATUS_DEVICE. Free with pool_free. Local. */
status_t pool_create(int threads, pool_t **out);
/* NULL is fine. */
void pool_free(pool_t *pool);

/* Does items 0 .. n-1 of a job on at most THREADS threads and returns when all are done; N at most
 * POOL_ITEMS_MAX. One caller at a time. */
enum { POOL_ITEMS_MAX = (1 << 22) - 1 };
void pool_run(pool_t *pool, int threads, int64_t n, pool_task_t task, const void *context);

/* Adds to CORES those that the pool's threads, but for the caller of pool_run, may run on. Local. */
void pool_add_cores(const pool_t *pool, core_set_t *cores);

#endif
