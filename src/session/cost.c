#include "session/cost.h"

#include <math.h>

double cost_collective(const machine_t *machine, cost_link_t link, collective_t kind, double calls,
                       double bytes, int ranks) {
  if (ranks <= 1) return 0.0;
  double rounds = ceil(log2((double)ranks)), others = ranks - 1.0, sent = bytes;
  switch (kind) {
  case COLLECTIVE_ALLREDUCE:
  case COLLECTIVE_AGREEMENT: /* everything is scattered in sums and gathered again */
    rounds *= 2.0;
    sent = 2.0 * bytes * others / ranks;
    break;
  case COLLECTIVE_BARRIER:
  case COLLECTIVE_VOTE:
    rounds *= 2.0;
    break;
  case COLLECTIVE_ALLGATHER:
    sent = bytes * others;
    break; /* each rank passes on what all have */
  case COLLECTIVE_EXCHANGE:
    sent = bytes + calls * others * sizeof(uint64_t);
    break; /* and how much will come */
  case COLLECTIVE_FETCH:
    rounds = 2.0;
    break;
  default:
    break;
  }
  return calls * rounds * machine->latency[link] + sent / machine->bandwidth[link];
}

/* Ranks of GROUP on DP x TP ranks. */
static int cost_group_size(traffic_t group, int dp, int tp) {
  return group == TRAFFIC_TP ? tp : group == TRAFFIC_DP ? dp : dp * tp;
}

/* What a rank gives on DP groups where it gave BYTES on WORK's. */
static double cost_scaled_bytes(const cost_work_t *work, traffic_t group, collective_t kind, double bytes,
                                int dp) {
  if (group == TRAFFIC_TP) return bytes;
  double before = work->dp, share = before > 1.0 ? (dp - 1.0) / dp * before / (before - 1.0) : 1.0;
  switch (kind) {
  case COLLECTIVE_ALLREDUCE:
    return bytes * dp / before;
  case COLLECTIVE_REDUCE_SCATTER:
  case COLLECTIVE_EXCHANGE:
    return bytes * share;
  case COLLECTIVE_ALLGATHER:
    return bytes * before / dp;
  default:
    return bytes;
  }
}

static double cost_of_group(const cost_work_t *work, const machine_t *machine, traffic_t group, int dp) {
  int ranks = cost_group_size(group, dp, work->tp);
  cost_link_t link =
      group == TRAFFIC_TP || dp * work->tp <= machine->node_ranks ? INSIDE_NODE : BETWEEN_NODES;
  double seconds = 0.0;
  for (int k = 0; k < COLLECTIVE_COUNT; k++) {
    const perf_collective_t *counted = &work->collectives[group][k];
    double bytes = cost_scaled_bytes(work, group, (collective_t)k, counted->bytes, dp);
    seconds += cost_collective(machine, link, (collective_t)k, counted->calls, bytes, ranks);
  }
  return seconds;
}

cost_t cost_predict(const cost_work_t *work, const machine_t *machine, int dp) {
  cost_t cost = {.passes = work->again / machine->flops};
  for (int r = 0; r < REGION_COUNT; r++) {
    double computing = work->regions[r].flops / machine->flops,
           moving = work->regions[r].bytes / machine->bytes;
    cost.passes += computing > moving ? computing : moving;
  }
  cost.whole = (double)dp / work->dp * work->samples * machine->sample_seconds;
  cost.all = cost.passes + cost.whole;
  for (int g = 0; g < TRAFFIC_COUNT; g++) {
    cost.sent[g] = cost_of_group(work, machine, (traffic_t)g, dp);
    cost.all += cost.sent[g];
  }
  return cost;
}
