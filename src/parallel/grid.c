#define _GNU_SOURCE
#include "parallel/grid.h"

#include "base/memory.h"
#include "parallel/comm_mpi.h"
#include "parallel/cores.h"

#include <omp.h>

status_t grid_place(const int32_t *leader, int size, int rank, int tp, grid_t *grid) {
  if (tp < 1 || size % tp != 0)
    return error_set(
        STATUS_INPUT,
        "parallel.tp = %d does not divide the %d ranks of this run: start a multiple of %d ranks, or choose "
        "a tp that divides %d",
        tp, size, tp < 1 ? 1 : tp, size);
  *grid = (grid_t){.rank = rank,
                   .size = size,
                   .dp_rank = rank / tp,
                   .dp_size = size / tp,
                   .tp_rank = rank % tp,
                   .tp_size = tp};
  for (int r = 0; r < size; r++) {
    int group_head = r - r % tp;
    if (leader[r] != leader[group_head])
      return error_set(
          STATUS_INPUT,
          "a group of parallel.tp = %d ranks would span two nodes (ranks %d and %d): a tp group must lie "
          "inside one node; start a multiple of %d ranks per node, in blocks (mpirun --map-by core, srun "
          "--distribution=block), or lower parallel.tp",
          tp, group_head, r, tp);
    if (leader[r] != r) continue;
    if (r < leader[rank]) grid->node++;
    grid->node_count++;
  }
  return STATUS_OK;
}

static status_t grid_place_ranks(comm_t *world, comm_t *node, int tp, grid_t *grid) {
  SCOPED_MEMORY int32_t *leader = NULL; /* (world size): for each rank the lowest rank on its node */
  int32_t lowest = comm_rank(world);
  TRY(memory_alloc(&leader, ARENA_COMM, (size_t)comm_size(world), sizeof *leader));
  TRY(comm_allreduce(node, &lowest, 1, COMM_I32, COMM_MIN));
  TRY(comm_allgather(world, &lowest, leader, 1, COMM_I32));
  return grid_place(leader, comm_size(world), comm_rank(world), tp, grid);
}

/* The wanted number of THREADS, or the whole part of this rank's share of the cores. */
static status_t grid_choose_threads(comm_t *node, int wanted, int *threads) {
  const double rounding = 1e-6;
  SCOPED_MEMORY core_set_t *sets = NULL;
  core_set_t mine;
  core_set_of_process(&mine);
  TRY(memory_alloc(&sets, ARENA_COMM, (size_t)comm_size(node), sizeof *sets));
  TRY(comm_allgather(node, &mine, sets, sizeof mine, COMM_BYTE));
  double share = core_set_share(sets, comm_size(node), comm_rank(node));
  *threads = wanted > 0 ? wanted : (int)(share + rounding);
  if (*threads < 1) *threads = 1;
  comm_set_crowded(*threads > share + rounding);
  return STATUS_OK;
}

status_t grid_create(comm_t *world, int tp, int threads, grid_t *out) {
  SCOPED(comm_free_at) comm_t *node = NULL;
  SCOPED(grid_free) grid_t grid = {0};
  *out = (grid_t){0};
  TRY(comm_split_node(world, "node", &node));
  TRY(grid_place_ranks(world, node, tp, &grid));
  grid.world = world;
  grid.node_rank = comm_rank(node);
  grid.node_size = comm_size(node);
  TRY(grid_choose_threads(node, threads, &grid.threads));
  TRY(comm_split(world, grid.tp_rank, grid.dp_rank, "dp", &grid.dp));
  TRY(comm_split(world, grid.tp_rank, grid.dp_rank, "vote", &grid.vote));
  TRY(comm_split(world, grid.dp_rank, grid.tp_rank, "tp", &grid.tp));
  comm_count_as(grid.dp, TRAFFIC_DP);
  comm_count_as(grid.vote, TRAFFIC_DP);
  comm_count_as(grid.tp, TRAFFIC_TP);
  omp_set_num_threads(grid.threads);
  *out = grid;
  grid = (grid_t){0};
  return STATUS_OK;
}

void grid_free(grid_t *grid) {
  comm_free(grid->dp);
  comm_free(grid->vote);
  comm_free(grid->tp);
  *grid = (grid_t){0};
}
