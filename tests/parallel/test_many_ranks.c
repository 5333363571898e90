/* Layouts of a thousand ranks and more, as the functions that place ranks and deal work see them. */
#include "base/memory.h"
#include "base/random.h"
#include "mpi_test.h"
#include "parallel/exchange.h"
#include "parallel/grid.h"
#include "parallel/queue.h"

static const int sizes[] = {1000, 4096};
enum { SIZES = sizeof sizes / sizeof *sizes, SIZE_MAX_RANKS = 4096, NODE = 8 };

/* What communicators are split by: ranks of one tp group follow each other on a node, and are in as many
 * different dp groups' chains as there are; each (dp_rank, tp_rank) is one rank. */
static void every_rank_has_its_place(void **state) {
  static int32_t leader[SIZE_MAX_RANKS];
  static const int tps[] = {1, 2, 4, 8};
  (void)state;
  for (int s = 0; s < SIZES; s++) {
    int size = sizes[s];
    for (int r = 0; r < size; r++)
      leader[r] = r - r % NODE;
    for (size_t t = 0; t < sizeof tps / sizeof *tps; t++)
      for (int r = 0; r < size; r++) {
        grid_t grid;
        assert_ok(grid_place(leader, size, r, tps[t], &grid));
        assert_int_equal(grid.dp_rank * tps[t] + grid.tp_rank, r);
        assert_int_equal(grid.dp_size * grid.tp_size, size);
        assert_true(grid.tp_rank < grid.tp_size && grid.dp_rank < grid.dp_size);
        assert_int_equal(grid.node, r / NODE);
        assert_int_equal(grid.node_count, size / NODE);
        assert_int_equal(leader[grid.dp_rank * tps[t]], leader[r]);
      }
  }
}

static void groups_are_dealt_the_same_work(void **state) {
  enum { EACH = 16, MOST = 1280 };
  (void)state;
  for (int s = 0; s < SIZES; s++) {
    int groups = sizes[s];
    int64_t n = (int64_t)EACH * groups;
    SCOPED_MEMORY int32_t *lengths = NULL;
    SCOPED_MEMORY int32_t *group = NULL;
    SCOPED_MEMORY int64_t *load = NULL;
    assert_ok(memory_alloc(&lengths, ARENA_OTHER, (size_t)n, sizeof *lengths));
    assert_ok(memory_alloc(&group, ARENA_OTHER, (size_t)n, sizeof *group));
    assert_ok(memory_alloc(&load, ARENA_OTHER, (size_t)groups, sizeof *load));
    random_stream_t stream = random_stream((uint64_t)groups, RANDOM_TEST, 0);
    for (int64_t i = 0; i < n; i++)
      lengths[i] = (int32_t)(1 + random_below(&stream, MOST));
    assert_ok(deal_by_length(lengths, n, groups, group));
    for (int64_t i = 0; i < n; i++) {
      assert_in_range(group[i], 0, groups - 1);
      load[group[i]] += lengths[i];
    }
    int64_t most = 0, all = 0;
    for (int g = 0; g < groups; g++) {
      all += load[g];
      if (load[g] > most) most = load[g];
    }
    /* longest first leaves the last, shortest ones to even out what the others left */
    assert_true((double)most <= 1.01 * (double)all / groups);
  }
}

static void prompts_are_dealt_once(void **state) {
  enum { TAKEN = 7 };
  static int32_t seen[2 * SIZE_MAX_RANKS + 5];
  comm_t *world = mpi_test_world();
  (void)state;
  for (int s = 0; s < SIZES; s++) {
    int64_t n = 2 * sizes[s] + 5;
    memset(seen, 0, sizeof seen);
    for (int g = 0; g < sizes[s]; g++) {
      const grid_t grid = {.world = world, .tp = world, .dp_rank = g, .dp_size = sizes[s]};
      queue_t *queue;
      int64_t items[TAKEN], taken;
      assert_ok(queue_create(&grid, n, true, &queue));
      assert_ok(queue_take(queue, TAKEN, items, &taken));
      assert_int_equal(taken, g < n % sizes[s] ? 3 : 2);
      for (int64_t i = 0; i < taken; i++)
        seen[items[i]]++;
      queue_free(queue);
    }
    for (int64_t i = 0; i < n; i++)
      assert_int_equal(seen[i], 1);
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_rank_has_its_place),
                                     cmocka_unit_test(groups_are_dealt_the_same_work),
                                     cmocka_unit_test(prompts_are_dealt_once)};
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
