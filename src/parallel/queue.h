/* A shared queue, of prompts or images: a counter 0..n-1 that groups of ranks fetch from (MPI one-sided
 * fetch-and-add). */
#ifndef PARALLEL_QUEUE_H
#define PARALLEL_QUEUE_H

#include "parallel/grid.h"

typedef struct queue queue_t;

/* N items. DETERMINISTIC deals them statically: group d gets items i with i % dp_size == d, in order.
 * Collective on the grid's world. */
status_t queue_create(const grid_t *grid, int64_t n, bool deterministic, queue_t **queue);

/* The same where every rank of COMM is a group of its own, whatever the layout; never static. Collective on
 * COMM, which takes the place of the grid's world. */
status_t queue_create_ranks(comm_t *comm, int64_t n, queue_t **queue);

/* Takes up to COUNT items: the tp leader fetches, all ranks of its tp group get the same ITEMS (count) and
 * *TAKEN; 0 when the queue is empty. Collective on the tp group only. */
status_t queue_take(queue_t *queue, int64_t count, int64_t *items, int64_t *taken);

/* Lets the counter's owner serve others (call between decode steps). Local. */
status_t queue_progress(queue_t *queue);

/* Collective on the grid's world. NULL is fine. */
void queue_free(queue_t *queue);

#endif
