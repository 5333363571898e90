/* The shared queue on every layout dp x tp: each item exactly once, in both ways of dealing. */
#include "mpi_test.h"
#include "parallel/grid.h"
#include "parallel/queue.h"

#include <string.h>

enum { ITEMS = 157, MOST = 7 };

/* Empties QUEUE, taking 1 to MOST at a time; COUNTS (ITEMS) of what this group took, *LAST the last item. */
static void drain(queue_t *queue, const grid_t *grid, int32_t *counts) {
  int64_t items[MOST], taken = 0, last = -1;
  for (int turn = 0;; turn++) {
    int64_t wanted = 1 + (grid->dp_rank + turn) % MOST;
    assert_ok(queue_progress(queue));
    assert_ok(queue_take(queue, wanted, items, &taken));
    assert_in_range(taken, 0, wanted);
    for (int64_t i = 0; i < taken; i++) {
      assert_in_range(items[i], 0, ITEMS - 1);
      assert_true(items[i] > last);
      last = items[i];
      counts[items[i]]++;
    }
    if (taken == 0) break;
  }
  /* Still empty, as often as one asks. */
  assert_ok(queue_take(queue, MOST, items, &taken));
  assert_int_equal(taken, 0);
}

static void check_layout(int tp, bool deterministic) {
  grid_t grid;
  queue_t *queue = NULL;
  int32_t counts[ITEMS] = {0}, leader[ITEMS];
  assert_ok(grid_create(mpi_test_world(), tp, 1, &grid));
  assert_ok(queue_create(&grid, ITEMS, deterministic, &queue));
  drain(queue, &grid, counts);
  /* All ranks of a tp group have taken the same. */
  memcpy(leader, counts, sizeof counts);
  assert_ok(comm_broadcast(grid.tp, leader, ITEMS, COMM_I32, 0));
  assert_memory_equal(leader, counts, sizeof counts);
  if (deterministic) {
    for (int i = 0; i < ITEMS; i++)
      assert_int_equal(counts[i], i % grid.dp_size == grid.dp_rank);
  }
  assert_ok(comm_allreduce(grid.dp, counts, ITEMS, COMM_I32, COMM_SUM));
  for (int i = 0; i < ITEMS; i++)
    assert_int_equal(counts[i], 1);
  queue_free(queue);
  grid_free(&grid);
}

static void check_layouts(bool deterministic) {
  int size = comm_size(mpi_test_world());
  for (int tp = 1; tp <= size; tp++) {
    if (mpi_test_fits(tp)) check_layout(tp, deterministic);
  }
}

static void shared_queue(void **state) {
  (void)state;
  check_layouts(false);
}

static void static_queue(void **state) {
  (void)state;
  check_layouts(true);
}

static void empty_queue(void **state) {
  (void)state;
  grid_t grid;
  queue_t *queue = NULL;
  int64_t item = 0, taken = -1;
  assert_ok(grid_create(mpi_test_world(), 1, 1, &grid));
  for (int deterministic = 0; deterministic < 2; deterministic++) {
    assert_ok(queue_create(&grid, 0, deterministic != 0, &queue));
    assert_ok(queue_take(queue, 1, &item, &taken));
    assert_int_equal(taken, 0);
    queue_free(queue);
  }
  queue_free(NULL);
  grid_free(&grid);
}

/* A group that never asks leaves all to the others; several queues may be open. */
static void others_take_all(void **state) {
  (void)state;
  grid_t grid;
  queue_t *queue = NULL, *second = NULL;
  int32_t counts[ITEMS] = {0};
  assert_ok(grid_create(mpi_test_world(), 1, 1, &grid));
  assert_ok(queue_create(&grid, ITEMS, false, &queue));
  assert_ok(queue_create(&grid, ITEMS, false, &second));
  if (grid.rank == grid.size - 1) drain(queue, &grid, counts);
  assert_ok(comm_allreduce(grid.world, counts, ITEMS, COMM_I32, COMM_SUM));
  for (int i = 0; i < ITEMS; i++)
    assert_int_equal(counts[i], 1);
  memset(counts, 0, sizeof counts);
  drain(second, &grid, counts);
  assert_ok(comm_allreduce(grid.world, counts, ITEMS, COMM_I32, COMM_SUM));
  for (int i = 0; i < ITEMS; i++)
    assert_int_equal(counts[i], 1);
  queue_free(second);
  queue_free(queue);
  grid_free(&grid);
}

/* Every rank for itself, whatever the layout. */
static void queue_of_ranks(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  queue_t *queue = NULL;
  int32_t counts[ITEMS] = {0};
  const grid_t alone = {.dp_rank = comm_rank(world)};
  assert_ok(queue_create_ranks(world, ITEMS, &queue));
  drain(queue, &alone, counts);
  assert_ok(comm_allreduce(world, counts, ITEMS, COMM_I32, COMM_SUM));
  for (int i = 0; i < ITEMS; i++)
    assert_int_equal(counts[i], 1);
  queue_free(queue);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shared_queue),    cmocka_unit_test(static_queue),   cmocka_unit_test(empty_queue),
      cmocka_unit_test(others_take_all), cmocka_unit_test(queue_of_ranks),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
