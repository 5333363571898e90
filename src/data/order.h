/* The order of samples: each epoch is a permutation drawn from (seed, epoch) alone, epochs follow each other
 * without a gap, and a batch is a run of positions; so what is in batch k depends on no layout and on nothing
 * that happened before, and a run continues from a position. */
#ifndef DATA_ORDER_H
#define DATA_ORDER_H

#include "parallel/node_memory.h"

typedef struct {
  uint64_t seed;
  bool shuffled;
  int64_t count;         /* samples of an epoch */
  node_memory_t *memory; /* of the arrays below; all ranks of a node have the same */
  int64_t *rows;         /* (count): the samples' rows in the dataset */
  int64_t epochs[2];
  int64_t *permutations[2]; /* (count) each, of epochs[]: a batch may lie across the border of two */
} order_t;

/* ROWS (count, copied; NULL: 0 .. count - 1), the same on all ranks, are the samples. Not SHUFFLED: every
 * epoch in the order of ROWS. Collective on COMM; local where COMM is NULL. Free with order_free, likewise.
 * Errors, agreed: STATUS_DATA where there are no samples; STATUS_MEMORY. */
status_t order_create(comm_t *comm, uint64_t seed, bool shuffled, const int64_t *rows, int64_t count,
                      order_t *order);
void order_free(order_t *order);

/* Rows of the samples at positions POSITION .. POSITION + N - 1, counted from the run's start, to ROWS (n).
 * Collective on order_create's COMM: all ask for the same. */
status_t order_rows(order_t *order, int64_t position, int64_t n, int64_t *rows);

/* Epoch of a position, and the place within it. Local. */
int64_t order_epoch(const order_t *order, int64_t position);
int64_t order_place(const order_t *order, int64_t position);

#endif
