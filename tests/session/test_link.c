/* Messages between ranks, measured for the cost model. */
#include "mpi_test.h"
#include "session/link.h"

/* The same on all ranks, of any layout; at least the bounds of any machine. */
static void ranks_measure_together(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  int size = comm_size(world);
  for (int tp = 1; tp <= size; tp++) {
    grid_t grid;
    link_t link, most;
    if (size % tp != 0) continue;
    assert_ok(grid_create(world, tp, 1, &grid));
    assert_ok(link_measure(&grid, &link));
    most = link;
    assert_ok(comm_allreduce(world, &most, 2, COMM_F64, COMM_MAX));
    assert_memory_equal(&link, &most, sizeof link);
    if (size == 1) {
      assert_true(link.latency == 0.0 && link.bandwidth == 0.0);
    } else if (link.bandwidth > 0.0) { /* else something kept this machine busy */
      assert_true(link.latency > 1e-8 && link.latency < 10.0);
      assert_true(link.bandwidth > 1e4 && link.bandwidth < 1e12);
    }
    grid_free(&grid);
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ranks_measure_together),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
