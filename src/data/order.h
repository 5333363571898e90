/* The order of samples: each epoch is a permutation drawn from (seed, epoch) alone, epochs follow each other
 * without a gap, and a batch is a run of positions; so what is in batch k depends on no layout and on nothing
 * that happened before, and a run continues from a position. */
#ifndef DATA_ORDER_H
#define DATA_ORDER_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  uint64_t seed;
  bool shuffled;
  int64_t count; /* samples of an epoch */
  int64_t *rows; /* (count): the samples' rows in the dataset; NULL: 0 .. count - 1 */
  int64_t epochs[2];
  int64_t *permutations[2]; /* (count) each, of epochs[]: a batch may lie across the border of two */
} order_t;

/* ROWS (count, copied; NULL: 0 .. count - 1) are the samples. Not SHUFFLED: every epoch in the order of ROWS.
 * Free with order_free. Errors: STATUS_DATA where there are no samples. Local. */
status_t order_create(uint64_t seed, bool shuffled, const int64_t *rows, int64_t count, order_t *order);
void order_free(order_t *order);

/* Rows of the samples at positions POSITION .. POSITION + N - 1, counted from the run's start, to ROWS (n).
 * Local. */
status_t order_rows(order_t *order, int64_t position, int64_t n, int64_t *rows);

/* Epoch of a position, and the place within it. Local. */
int64_t order_epoch(const order_t *order, int64_t position);
int64_t order_place(const order_t *order, int64_t position);

#endif
