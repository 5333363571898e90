#include "session/link.h"

#include "perf/perf.h"

#include <math.h>

/* Floats of a large sum, about what a layer's sums over tp have; calls that are timed together, of which the
 * fastest of TRIES counts. */
enum { LARGE = 1 << 17, CALLS = 8, TRIES = 5 };

/* Seconds of a sum of N floats, the slowest rank's of the fastest try. */
static status_t sum_seconds(comm_t *comm, float *values, size_t n, double *seconds) {
  *seconds = HUGE_VAL;
  for (int t = 0; t < TRIES; t++) {
    TRY(comm_barrier(comm));
    double begin = perf_now();
    for (int c = 0; c < CALLS; c++)
      TRY(comm_allreduce(comm, values, n, COMM_F32, COMM_SUM));
    double took = (perf_now() - begin) / CALLS;
    TRY(comm_allreduce(comm, &took, 1, COMM_F64, COMM_MAX));
    if (took < *seconds) *seconds = took;
  }
  return STATUS_OK;
}

status_t link_measure(const grid_t *grid, link_t *link) {
  comm_t *comm = grid->tp_size > 1 ? grid->tp : grid->dp;
  static float values[LARGE]; /* no part of what a run takes */
  double small, large, ranks = comm_size(comm), rounds = 2.0 * ceil(log2(ranks));
  *link = (link_t){0};
  if (ranks < 2.0 || grid->node_count > 1) return STATUS_OK;
  TRY(sum_seconds(comm, values, 1, &small));
  TRY(sum_seconds(comm, values, LARGE, &large));
  double sent = 2.0 * LARGE * sizeof *values * (ranks - 1.0) / ranks;
  double slowest[2] = {small / rounds, (large - small) / sent};
  TRY(comm_allreduce(grid->world, slowest, 2, COMM_F64, COMM_MAX));
  if (slowest[1] > 0.0) *link = (link_t){slowest[0], 1.0 / slowest[1]};
  return STATUS_OK;
}
