/* Dealing and exchange together, as a mini-batch goes through them: each rank starts with some of the
 * sequences, all learn the lengths, every sequence reaches the group it was dealt to, and what the groups
 * hold depends on the number of groups alone. */
#include "base/random.h"
#include "mpi_test.h"
#include "parallel/exchange.h"

enum { N = 61 };

static int32_t sequence_length(int64_t id) {
  random_stream_t stream = random_stream(17, RANDOM_TEST, (uint64_t)id);
  return (int32_t)(1 + random_below(&stream, 40));
}

/* Moves the sequences, of which this rank holds those with OWNER, to their GROUP; checks what it then has. */
static void move(comm_t *comm, const int32_t *owner, const int32_t *group) {
  static int32_t tokens[N][64];
  exchange_item_t items[N];
  exchange_t result;
  int64_t count = 0, next = 0;
  int rank = comm_rank(comm);
  for (int64_t id = 0; id < N; id++) {
    if (owner[id] != rank) continue;
    for (int32_t t = 0; t < sequence_length(id); t++)
      tokens[id][t] = (int32_t)(id * 100 + t);
    items[count++] =
        (exchange_item_t){id, group[id], tokens[id], (size_t)sequence_length(id) * sizeof(int32_t)};
  }
  assert_ok(exchange_items(comm, items, count, &result));
  for (int64_t id = 0; id < N; id++) {
    if (group[id] != rank) continue;
    assert_true(next < result.count);
    assert_int_equal(result.items[next].id, id);
    assert_int_equal(result.items[next].size, (size_t)sequence_length(id) * sizeof(int32_t));
    const int32_t *received = result.items[next++].bytes;
    for (int32_t t = 0; t < sequence_length(id); t++)
      assert_int_equal(received[t], id * 100 + t);
  }
  assert_int_equal(next, result.count);
  exchange_free(&result);
}

/* LENGTHS (N) as a run learns them: each rank knows those of its own, the rest come by a sum. */
static void learn_lengths(comm_t *comm, const int32_t *owner, int32_t *lengths) {
  for (int64_t id = 0; id < N; id++)
    lengths[id] = owner[id] == comm_rank(comm) ? sequence_length(id) : 0;
  assert_ok(comm_allreduce(comm, lengths, N, COMM_I32, COMM_SUM));
}

static void result_depends_on_no_owner(void **state) {
  (void)state;
  comm_t *comm = mpi_test_world();
  int size = comm_size(comm);
  int32_t owner[N], lengths[N], group[N], first[N];
  for (int layout = 0; layout < 3; layout++) {
    for (int64_t id = 0; id < N; id++)
      owner[id] = layout == 0 ? 0 : layout == 1 ? (int32_t)(id % size) : (int32_t)(id * size / N);
    learn_lengths(comm, owner, lengths);
    assert_ok(deal_by_length(lengths, N, size, group));
    for (int64_t id = 0; id < N && layout == 0; id++)
      first[id] = group[id];
    assert_memory_equal(group, first, sizeof group);
    move(comm, owner, group);
  }
  /* The same on every rank. */
  assert_ok(comm_broadcast(comm, first, N, COMM_I32, 0));
  assert_memory_equal(group, first, sizeof group);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(result_depends_on_no_owner)};
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
