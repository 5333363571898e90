#define _GNU_SOURCE
#include "base/log.h"
#include "base/memory.h"
#include "parallel/cores.h"
#include "parallel/grid.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* More ranks than this are shown a node to a line, and not more nodes than that. */
enum { LINES_MAX = 16 };

/* What rank 0 learns about each rank. */
typedef struct {
  char host[64];
  int32_t node, threads;
  core_set_t cores;
} grid_describe_place_t;

/* What the ranks of a node are together. */
typedef struct {
  int first, last, ranks, threads;
  core_set_t cores;
} node_summary_t;

static void summarise_node(const grid_describe_place_t *places, int size, int node, node_summary_t *summary) {
  *summary = (node_summary_t){.first = -1};
  for (int r = 0; r < size; r++) {
    if (places[r].node != node) continue;
    if (summary->first < 0) summary->first = r;
    summary->last = r;
    summary->ranks++;
    summary->threads += places[r].threads;
    for (int i = 0; i < CORES_MAX / 64; i++)
      summary->cores.bits[i] |= places[r].cores.bits[i];
  }
}

static void grid_log_ranks(const grid_t *grid, const grid_describe_place_t *places) {
  log_info("  rank   dp   tp  threads  host                 cores");
  for (int r = 0; r < grid->size; r++) {
    char cores[64];
    core_set_text(&places[r].cores, cores, sizeof cores);
    log_info("  %4d %4d %4d  %7d  %-20s %s", r, r / grid->tp_size, r % grid->tp_size, places[r].threads,
             places[r].host, cores);
  }
}

static void grid_log_nodes(const grid_t *grid, const grid_describe_place_t *places) {
  log_info("  node  ranks  from    to  threads  host                 cores");
  for (int n = 0; n < grid->node_count && n < LINES_MAX; n++) {
    char cores[64];
    node_summary_t node;
    summarise_node(places, grid->size, n, &node);
    core_set_text(&node.cores, cores, sizeof cores);
    log_info("  %4d  %5d %5d %5d  %7d  %-20s %s", n, node.ranks, node.first, node.last, node.threads,
             places[node.first].host, cores);
  }
  if (grid->node_count > LINES_MAX) log_info("  and %d more nodes", grid->node_count - LINES_MAX);
}

/* A rank whose threads share fewer cores than they are, though its node may have more. */
static void grid_log_narrow(const grid_t *grid, const grid_describe_place_t *places) {
  for (int r = 0; r < grid->size; r++) {
    int cores = core_set_count(&places[r].cores);
    if (places[r].threads <= cores) continue;
    log_info(
        "  rank %d computes with %d threads on %d core%s: mpirun --bind-to none, or srun --cpus-per-task, "
        "gives it more",
        r, places[r].threads, cores, cores == 1 ? "" : "s");
    return;
  }
}

/* Says where threads outnumber cores: right for a trial, slow otherwise. */
static void grid_log_oversubscribed(const grid_t *grid, const grid_describe_place_t *places) {
  for (int n = 0; n < grid->node_count; n++) {
    node_summary_t node;
    summarise_node(places, grid->size, n, &node);
    int cores = core_set_count(&node.cores);
    if (node.threads <= cores) continue;
    log_info("  threads outnumber cores: %d on %d cores of %s%s", node.threads, cores,
             places[node.first].host, grid->node_count > 1 ? " (and maybe other nodes)" : "");
    return;
  }
}

static void grid_log_grid(const grid_t *grid, const grid_describe_place_t *places) {
  log_info("%d rank%s = dp %d x tp %d on %d node%s", grid->size, grid->size > 1 ? "s" : "", grid->dp_size,
           grid->tp_size, grid->node_count, grid->node_count > 1 ? "s" : "");
  if (grid->size <= LINES_MAX) {
    grid_log_ranks(grid, places);
  } else {
    grid_log_nodes(grid, places);
  }
  grid_log_narrow(grid, places);
  grid_log_oversubscribed(grid, places);
}

status_t grid_describe(const grid_t *grid, const core_set_t *cores) {
  SCOPED_MEMORY grid_describe_place_t *places = NULL;
  SCOPED_MEMORY size_t *counts = NULL;
  grid_describe_place_t mine = {.node = grid->node, .threads = grid->threads, .cores = *cores};
  if (gethostname(mine.host, sizeof mine.host - 1) != 0) snprintf(mine.host, sizeof mine.host, "unknown");
  TRY(memory_alloc(&counts, ARENA_COMM, (size_t)grid->size, sizeof *counts));
  TRY(memory_alloc(&places, ARENA_COMM, grid->rank == 0 ? (size_t)grid->size : 0, sizeof *places));
  for (int r = 0; r < grid->size; r++)
    counts[r] = sizeof mine;
  TRY(comm_gatherv(grid->world, &mine, sizeof mine, places, counts, COMM_BYTE, 0));
  if (grid->rank == 0) grid_log_grid(grid, places);
  return STATUS_OK;
}
