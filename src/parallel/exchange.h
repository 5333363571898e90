/* Moves variable-sized items between the ranks of a communicator: the one primitive behind dealing. */
#ifndef PARALLEL_EXCHANGE_H
#define PARALLEL_EXCHANGE_H

#include "parallel/comm.h"

/* An item is a run of bytes with a number that is unique over all ranks. */
typedef struct {
  int64_t id;
  int destination; /* rank in the communicator */
  const void *bytes;
  size_t size;
} exchange_item_t;

typedef struct {
  int64_t id;
  const void *bytes; /* inside the exchange_t */
  size_t size;
} exchange_received_t;

typedef struct {
  exchange_received_t *items; /* (count), by ascending id: independent of where they came from */
  int64_t count;
  void *storage;
} exchange_t;

/* Sends ITEMS (count, may be 0) to their destinations. Collective on COMM. Free RESULT with exchange_free.
 * Errors of what a rank gives and gets are agreed: STATUS_INTERNAL (a destination or number that cannot be),
 * STATUS_MEMORY; those of the transfer itself (STATUS_COMM, no memory for what comes in) are a rank's own. */
status_t exchange_items(comm_t *comm, const exchange_item_t *items, int64_t count, exchange_t *result);
void exchange_free(exchange_t *result);

/* Deals N sequences of LENGTHS (n) over GROUPS: longest first, each to the group with the fewest tokens so
 * far (ties: lowest group; equal lengths: lowest index). GROUP (n) out. The same on every caller. Local. */
status_t deal_by_length(const int32_t *lengths, int64_t n, int groups, int32_t *group);

/* Cuts the sequences INDICES (n, of LENGTHS) into micro-batches of at most MAX_TOKENS tokens (a longer
 * sequence gets one of its own), longest first. UNIT sequences that follow each other in INDICES stay
 * together (n % unit == 0). MICRO (n) out: number of the micro-batch of each; *COUNT micro-batches. Local. */
status_t deal_micro_batches(const int32_t *lengths, const int64_t *indices, int64_t n, int unit,
                            int64_t max_tokens, int32_t *micro, int32_t *count);

#endif
