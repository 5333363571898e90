/* Messages from each rank to each: shares, blocks, and what is refused. */
#include "base/memory.h"
#include "mpi_test.h"
#include "perf/perf.h"

/* What rank FROM has for rank TO as element I of exchange NUMBER. */
static int32_t letter(int from, int to, int number, size_t i) {
  return (int32_t)((((size_t)from * 64 + (size_t)to) * 64 + (size_t)number) * 1000 + i);
}

static void write_letters(comm_t *comm, int number, size_t count, int32_t *send) {
  for (int to = 0; to < comm_size(comm); to++)
    for (size_t i = 0; i < count; i++)
      send[(size_t)to * count + i] = letter(comm_rank(comm), to, number, i);
}

/* All have come, but for the own, which stays where it was. */
static void check_letters(comm_t *comm, int number, size_t count, const int32_t *send,
                          const int32_t *received) {
  const int rank = comm_rank(comm);
  for (int from = 0; from < comm_size(comm); from++)
    for (size_t i = 0; i < count; i++)
      assert_int_equal((from == rank ? send : received)[(size_t)from * count + i],
                       letter(from, rank, number, i));
}

/* Shares to each rank: one exchange at once, several in the background among sums, ended in another order. */
static void shares_to_all(void **state) {
  enum { EXCHANGES = COMM_IN_FLIGHT + 3, SHARE = 700 };
  comm_t *comm = mpi_test_world();
  const size_t size = (size_t)comm_size(comm);
  int32_t *send[EXCHANGES], *received[EXCHANGES];
  comm_request_t *exchanges[EXCHANGES], *sums[EXCHANGES];
  float *sum;
  (void)state;
  if (!comm_is_direct(comm)) skip();
  assert_ok(memory_alloc(&sum, ARENA_COMM, EXCHANGES * size, sizeof *sum));
  for (int n = 0; n < EXCHANGES; n++) {
    assert_ok(memory_alloc(&send[n], ARENA_COMM, size * SHARE, sizeof *send[n]));
    assert_ok(memory_alloc(&received[n], ARENA_COMM, size * SHARE, sizeof *received[n]));
    write_letters(comm, n, SHARE, send[n]);
    for (size_t r = 0; r < size; r++)
      sum[(size_t)n * size + r] = (float)n;
    assert_ok(comm_alltoall_begin(comm, send[n], received[n], SHARE, COMM_I32, &exchanges[n]));
    assert_ok(comm_reduce_scatter_begin(comm, sum + (size_t)n * size, 1, COMM_F32, &sums[n]));
    assert_ok(comm_poll());
  }
  for (int n = 0; n < EXCHANGES; n++) {
    const int other = (n + 2) % EXCHANGES;
    assert_ok(comm_wait(sums[other]));
    assert_ok(comm_wait(exchanges[other]));
    check_letters(comm, other, SHARE, send[other], received[other]);
    assert_true(sum[(size_t)other * size + (size_t)comm_rank(comm)] == (float)(other * comm_size(comm)));
  }
  for (int n = 0; n < EXCHANGES; n++) {
    write_letters(comm, n + 1, (size_t)n, send[n]);
    assert_ok(comm_alltoall(comm, send[n], received[n], (size_t)n, COMM_I32, COLLECTIVE_EXCHANGE));
    check_letters(comm, n + 1, (size_t)n, send[n], received[n]);
    memory_free(send[n]);
    memory_free(received[n]);
  }
  memory_free(sum);
}

/* Byte I of RANK's block. */
static unsigned char block_byte(int rank, size_t i) {
  return (unsigned char)((size_t)rank * 31 + i % 251 + 1);
}

/* A block of each rank to all: by COUNTS (size), of which some or all may be 0. */
static void check_blocks(comm_t *comm, const size_t *counts) {
  size_t at = 0, begin = 0, total = 0;
  unsigned char *all;
  for (int r = 0; r < comm_size(comm); r++) {
    if (r < comm_rank(comm)) begin += counts[r];
    total += counts[r];
  }
  assert_ok(memory_alloc(&all, ARENA_COMM, total + 1, 1));
  for (size_t i = 0; i < counts[comm_rank(comm)]; i++)
    all[begin + i] = block_byte(comm_rank(comm), i);
  assert_ok(comm_allgatherv_direct(comm, all, counts, COLLECTIVE_ALLGATHER));
  for (int r = 0; r < comm_size(comm); r++)
    for (size_t i = 0; i < counts[r]; i++)
      assert_int_equal(all[at++], block_byte(r, i));
  assert_int_equal(all[total], 0);
  memory_free(all);
}

static void blocks_to_all(void **state) {
  enum { KINDS = 4 };
  comm_t *comm = mpi_test_world();
  size_t counts[COMM_DIRECT_RANKS];
  (void)state;
  if (!comm_is_direct(comm)) skip();
  for (int kind = 0; kind < KINDS; kind++) {
    for (int r = 0; r < comm_size(comm); r++) {
      const size_t of[KINDS] = {100003, (size_t)(r * 37 % 50), r == comm_size(comm) - 1 ? 7 : 0, 0};
      counts[r] = of[kind];
    }
    check_blocks(comm, counts);
  }
}

/* Their call and bytes are others' to count. */
static void parts_are_not_counted(void **state) {
  comm_t *comm = mpi_test_world();
  perf_collective_t before[TRAFFIC_COUNT * COLLECTIVE_COUNT], after[TRAFFIC_COUNT * COLLECTIVE_COUNT];
  size_t counts[COMM_DIRECT_RANKS];
  char send[COMM_DIRECT_RANKS] = {0}, received[COMM_DIRECT_RANKS];
  (void)state;
  if (!comm_is_direct(comm)) skip();
  for (int r = 0; r < comm_size(comm); r++)
    counts[r] = 1;
  perf_collectives(before);
  assert_ok(comm_alltoall(comm, send, received, 1, COMM_BYTE, COLLECTIVE_ALLREDUCE));
  assert_ok(comm_allgatherv_direct(comm, send, counts, COLLECTIVE_ALLREDUCE));
  perf_collectives(after);
  for (int i = 0; i < TRAFFIC_COUNT * COLLECTIVE_COUNT; i++)
    assert_true(after[i].calls == before[i].calls && after[i].bytes == before[i].bytes);
}

/* Too much for a message, or too many ranks for messages from each to each. */
static void too_much_is_refused(void **state) {
  comm_t *world = mpi_test_world();
  (void)state;
  if (comm_size(world) == 1) skip(); /* nothing is sent */
  size_t counts[64] = {comm_is_direct(world) ? (size_t)1 << 31 : 1};
  assert_error(comm_alltoall(world, NULL, NULL, counts[0], COMM_BYTE, COLLECTIVE_EXCHANGE), STATUS_INTERNAL);
  assert_error(comm_allgatherv_direct(world, NULL, counts, COLLECTIVE_ALLGATHER), STATUS_INTERNAL);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shares_to_all),
      cmocka_unit_test(blocks_to_all),
      cmocka_unit_test(parts_are_not_counted),
      cmocka_unit_test(too_much_is_refused),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
