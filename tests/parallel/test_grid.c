/* The process grid: places of the ranks, nodes, shares of the cores. */
#include "mpi_test.h"
#include "parallel/cores.h"
#include "parallel/grid.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static void ranks_find_their_places(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  int size = comm_size(world);
  for (int tp = 1; tp <= size; tp++) {
    grid_t grid;
    if (!mpi_test_fits(tp)) {
      assert_error(grid_create(world, tp, 1, &grid), STATUS_INPUT);
      continue;
    }
    assert_ok(grid_create(world, tp, 3, &grid));
    assert_int_equal(grid.rank, grid.dp_rank * tp + grid.tp_rank);
    assert_int_equal(grid.dp_size * grid.tp_size, size);
    assert_int_equal(comm_rank(grid.dp), grid.dp_rank);
    assert_int_equal(comm_size(grid.dp), grid.dp_size);
    assert_int_equal(comm_rank(grid.tp), grid.tp_rank);
    assert_int_equal(comm_size(grid.tp), grid.tp_size);
    /* The members of a tp group are consecutive ranks. */
    int32_t sum = grid.rank;
    assert_ok(comm_allreduce(grid.tp, &sum, 1, COMM_I32, COMM_SUM));
    assert_int_equal(sum, grid.dp_rank * tp * tp + tp * (tp - 1) / 2);
    assert_int_equal(grid.threads, 3);
    assert_int_equal(omp_get_max_threads(), 3);
    core_set_t cores;
    core_set_of_process(&cores);
    assert_ok(grid_describe(&grid, &cores));
    grid_free(&grid);
  }
}

static void cores_are_shared(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  grid_t grid;
  core_set_t mine;
  core_set_of_process(&mine);
  assert_ok(grid_create(world, 1, 0, &grid));
  if (getenv("HOSTS_PLACES") == NULL) assert_int_equal(grid.node_size, comm_size(world)); /* one host */
  assert_in_range(grid.threads, 1, core_set_count(&mine));
  assert_int_equal(omp_get_max_threads(), grid.threads);
  grid_free(&grid);
}

static void bad_tp_is_an_input_error(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  grid_t grid;
  assert_error(grid_create(world, 0, 1, &grid), STATUS_INPUT);
  assert_error(grid_create(world, comm_size(world) + 1, 1, &grid), STATUS_INPUT);
}

/* Layouts of more nodes than the test machine has. */
static void nodes_are_numbered(void **state) {
  (void)state;
  const int32_t leader[] = {0, 0, 2, 2, 2, 2, 6, 6};
  grid_t grid;
  assert_ok(grid_place(leader, 8, 5, 2, &grid));
  assert_int_equal(grid.node_count, 3);
  assert_int_equal(grid.node, 1);
  assert_int_equal(grid.dp_rank, 2);
  assert_int_equal(grid.tp_rank, 1);
  assert_ok(grid_place(leader, 8, 7, 1, &grid));
  assert_int_equal(grid.node, 2);
  assert_error(grid_place(leader, 8, 0, 4, &grid), STATUS_INPUT);
  /* Ranks dealt round-robin over nodes: every pair spans two. */
  const int32_t round_robin[] = {0, 1, 0, 1};
  assert_error(grid_place(round_robin, 4, 3, 2, &grid), STATUS_INPUT);
  assert_ok(grid_place(round_robin, 4, 3, 1, &grid));
  assert_int_equal(grid.node, 1);
}

static core_set_t cores(int first, int last) {
  core_set_t set = {{0}};
  for (int core = first; core <= last; core++)
    core_set_add(&set, core);
  return set;
}

static void shares_follow_the_binding(void **state) {
  (void)state;
  /* Unbound: 3 ranks on 8 cores. */
  const core_set_t unbound[] = {cores(0, 7), cores(0, 7), cores(0, 7)};
  assert_true(fabs(core_set_share(unbound, 3, 1) - 8.0 / 3) < 1e-9);
  /* Bound apart: everyone keeps its own. */
  const core_set_t bound[] = {cores(0, 3), cores(4, 7)};
  assert_true(fabs(core_set_share(bound, 2, 0) - 4.0) < 1e-9);
  /* Two in the first half, one in the second. */
  const core_set_t uneven[] = {cores(0, 63), cores(0, 63), cores(64, 127)};
  assert_true(fabs(core_set_share(uneven, 3, 0) - 32.0) < 1e-9);
  assert_true(fabs(core_set_share(uneven, 3, 2) - 64.0) < 1e-9);
  /* More ranks than cores. */
  core_set_t crowd[64];
  for (int r = 0; r < 64; r++)
    crowd[r] = cores(0, 1);
  assert_true(fabs(core_set_share(crowd, 64, 63) - 1.0 / 32) < 1e-9);
}

static void core_sets_have_a_text(void **state) {
  (void)state;
  char text[24], whole[1024];
  core_set_t set = cores(0, 3);
  core_set_add(&set, 8);
  core_set_add(&set, CORES_MAX - 1);
  core_set_text(&set, text, sizeof text);
  assert_string_equal(text, "0-3,8,4095");
  assert_int_equal(core_set_count(&set), 6);
  for (int core = 10; core < 100; core += 2)
    core_set_add(&set, core);
  core_set_text(&set, whole, sizeof whole);
  core_set_text(&set, text,
                sizeof text); /* cut, within its bounds: as much as fits whole, and that it is cut */
  assert_string_equal(text, "0-3,8,10,12,14,16,18...");
  assert_memory_equal(whole, text, strlen(text) - strlen("..."));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ranks_find_their_places),   cmocka_unit_test(cores_are_shared),
      cmocka_unit_test(bad_tp_is_an_input_error),  cmocka_unit_test(nodes_are_numbered),
      cmocka_unit_test(shares_follow_the_binding), cmocka_unit_test(core_sets_have_a_text),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
