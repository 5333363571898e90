/* The cost model against numbers worked out by hand. */
#include "session/cost.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Products at 100 a second, memory at 10, messages of 1 and 3 seconds, 5 and 2 bytes a second; nodes of 4. */
static const machine_t machine = {.flops = 100.0,
                                  .bytes = 10.0,
                                  .node_ranks = 4,
                                  .latency = {1.0, 3.0},
                                  .bandwidth = {5.0, 2.0},
                                  .sample_seconds = 0.5};

static void expect(double found, double expected) {
  if (fabs(found - expected) > 1e-12 * fabs(expected)) fail_msg("%g, expected %g", found, expected);
}

static void collectives_take_latency_and_bandwidth(void **state) {
  (void)state;
  /* Twice 3 rounds of a tree; 7/8 of the 40 bytes leave each rank, twice. */
  expect(cost_collective(&machine, INSIDE_NODE, COLLECTIVE_ALLREDUCE, 1, 40, 8), 6.0 + 2.0 * 35.0 / 5.0);
  expect(cost_collective(&machine, BETWEEN_NODES, COLLECTIVE_REDUCE_SCATTER, 2, 70, 5),
         2.0 * 3.0 * 3.0 + 70.0 / 2.0);
  expect(cost_collective(&machine, INSIDE_NODE, COLLECTIVE_ALLGATHER, 1, 10, 4), 2.0 + 3.0 * 10.0 / 5.0);
  expect(cost_collective(&machine, INSIDE_NODE, COLLECTIVE_BARRIER, 3, 0, 2), 6.0);
  expect(cost_collective(&machine, INSIDE_NODE, COLLECTIVE_ALLREDUCE, 1, 40, 1), 0.0);
}

/* The larger of computing and moving in each region; what is repeated besides. */
static void passes_take_products_or_memory(void **state) {
  (void)state;
  cost_work_t work = {.dp = 1, .tp = 1, .again = 50.0};
  work.regions[REGION_FORWARD] = (perf_counter_t){.flops = 1000.0, .bytes = 20.0};
  work.regions[REGION_DECODE] = (perf_counter_t){.flops = 100.0, .bytes = 70.0};
  cost_t cost = cost_predict(&work, &machine, 1);
  expect(cost.passes, 10.0 + 7.0 + 0.5);
  expect(cost.all, cost.passes);
}

/* From 2 groups to 8 of 2 ranks each: the same gradients and weights in smaller shares, a batch four times as
 * large. */
static void more_groups_have_the_same_gradients_and_a_larger_batch(void **state) {
  (void)state;
  cost_work_t work = {.dp = 2, .tp = 2, .samples = 6.0};
  work.collectives[TRAFFIC_DP][COLLECTIVE_REDUCE_SCATTER] = (perf_collective_t){.calls = 1, .bytes = 80};
  cost_t two = cost_predict(&work, &machine, 2), eight = cost_predict(&work, &machine, 8);
  expect(two.whole, 3.0);
  expect(eight.whole, 4.0 * two.whole);
  expect(two.sent[TRAFFIC_DP], 1.0 + 80.0 / 5.0); /* 4 ranks are a node */
  expect(eight.sent[TRAFFIC_DP], 3.0 * 3.0 + 160.0 * 7.0 / 8.0 / 2.0);
  work.collectives[TRAFFIC_DP][COLLECTIVE_REDUCE_SCATTER] = (perf_collective_t){0};
  work.collectives[TRAFFIC_DP][COLLECTIVE_ALLGATHER] = (perf_collective_t){.calls = 1, .bytes = 80};
  expect(cost_predict(&work, &machine, 8).sent[TRAFFIC_DP], 9.0 + 160.0 * 7.0 / 8.0 / 2.0);
  work.collectives[TRAFFIC_DP][COLLECTIVE_ALLGATHER] = (perf_collective_t){0};
  work.collectives[TRAFFIC_DP][COLLECTIVE_ALLREDUCE] = (perf_collective_t){.calls = 1, .bytes = 80};
  expect(cost_predict(&work, &machine, 8).sent[TRAFFIC_DP], 18.0 + 2.0 * 320.0 * 7.0 / 8.0 / 2.0);
  work.collectives[TRAFFIC_TP][COLLECTIVE_ALLREDUCE] = (perf_collective_t){.calls = 2, .bytes = 10};
  expect(cost_predict(&work, &machine, 8).sent[TRAFFIC_TP], 4.0 + 10.0 / 5.0); /* tp stays inside a node */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(collectives_take_latency_and_bandwidth),
      cmocka_unit_test(passes_take_products_or_memory),
      cmocka_unit_test(more_groups_have_the_same_gradients_and_a_larger_batch),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
