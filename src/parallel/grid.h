/* The process grid: world = dp x tp ranks; a tp group is a run of consecutive ranks inside one node. */
#ifndef PARALLEL_GRID_H
#define PARALLEL_GRID_H

#include "parallel/comm.h"
#include "parallel/cores.h"

typedef struct {
  comm_t *world;
  comm_t *dp; /* ranks with this rank's tp_rank, one per dp group; comm_rank(dp) == dp_rank */
  comm_t *tp; /* the ranks of this dp group; comm_rank(tp) == tp_rank */
  comm_t
      *vote; /* dp's ranks once more, for what goes on in the background meanwhile (parallel/stop_vote.h) */
  int rank, size;
  int dp_rank, dp_size;
  int tp_rank, tp_size;
  int node, node_count;     /* this rank's node, 0-based, and how many there are */
  int node_rank, node_size; /* within the node */
  int threads;              /* threads of this rank for compute */
} grid_t;

/* Makes the grid: rank = dp_rank * tp + tp_rank. THREADS 0 shares the node's cores among its ranks (at least
 * 1 each). Sets OpenMP's number of threads. Collective on WORLD. Errors: STATUS_INPUT where tp does not
 * divide the number of ranks, or where a tp group would span nodes. The grid keeps WORLD; free with grid_free
 * before comm_finish. */
status_t grid_create(comm_t *world, int tp, int threads, grid_t *grid);
void grid_free(grid_t *grid);

/* The pure part of grid_create: fills all but the communicators, node_rank, node_size and threads for RANK of
 * SIZE ranks, where LEADER (size) tells, for each rank, the lowest rank on its node. Local. Errors: as
 * grid_create. */
status_t grid_place(const int32_t *leader, int size, int rank, int tp, grid_t *grid);

/* Logs layout, hosts, threads and the CORES that this rank's threads run on (device_cores): a line per rank,
 * or per node where there are more than 16 ranks. Rank 0 prints. Collective on the grid's world. */
status_t grid_describe(const grid_t *grid, const core_set_t *cores);

#endif
