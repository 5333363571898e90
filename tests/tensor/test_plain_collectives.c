/* Collectives on the plain device's memory, with and without the checking mode. */
#include "parallel/comm.h"
#include "tensor/ops.h"
#include "tensor/plain/plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { N = 1000 };

static void ok(status_code_t status) {
  if (status != STATUS_OK) fail_msg("%s", error_message());
}

/* Each test runs on the four kinds of plain device. */
static device_t *device_make(int kind) {
  device_t *device = NULL;
  ok(plain_create(kind & 1 ? PLAIN_DOUBLE : PLAIN_FLOAT, kind & 2, &device));
  return device;
}
enum { KINDS = 4 };

static wide_t *wide_make(device_t *device, double first) {
  double values[N];
  wide_t *array = NULL;
  for (int i = 0; i < N; i++)
    values[i] = first + i;
  ok(wide_alloc(device, ARENA_OTHER, N, &array));
  ok(wide_upload(device, array, values, DTYPE_F64, N));
  return array;
}

static void wide_expect(device_t *device, const wide_t *array, double first, double step) {
  double values[N];
  ok(wide_download(device, values, DTYPE_F64, array, N));
  ok(device_synchronize(device));
  for (int i = 0; i < N; i++)
    if (values[i] != first + step * i)
      fail_msg("element %d is %g, expected %g", i, values[i], first + step * i);
}

static void test_allreduce(void **state) {
  comm_t *comm = *state;
  int size = comm_size(comm), rank = comm_rank(comm);
  for (int kind = 0; kind < KINDS; kind++) {
    device_t *device = device_make(kind);
    wide_t *data = wide_make(device, rank);
    ok(wide_allreduce(device, comm, data, N, COMM_SUM));
    wide_expect(device, data, size * (size - 1) / 2, size);
    device_release(device, data);
    data = wide_make(device, rank);
    ok(wide_allreduce(device, comm, data, N, COMM_MAX));
    wide_expect(device, data, size - 1, 1);
    device_release(device, data);
    device_free(device);
  }
}

/* Rank r gives r + 1 elements of value r. */
static void test_allgatherv(void **state) {
  comm_t *comm = *state;
  enum { RANKS_MAX = 16 };
  int size = comm_size(comm), rank = comm_rank(comm);
  size_t counts[RANKS_MAX], total = 0, before = 0;
  assert_true(size <= RANKS_MAX);
  for (int r = 0; r < size; r++) {
    counts[r] = (size_t)r + 1;
    if (r < rank) before += counts[r];
    total += counts[r];
  }
  for (int kind = 0; kind < KINDS; kind++)
    for (int in_place = 0; in_place < 2; in_place++) {
      device_t *device = device_make(kind);
      real_t *all = NULL, *mine = NULL;
      double host[RANKS_MAX * RANKS_MAX];
      ok(real_alloc(device, ARENA_OTHER, total, &all));
      ok(real_alloc(device, ARENA_OTHER, counts[rank], &mine));
      real_t *source = in_place ? real_at(device, all, (int64_t)before) : mine;
      ok(OP(device, fill_real, &(op_fill_real_t){.n = (int64_t)counts[rank], .value = rank, .x = source}));
      ok(real_allgatherv(device, comm, source, all, counts));
      ok(real_download(device, host, DTYPE_F64, all, total));
      ok(device_synchronize(device));
      for (size_t i = 0, r = 0, left = counts[0]; i < total; i++, left--) {
        if (left == 0) left = counts[++r];
        assert_true(host[i] == (double)r);
      }
      device_release(device, all);
      device_release(device, mine);
      device_free(device);
    }
}

/* RANKS shares of N elements. */
static wide_t *shares_make(device_t *device, int ranks, double first) {
  wide_t *array = NULL;
  double *values = NULL;
  size_t n = (size_t)ranks * N;
  ok(memory_alloc(&values, ARENA_OTHER, n, sizeof *values));
  for (size_t i = 0; i < n; i++)
    values[i] = first + (double)i;
  ok(wide_alloc(device, ARENA_OTHER, n, &array));
  ok(wide_upload(device, array, values, DTYPE_F64, n));
  memory_free(values);
  return array;
}

/* Two reductions under way at once, with work on other memory between; ended in the other order. */
static void test_reduce_scatter(void **state) {
  comm_t *comm = *state;
  int size = comm_size(comm), rank = comm_rank(comm);
  int64_t own = (int64_t)rank * N;
  for (int kind = 0; kind < KINDS; kind++) {
    device_t *device = device_make(kind);
    wide_t *first = shares_make(device, size, rank), *second = shares_make(device, size, 2 * rank),
           *other = wide_make(device, 0);
    device_request_t *first_request = NULL, *second_request = NULL;
    ok(wide_reduce_scatter_begin(device, comm, first, N, &first_request));
    ok(wide_reduce_scatter_begin(device, comm, second, N, &second_request));
    ok(OP(device, fill_wide, &(op_fill_wide_t){.n = N, .value = 5.0, .x = other}));
    ok(comm_poll());
    ok(wide_reduce_scatter_end(device, second_request));
    ok(wide_reduce_scatter_end(device, first_request));
    double begin = (double)(size * own), ranks = size * (size - 1) / 2;
    wide_expect(device, wide_at(device, first, own), begin + ranks, size);
    wide_expect(device, wide_at(device, second, own), begin + 2 * ranks, size);
    device_release(device, first);
    device_release(device, second);
    device_release(device, other);
    device_free(device);
  }
}

/* The checking mode refuses memory that is being reduced, and afterwards the shares of the others. */
static void test_reduced_memory_is_not_touched(void **state) {
  comm_t *comm = *state;
  int size = comm_size(comm), rank = comm_rank(comm);
  device_t *device = device_make(2);
  wide_t *data = shares_make(device, size, 1);
  device_request_t *request = NULL;
  double host[N];
  ok(wide_reduce_scatter_begin(device, comm, data, N, &request));
  assert_non_null(request);
  assert_int_equal(
      OP(device, fill_wide, &(op_fill_wide_t){.n = 1, .value = 0.0, .x = wide_at(device, data, N - 1)}),
      STATUS_DEVICE);
  assert_int_equal(wide_download(device, host, DTYPE_F64, data, N), STATUS_DEVICE);
  ok(wide_reduce_scatter_end(device, request));
  for (int r = 0; r < size; r++)
    assert_int_equal(wide_download(device, host, DTYPE_F64, wide_at(device, data, (int64_t)r * N), N),
                     r == rank ? STATUS_OK : STATUS_DEVICE);
  ok(OP(device, fill_wide, &(op_fill_wide_t){.n = (int64_t)size * N, .value = 0.0, .x = data}));
  device_release(device, data);
  device_free(device);
}

/* ---- Communicators of a device's own ---- */

static int own_comms;

static status_t own_create(device_t *device, comm_t *comm, void **own) {
  (void)device;
  own_comms++;
  *own = comm;
  return STATUS_OK;
}

static void own_free(device_t *device, void *own) {
  (void)device;
  (void)own;
  own_comms--;
}

static status_t own_allreduce(device_t *device, const device_comm_t *comm, void *data, dtype_t type, size_t n,
                              comm_op_t op) {
  (void)device;
  (void)data;
  (void)type;
  (void)n;
  (void)op;
  return comm->own == comm->host ? STATUS_OK : error_set(STATUS_DEVICE, "a communicator that is not mine");
}

/* A device that needs communicators of its own gets them by their hosts', and refuses what it was not told
 * of. */
static void test_communicators_are_made_known(void **state) {
  comm_t *comm = *state, *other = NULL;
  device_t *device = device_make(0);
  wide_t *data = wide_make(device, 0);
  ok(comm_split(comm, 0, comm_rank(comm), "other", &other));
  device->comm_create = own_create;
  device->comm_free = own_free;
  device->allreduce = own_allreduce;
  assert_int_equal(wide_allreduce(device, comm, data, N, COMM_SUM), STATUS_INTERNAL);
  error_clear();
  ok(device_comm_create(device, comm));
  ok(device_comm_create(device, other));
  ok(wide_allreduce(device, comm, data, N, COMM_SUM));
  ok(wide_allreduce(device, other, data, N, COMM_SUM));
  device_comm_free(device, comm);
  device_comm_free(device, comm); /* nothing happens */
  assert_int_equal(own_comms, 1);
  assert_int_equal(wide_allreduce(device, comm, data, N, COMM_SUM), STATUS_INTERNAL);
  error_clear();
  ok(wide_allreduce(device, other, data, N, COMM_SUM));
  device_release(device, data);
  device_free(device); /* with those that are left */
  assert_int_equal(own_comms, 0);
  comm_free(other);
}

int main(int argc, char **argv) {
  comm_t *world = NULL;
  if (comm_init(&argc, &argv, &world) != STATUS_OK) {
    fprintf(stderr, "%s\n", error_message());
    return 1;
  }
  struct CMUnitTest tests[] = {
      cmocka_unit_test_prestate(test_allreduce, world),
      cmocka_unit_test_prestate(test_allgatherv, world),
      cmocka_unit_test_prestate(test_reduce_scatter, world),
      cmocka_unit_test_prestate(test_reduced_memory_is_not_touched, world),
      cmocka_unit_test_prestate(test_communicators_are_made_known, world),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  comm_finish(world);
  return failed;
}
