/* What messages between ranks take here and now, for the cost model (session/cost.h). */
#ifndef SESSION_LINK_H
#define SESSION_LINK_H

#include "parallel/grid.h"

typedef struct {
  double latency;   /* seconds of a message */
  double bandwidth; /* bytes per second that a rank sends while all of its group do */
} link_t;

/* Sums over tp, or where that is one rank over dp, small and large ones, turned into a message's numbers as
 * cost_collective counts them. *LINK is {0, 0} where there is one rank, or several nodes, or large sums
 * took no longer than small ones. Collective on GRID's ranks; the same on all of them. Errors:
 * STATUS_INTERNAL. */
status_t link_measure(const grid_t *grid, link_t *link);

#endif
