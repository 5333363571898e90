/* Exchange of variable-sized items between ranks. */
#include "base/random.h"
#include "mpi_test.h"
#include "parallel/exchange.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS = 203, LONGEST = 300 };

/* The items of a test, the same whatever the number of ranks: size and contents follow from the number. */
static size_t item_size(int64_t id) {
  random_stream_t stream = random_stream(3, RANDOM_TEST, (uint64_t)id);
  return id % 10 == 0 ? 0 : random_below(&stream, LONGEST + 1);
}

static unsigned char item_byte(int64_t id, size_t i) {
  return (unsigned char)(id * 7 + (int64_t)i);
}

/* Where item ID starts and where it goes: rank 1 starts with nothing, and nobody sends to the last of several
 * ranks. */
static int item_source(int64_t id, int size) {
  int source = (int)(id * 5 % size);
  return source == 1 ? 0 : source;
}

static int item_destination(int64_t id, int size) {
  return (int)(id * id % (size > 1 ? size - 1 : 1));
}

static int64_t make_items(exchange_item_t *items, unsigned char (*bytes)[LONGEST], int rank, int size) {
  int64_t count = 0;
  /* In descending order: what arrives must not depend on it. */
  for (int64_t id = ITEMS - 1; id >= 0; id--) {
    if (item_source(id, size) != rank) continue;
    for (size_t i = 0; i < item_size(id); i++)
      bytes[count][i] = item_byte(id, i);
    items[count] = (exchange_item_t){id * 1000003, item_destination(id, size), bytes[count], item_size(id)};
    count++;
  }
  return count;
}

static void items_arrive(void **state) {
  (void)state;
  comm_t *comm = mpi_test_world();
  int rank = comm_rank(comm), size = comm_size(comm);
  static exchange_item_t items[ITEMS];
  static unsigned char bytes[ITEMS][LONGEST];
  exchange_t result;
  int64_t count = make_items(items, bytes, rank, size), next = 0;
  assert_ok(exchange_items(comm, items, count, &result));
  for (int64_t id = 0; id < ITEMS; id++) {
    if (item_destination(id, size) != rank) continue;
    assert_true(next < result.count);
    const exchange_received_t *received = &result.items[next++];
    assert_int_equal(received->id, id * 1000003);
    assert_int_equal(received->size, item_size(id));
    assert_int_equal((uintptr_t)received->bytes % 16, 0);
    for (size_t i = 0; i < received->size; i++)
      assert_int_equal(((const unsigned char *)received->bytes)[i], item_byte(id, i));
  }
  assert_int_equal(result.count, next);
  exchange_free(&result);
}

static void nothing_to_exchange(void **state) {
  (void)state;
  exchange_t result;
  assert_ok(exchange_items(mpi_test_world(), NULL, 0, &result));
  assert_int_equal(result.count, 0);
  exchange_free(&result);
}

static void everything_to_one(void **state) {
  (void)state;
  comm_t *comm = mpi_test_world();
  int rank = comm_rank(comm), size = comm_size(comm);
  int64_t value = rank;
  exchange_item_t item = {-rank, size - 1, &value, sizeof value};
  exchange_t result;
  assert_ok(exchange_items(comm, &item, 1, &result));
  assert_int_equal(result.count, rank == size - 1 ? size : 0);
  for (int i = 0; i < result.count; i++) {
    assert_int_equal(result.items[i].id, i - (size - 1));
    assert_int_equal(*(const int64_t *)result.items[i].bytes, size - 1 - i);
  }
  exchange_free(&result);
}

static void bad_items_are_errors(void **state) {
  (void)state;
  comm_t *comm = mpi_test_world();
  exchange_t result;
  exchange_item_t lost = {1, comm_size(comm), NULL, 0};
  assert_error(exchange_items(comm, &lost, 1, &result), STATUS_INTERNAL);
  exchange_item_t twins[2] = {{5, comm_rank(comm), NULL, 0}, {5, comm_rank(comm), NULL, 0}};
  assert_error(exchange_items(comm, twins, 2, &result), STATUS_INTERNAL);
}

/* One rank's mistake is known to all before any of them waits for bytes. */
static void errors_are_agreed(void **state) {
  (void)state;
  comm_t *comm = mpi_test_world();
  int rank = comm_rank(comm), last = comm_size(comm) - 1;
  exchange_t result;
  exchange_item_t lost = {1, comm_size(comm), NULL, 0};
  assert_error(exchange_items(comm, &lost, rank == last, &result), STATUS_INTERNAL);
  exchange_item_t twins[2] = {{5, last, NULL, 0}, {5, last, NULL, 0}};
  assert_error(exchange_items(comm, twins, rank == last ? 2 : 0, &result), STATUS_INTERNAL);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(items_arrive),      cmocka_unit_test(nothing_to_exchange),
      cmocka_unit_test(everything_to_one), cmocka_unit_test(bad_items_are_errors),
      cmocka_unit_test(errors_are_agreed),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
