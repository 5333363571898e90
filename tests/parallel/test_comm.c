/* Every collective against a serial computation, with whole buffers and with buffers cut into small pieces.
 */
#include "base/memory.h"
#include "base/random.h"
#include "mpi_test.h"
#include "parallel/comm_mpi.h"
#include "perf/perf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEED = 7, WIDE = 1000 };

/* Piece lengths under test, in bytes: one that never cuts, small ones that do not divide the counts, and one
 * smaller than an element. */
static const size_t pieces[] = {(size_t)1 << 26, 104, 24, 3};
enum { PIECES = sizeof pieces / sizeof *pieces };

/* What RANK contributes as element I. */
static double number(int rank, size_t i) {
  random_stream_t stream = random_stream(SEED, RANDOM_TEST, (uint64_t)rank * 100000 + i);
  return random_uniform(&stream) - 0.5;
}

static int64_t whole(int rank, size_t i) {
  return (int64_t)(number(rank, i) * 1e6);
}

static void for_all_pieces(void (*check)(comm_t *comm)) {
  comm_t *comm = mpi_test_world();
  for (int p = 0; p < PIECES; p++) {
    comm_set_piece(comm, pieces[p]);
    check(comm);
  }
  comm_set_piece(comm, pieces[0]);
}

static void check_broadcast(comm_t *comm) {
  for (int root = 0; root < comm_size(comm); root++) {
    int64_t data[WIDE];
    for (size_t i = 0; i < WIDE; i++)
      data[i] = comm_rank(comm) == root ? whole(root, i) : -1;
    assert_ok(comm_broadcast(comm, data, WIDE, COMM_I64, root));
    for (size_t i = 0; i < WIDE; i++)
      assert_int_equal(data[i], whole(root, i));
    assert_ok(comm_broadcast(comm, NULL, 0, COMM_F32, root));
  }
}

static void check_sum_of_floats(comm_t *comm) {
  float data[WIDE];
  for (size_t i = 0; i < WIDE; i++)
    data[i] = (float)number(comm_rank(comm), i);
  assert_ok(comm_allreduce(comm, data, WIDE, COMM_F32, COMM_SUM));
  for (size_t i = 0; i < WIDE; i++) {
    double sum = 0;
    for (int r = 0; r < comm_size(comm); r++)
      sum += (float)number(r, i);
    assert_true(fabs(data[i] - sum) < 1e-6 * comm_size(comm));
  }
  /* The same bits everywhere. */
  float first[WIDE];
  memcpy(first, data, sizeof data);
  assert_ok(comm_broadcast(comm, first, WIDE, COMM_F32, 0));
  assert_memory_equal(first, data, sizeof data);
}

static void check_sum_of_doubles(comm_t *comm) {
  double data[WIDE], first[WIDE];
  for (size_t i = 0; i < WIDE; i++)
    data[i] = number(comm_rank(comm), i);
  assert_ok(comm_allreduce(comm, data, WIDE, COMM_F64, COMM_SUM));
  for (size_t i = 0; i < WIDE; i++) {
    double sum = 0;
    for (int r = 0; r < comm_size(comm); r++)
      sum += number(r, i);
    assert_true(fabs(data[i] - sum) < 1e-14 * comm_size(comm));
  }
  memcpy(first, data, sizeof data);
  assert_ok(comm_broadcast(comm, first, WIDE, COMM_F64, 0));
  assert_memory_equal(first, data, sizeof data);
}

static void check_integer_reductions(comm_t *comm) {
  const comm_op_t ops[] = {COMM_SUM, COMM_MAX, COMM_MIN};
  for (int o = 0; o < 3; o++) {
    int64_t data[WIDE];
    int32_t narrow[WIDE];
    for (size_t i = 0; i < WIDE; i++)
      data[i] = whole(comm_rank(comm), i);
    for (size_t i = 0; i < WIDE; i++)
      narrow[i] = (int32_t)data[i];
    assert_ok(comm_allreduce(comm, data, WIDE, COMM_I64, ops[o]));
    assert_ok(comm_allreduce(comm, narrow, WIDE, COMM_I32, ops[o]));
    for (size_t i = 0; i < WIDE; i++) {
      int64_t expected = whole(0, i);
      for (int r = 1; r < comm_size(comm); r++) {
        int64_t other = whole(r, i);
        if (ops[o] == COMM_SUM) expected += other;
        if (ops[o] == COMM_MAX && other > expected) expected = other;
        if (ops[o] == COMM_MIN && other < expected) expected = other;
      }
      assert_int_equal(data[i], expected);
      assert_int_equal(narrow[i], expected);
    }
  }
}

static void check_extremes_of_doubles(comm_t *comm) {
  double largest[WIDE], least[WIDE];
  for (size_t i = 0; i < WIDE; i++)
    largest[i] = least[i] = number(comm_rank(comm), i);
  assert_ok(comm_allreduce(comm, largest, WIDE, COMM_F64, COMM_MAX));
  assert_ok(comm_allreduce(comm, least, WIDE, COMM_F64, COMM_MIN));
  for (size_t i = 0; i < WIDE; i++) {
    double up = -1, down = 1;
    for (int r = 0; r < comm_size(comm); r++) {
      up = fmax(up, number(r, i));
      down = fmin(down, number(r, i));
    }
    assert_true(largest[i] == up && least[i] == down);
  }
}

/* Values from a few so that ties are common; ranks hold descending indices so that the smaller one is not the
 * first. */
static comm_maxloc_t candidate(int rank, int size, size_t i) {
  comm_maxloc_t c = {(double)(whole(rank, i) & 1), (int64_t)(size - rank) * 10};
  if (i % 7 == 3 && rank == 0) c.value = NAN;
  if (i % 7 == 5) c.value = -INFINITY;
  return c;
}

static void check_maxloc(comm_t *comm) {
  comm_maxloc_t data[WIDE];
  int size = comm_size(comm);
  for (size_t i = 0; i < WIDE; i++)
    data[i] = candidate(comm_rank(comm), size, i);
  assert_ok(comm_allreduce_maxloc(comm, data, WIDE));
  for (size_t i = 0; i < WIDE; i++) {
    comm_maxloc_t best = candidate(size - 1, size, i); /* the smallest index; NaN only on rank 0 */
    for (int r = size - 2; r >= 0; r--) {
      comm_maxloc_t other = candidate(r, size, i);
      if (other.value > best.value) best = other;
    }
    assert_int_equal(data[i].index, best.index);
    assert_true(data[i].value == best.value || (size == 1 && isnan(best.value)));
  }
}

static void check_allgather(comm_t *comm) {
  int size = comm_size(comm), rank = comm_rank(comm);
  enum { COUNT = 37 };
  double mine[COUNT];
  double *all = calloc((size_t)size * COUNT, sizeof *all);
  assert_non_null(all);
  for (size_t i = 0; i < COUNT; i++)
    mine[i] = number(rank, i);
  assert_ok(comm_allgather(comm, mine, all, COUNT, COMM_F64));
  for (int pass = 0; pass < 2; pass++) {
    for (int r = 0; r < size; r++) {
      for (size_t i = 0; i < COUNT; i++)
        assert_true(all[(size_t)r * COUNT + i] == number(r, i));
    }
    /* Again, from its own place. */
    for (int r = 0; r < size; r++) {
      if (r != rank) memset(all + (size_t)r * COUNT, 0, sizeof mine);
    }
    assert_ok(comm_allgather(comm, all + (size_t)rank * COUNT, all, COUNT, COMM_F64));
  }
  free(all);
}

/* Ragged counts: rank 1 has none, and in the second variant nobody but the last rank has any. */
static size_t ragged(int variant, int rank, int size) {
  if (variant == 2) return 0;
  if (variant == 1) return rank == size - 1 ? 50 : 0;
  return rank == 1 ? 0 : (size_t)(13 * rank + 5);
}

static size_t ragged_total(int variant, int size, size_t *counts) {
  size_t total = 0;
  for (int r = 0; r < size; r++)
    total += counts[r] = ragged(variant, r, size);
  return total;
}

static void check_ragged_gathers(comm_t *comm) {
  int size = comm_size(comm), rank = comm_rank(comm);
  size_t counts[64];
  for (int variant = 0; variant < 3; variant++) {
    size_t total = ragged_total(variant, size, counts);
    int32_t mine[1024], *all = calloc(total + 1, sizeof *all);
    assert_non_null(all);
    for (size_t i = 0; i < counts[rank]; i++)
      mine[i] = (int32_t)whole(rank, i);
    for (int root = -1; root < size; root++) {
      memset(all, 0, total * sizeof *all);
      if (root < 0) {
        assert_ok(comm_allgatherv(comm, mine, all, counts, COMM_I32));
      } else {
        assert_ok(comm_gatherv(comm, mine, counts[rank], rank == root ? all : NULL,
                               rank == root ? counts : NULL, COMM_I32, root));
      }
      size_t at = 0;
      for (int r = 0; r < size && (root < 0 || root == rank); r++) {
        for (size_t i = 0; i < counts[r]; i++)
          assert_int_equal(all[at++], (int32_t)whole(r, i));
      }
    }
    free(all);
  }
}

/* Bytes from rank FROM to rank TO; some pairs have nothing for each other. */
static size_t mail_size(int from, int to) {
  return (size_t)((from * 3 + to * 5) % 4) * 37;
}

static unsigned char mail_byte(int from, int to, size_t i) {
  return (unsigned char)(from * 31 + to * 17 + (int)i);
}

static void check_exchange(comm_t *comm) {
  int size = comm_size(comm), rank = comm_rank(comm);
  size_t send_counts[64], recv_counts[64], at = 0, room = 0;
  unsigned char send[64 * 4 * 37];
  void *recv = NULL;
  for (int r = 0; r < size; r++) {
    send_counts[r] = mail_size(rank, r);
    for (size_t i = 0; i < send_counts[r]; i++)
      send[at++] = mail_byte(rank, r, i);
  }
  for (int again = 0; again < 2; again++) { /* first without room, then with enough */
    assert_ok(comm_exchange_bytes(comm, send, send_counts, &recv, &room, recv_counts));
    at = 0;
    for (int r = 0; r < size; r++) {
      assert_int_equal(recv_counts[r], mail_size(r, rank));
      for (size_t i = 0; i < recv_counts[r]; i++)
        assert_int_equal(((unsigned char *)recv)[at++], mail_byte(r, rank, i));
    }
    assert_int_equal(room, at);
  }
  memory_free(recv);
}

/* Several sums at once, polled, and waited for in another order than they began; each rank gets its share. */
static void sums_in_background(void **state) {
  enum { BUCKETS = COMM_IN_FLIGHT + 5, SHARE = 700 };
  comm_t *comm = mpi_test_world();
  size_t size = (size_t)comm_size(comm), rank = (size_t)comm_rank(comm);
  float *data[BUCKETS];
  comm_request_t *requests[BUCKETS];
  (void)state;
  for (size_t b = 0; b < BUCKETS; b++) {
    assert_ok(memory_alloc(&data[b], ARENA_COMM, size * SHARE, sizeof *data[b]));
    for (size_t i = 0; i < size * SHARE; i++)
      data[b][i] = (float)number((int)rank, b * SHARE + i);
    assert_ok(comm_reduce_scatter_begin(comm, data[b], SHARE, COMM_F32, &requests[b]));
    assert_ok(comm_poll());
  }
  for (int n = 0; n < BUCKETS; n++)
    assert_ok(comm_wait(requests[(n + 2) % BUCKETS]));
  assert_ok(comm_poll());
  for (size_t b = 0; b < BUCKETS; b++) {
    for (size_t i = rank * SHARE; i < (rank + 1) * SHARE; i++) {
      double sum = 0;
      for (size_t r = 0; r < size; r++)
        sum += (float)number((int)r, b * SHARE + i);
      assert_true(fabs(data[b][i] - sum) < 1e-6 * (double)size);
    }
    memory_free(data[b]);
  }
  assert_ok(comm_reduce_scatter_begin(comm, NULL, 0, COMM_F32, &requests[0]));
  assert_ok(comm_wait(requests[0]));
  assert_ok(comm_wait(NULL));
}

/* A sum that the others are LATE seconds late for: what rank 0 waits is exposed, what it does meanwhile is
 * hidden. True on all ranks if rank 0 got to its wait in the first half of that time, and could tell. */
static bool time_in_background(comm_t *world, comm_t *comm, double late) {
  enum { SHARE = 1000 };
  enum { BEGUN, WORKED, WAITED, TIMES };
  perf_counter_t counters[REGION_COUNT];
  comm_request_t *request;
  double times[TIMES];
  float *data;
  bool told = true;
  assert_ok(memory_alloc(&data, ARENA_COMM, (size_t)comm_size(comm) * SHARE, sizeof *data));
  perf_reset();
  perf_begin(REGION_REDUCE);
  if (comm_rank(comm) > 0) {
    assert_ok(comm_barrier(world));
    for (double start = perf_now(); perf_now() - start < late;) {
    }
  }
  assert_ok(comm_reduce_scatter_begin(comm, data, SHARE, COMM_F32, &request));
  times[BEGUN] = perf_now();
  if (comm_rank(comm) == 0) assert_ok(comm_barrier(world));
  times[WORKED] = perf_now();
  assert_ok(comm_wait(request));
  times[WAITED] = perf_now();
  perf_end(REGION_REDUCE);
  perf_snapshot(counters);
  const perf_counter_t *reduce = &counters[REGION_REDUCE];
  double hidden = reduce->background_seconds - reduce->exposed_seconds;
  assert_true(hidden >= times[WORKED] - times[BEGUN]);
  assert_true(reduce->exposed_seconds > 0 && reduce->exposed_seconds <= reduce->background_seconds);
  if (comm_rank(comm) == 0)
    told = reduce->exposed_seconds >= late / 2 && hidden <= times[WAITED] - times[BEGUN] - late / 2;
  memory_free(data);
  bool missed;
  assert_ok(comm_any(world, !told, &missed));
  return !missed;
}

/* A busy machine may keep rank 0 from its wait until the others are there: then they are later. */
static void time_in_background_is_counted(void **state) {
  comm_t *world = mpi_test_world(), *comm = NULL;
  double late = 0.1;
  (void)state;
  if (comm_size(world) == 1) skip(); /* nothing is sent */
  assert_ok(comm_split(world, 0, comm_rank(world), "late", &comm));
  while (!time_in_background(world, comm, late)) {
    late *= 4;
    assert_true(late < 10);
  }
  comm_free(comm);
}

static void broadcasts(void **state) {
  (void)state;
  for_all_pieces(check_broadcast);
}

static void reductions(void **state) {
  (void)state;
  for_all_pieces(check_sum_of_floats);
  for_all_pieces(check_sum_of_doubles);
  for_all_pieces(check_integer_reductions);
  for_all_pieces(check_extremes_of_doubles);
  for_all_pieces(check_maxloc);
}

static void gathers(void **state) {
  (void)state;
  for_all_pieces(check_allgather);
  for_all_pieces(check_ragged_gathers);
}

static void exchanges(void **state) {
  (void)state;
  for_all_pieces(check_exchange);
}

/* Which of +0 and -0 is larger is open, but the ranks must not differ. */
static void zeros_have_one_sign(void **state) {
  (void)state;
  comm_t *comm = mpi_test_world();
  double data = comm_rank(comm) % 2 ? -0.0 : 0.0, first;
  assert_ok(comm_allreduce(comm, &data, 1, COMM_F64, COMM_MAX));
  first = data;
  assert_ok(comm_broadcast(comm, &first, 1, COMM_F64, 0));
  assert_memory_equal(&first, &data, sizeof data);
}

static void flags_and_barrier(void **state) {
  (void)state;
  comm_t *comm = mpi_test_world();
  bool any = true;
  assert_ok(comm_barrier(comm));
  assert_ok(comm_any(comm, false, &any));
  assert_false(any);
  assert_ok(comm_any(comm, comm_rank(comm) == comm_size(comm) - 1, &any));
  assert_true(any);
}

/* Ranks by colour rank % 2, in reverse order. */
static void splits(void **state) {
  (void)state;
  comm_t *world = mpi_test_world(), *half = NULL, *node = NULL;
  int rank = comm_rank(world), size = comm_size(world);
  assert_ok(comm_split(world, rank % 2, -rank, "half", &half));
  int members = (size - rank % 2 + 1) / 2;
  assert_int_equal(comm_size(half), members);
  assert_int_equal(comm_rank(half), members - 1 - rank / 2);
  int64_t sum = rank, expected = 0;
  assert_ok(comm_allreduce(half, &sum, 1, COMM_I64, COMM_SUM));
  for (int r = rank % 2; r < size; r += 2)
    expected += r;
  assert_int_equal(sum, expected);
  comm_maxloc_t best = {rank, rank};
  assert_ok(comm_allreduce_maxloc(half, &best, 1));
  assert_int_equal(best.index, rank % 2 + 2 * (members - 1));
  comm_free(half);
  assert_ok(comm_split_node(world, "node", &node));
  const char *places = getenv("HOSTS_PLACES"); /* on two hosts (tests/hosts), else on one */
  if (places == NULL) assert_int_equal(comm_size(node), size);
  if (places != NULL && strcmp(places, "halves") == 0 && size > 1) assert_true(comm_size(node) < size);
  comm_free(node);
}

static void all_agree_on_success(void **state) {
  (void)state;
  assert_ok(comm_agree(mpi_test_world(), STATUS_OK));
}

/* Ranks 1 and up fail, each with a status and message of its own; the last one worst. */
static status_t fail_above_zero(int rank, int size) {
  if (rank == 0 && size > 1) return STATUS_OK;
  if (rank == size - 1) return error_set(STATUS_NUMERIC, "worst of rank %d", rank);
  return error_set(STATUS_INPUT, "input of rank %d", rank);
}

static void all_agree_on_failure(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  int rank = comm_rank(world), size = comm_size(world);
  status_code_t mine = fail_above_zero(rank, size);
  status_code_t all = comm_agree(world, mine);
  assert_int_equal(all, STATUS_NUMERIC);
  char expected[64];
  int speaker = rank == 0 && size > 1 ? 1 : rank;
  snprintf(expected, sizeof expected, "%s of rank %d", speaker == size - 1 ? "worst" : "input", speaker);
  assert_non_null(strstr(error_message(), expected));
  error_clear();
  assert_ok(comm_agree(world, STATUS_OK));
}

/* A wrong root is an error with a message, not the end of the process. */
static void mpi_errors_are_returned(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  int data = 0;
  if (comm_size(world) == 1) skip(); /* nothing is sent */
  assert_error(comm_broadcast(world, &data, 1, COMM_I32, comm_size(world) + 5), STATUS_COMM);
  assert_error(comm_allreduce(world, &data, 1, COMM_BYTE, COMM_SUM), STATUS_INTERNAL);
}

static void traffic_is_counted(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  perf_counter_t counters[REGION_COUNT];
  double data[10] = {0};
  perf_reset();
  perf_begin(REGION_REDUCE);
  assert_ok(comm_allreduce(world, data, 10, COMM_F64, COMM_SUM));
  perf_end(REGION_REDUCE);
  perf_snapshot(counters);
  assert_true(counters[REGION_REDUCE].comm_bytes == (comm_size(world) > 1 ? 80 : 0));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(broadcasts),
      cmocka_unit_test(reductions),
      cmocka_unit_test(gathers),
      cmocka_unit_test(exchanges),
      cmocka_unit_test(sums_in_background),
      cmocka_unit_test(time_in_background_is_counted),
      cmocka_unit_test(zeros_have_one_sign),
      cmocka_unit_test(flags_and_barrier),
      cmocka_unit_test(splits),
      cmocka_unit_test(all_agree_on_success),
      cmocka_unit_test(all_agree_on_failure),
      cmocka_unit_test(mpi_errors_are_returned),
      cmocka_unit_test(traffic_is_counted),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
