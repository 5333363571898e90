/* How long a step takes on a machine that need not be there: what one rank computes, moves and sends, which a
 * dry run or a run has counted, divided by what the machine does in a second. */
#ifndef RUN_COST_H
#define RUN_COST_H

#include "perf/perf.h"

/* Where ranks are that speak to each other. */
typedef enum { INSIDE_NODE, BETWEEN_NODES, COST_LINKS } cost_link_t;

typedef struct {
  double flops, bytes;          /* of one rank, per second, as whole passes reach them */
  int node_ranks;               /* that share a node */
  double latency[COST_LINKS];   /* seconds of a message */
  double bandwidth[COST_LINKS]; /* bytes per second that a rank sends */
  double sample_seconds;        /* which every rank spends on each sample of a whole batch */
} machine_t;

/* One rank's work in one step on DP x TP ranks. */
typedef struct {
  perf_counter_t regions[REGION_COUNT];
  perf_collective_t collectives[TRAFFIC_COUNT][COLLECTIVE_COUNT];
  int dp, tp;
  double samples; /* of the whole batch of all groups, of which every rank knows all; 0: nothing is done so */
  double again;   /* FLOPs of forward passes that the backward pass repeats, which no region counts */
} cost_work_t;

/* Seconds. */
typedef struct {
  double passes;              /* products, or memory where that takes longer, region by region */
  double sent[TRAFFIC_COUNT]; /* collectives, as if nothing hid them */
  double whole;               /* what every rank does for the whole batch, in collectives not counted here */
  double all;
} cost_t;

/* What a step takes where DP groups have as much work each as one of WORK's has: batches grow with the
 * groups. Sums over dp and over all ranks carry numbers of the whole batch and grow with it; sums of
 * gradients and the weights that are gathered do not. Local. */
cost_t cost_predict(const cost_work_t *work, const machine_t *machine, int dp);

/* Seconds of the collective KIND, CALLS times among RANKS ranks, in which this rank gives BYTES in all. A
 * ring for what is large, a tree for what is small. Local. */
double cost_collective(const machine_t *machine, cost_link_t link, collective_t kind, double calls,
                       double bytes, int ranks);

#endif
