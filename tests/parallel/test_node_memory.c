/* Memory that the ranks of a node share: the same for all, counted once, and gone in the end. */
#include "parallel/node_memory.h"

#include "mpi_test.h"

enum { COUNT = 100003 };

static int64_t number(int64_t i, int64_t round) {
  return i * 31 + round * 1000003;
}

static void fill(const node_memory_t *memory, int64_t round) {
  int64_t *numbers = node_memory_data(memory);
  for (int64_t i = 0; i < COUNT && node_memory_writes(memory); i++)
    numbers[i] = number(i, round);
}

static void expect(const node_memory_t *memory, int64_t round) {
  const int64_t *numbers = node_memory_data(memory);
  for (int64_t i = 0; i < COUNT; i++)
    if (numbers[i] != number(i, round))
      fail_msg("round %lld: number %lld is %lld", (long long)round, (long long)i, (long long)numbers[i]);
}

/* Ranks of this node, and those of them that write. */
static void count_node(const node_memory_t *memory, int32_t *ranks, int32_t *writers) {
  comm_t *node;
  assert_ok(comm_split_node(mpi_test_world(), "node", &node));
  *ranks = comm_size(node);
  *writers = node_memory_writes(memory);
  assert_ok(comm_allreduce(node, writers, 1, COMM_I32, COMM_SUM));
  comm_free(node);
}

static void a_node_has_it_once(void **state) {
  (void)state;
  node_memory_t *memory;
  int32_t ranks, writers;
  size_t before = memory_usage(ARENA_DATA).current;
  assert_ok(node_memory_create(mpi_test_world(), ARENA_DATA, COUNT, sizeof(int64_t), &memory));
  count_node(memory, &ranks, &writers);
  assert_int_equal(writers, 1);
  size_t mine = node_memory_writes(memory) ? COUNT * sizeof(int64_t) : 0;
  assert_int_equal(memory_usage(ARENA_DATA).current - before, mine);
  for (int64_t i = 0; i < COUNT; i++)
    assert_int_equal(((int64_t *)node_memory_data(memory))[i], 0);
  node_memory_free(memory);
  assert_int_equal(memory_usage(ARENA_DATA).current, before);
}

static void all_see_what_one_writes(void **state) {
  (void)state;
  node_memory_t *memory;
  assert_ok(node_memory_create(mpi_test_world(), ARENA_DATA, COUNT, sizeof(int64_t), &memory));
  for (int64_t round = 0; round < 5; round++) {
    assert_ok(node_memory_meet(memory));
    fill(memory, round);
    assert_ok(node_memory_meet(memory));
    expect(memory, round);
  }
  node_memory_free(memory);
}

/* Two at a time, the second of which is settled: no communicator is left of it. */
static void what_rank_0_has_is_settled(void **state) {
  (void)state;
  node_memory_t *other, *memory;
  assert_ok(node_memory_create(mpi_test_world(), ARENA_DATA, COUNT, sizeof(int64_t), &other));
  assert_ok(node_memory_create(mpi_test_world(), ARENA_DATA, COUNT, sizeof(int64_t), &memory));
  if (comm_rank(mpi_test_world()) == 0) fill(memory, 7);
  fill(other, 8);
  assert_ok(node_memory_settle(memory));
  assert_ok(node_memory_meet(other));
  expect(memory, 7);
  expect(other, 8);
  node_memory_free(memory);
  node_memory_free(other);
}

static void one_alone_and_nothing(void **state) {
  (void)state;
  node_memory_t *memory;
  assert_ok(node_memory_create(NULL, ARENA_DATA, COUNT, sizeof(int64_t), &memory));
  assert_true(node_memory_writes(memory));
  fill(memory, 2);
  assert_ok(node_memory_settle(memory));
  expect(memory, 2);
  node_memory_free(memory);
  assert_ok(node_memory_create(mpi_test_world(), ARENA_DATA, 0, sizeof(int64_t), &memory));
  assert_null(node_memory_data(memory));
  assert_ok(node_memory_settle(memory));
  node_memory_free(memory);
  node_memory_free(NULL);
}

static void more_than_there_is_is_an_error_of_all(void **state) {
  (void)state;
  node_memory_t *memory;
  assert_error_about(node_memory_create(mpi_test_world(), ARENA_DATA, SIZE_MAX / 4, 8, &memory),
                     STATUS_MEMORY, "more than there can be");
  assert_null(memory);
  assert_int_equal(node_memory_create(mpi_test_world(), ARENA_DATA, (size_t)1 << 58, 1, &memory),
                   STATUS_MEMORY);
  assert_null(memory);
  error_clear();
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_node_has_it_once),
      cmocka_unit_test(all_see_what_one_writes),
      cmocka_unit_test(what_rank_0_has_is_settled),
      cmocka_unit_test(one_alone_and_nothing),
      cmocka_unit_test(more_than_there_is_is_an_error_of_all),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
