/* Collectives: of whole numbers, which any order of sums gives exactly. */
#include "selftest/selftest_checks.h"

#include <string.h>

/* Elements that each rank gives. */
enum { COUNT = 1000 };

/* What rank RANK has at place I. */
static double given(int rank, int64_t i) {
  return (double)((rank * 7 + i) % 128);
}

static double given_sum(int ranks, int64_t i) {
  double sum = 0.0;
  for (int rank = 0; rank < ranks; rank++)
    sum += given(rank, i);
  return sum;
}

static void give(int rank, double *data) {
  for (int64_t i = 0; i < COUNT; i++)
    data[i] = given(rank, i);
}

/* Whether DATA (n) is what EXPECTED says of CONTEXT; CALL is named in the message. */
typedef double (*expected_t)(int context, int64_t i);
static status_t expect(const comm_t *comm, const char *call, const double *data, int64_t n,
                       expected_t expected, int context) {
  for (int64_t i = 0; i < n; i++)
    if (data[i] != expected(context, i))
      return error_set(STATUS_COMM, "%s of %d ranks: rank %d has %g at place %lld, expected %g", call,
                       comm_size(comm), comm_rank(comm), data[i], (long long)i, expected(context, i));
  return STATUS_OK;
}

/* ---- On host memory ---- */

static status_t check_broadcast(comm_t *comm, double *data) {
  int root = comm_size(comm) - 1;
  memset(data, 0, COUNT * sizeof *data);
  if (comm_rank(comm) == root) give(root, data);
  TRY(comm_broadcast(comm, data, COUNT, COMM_F64, root));
  return expect(comm, "broadcast", data, COUNT, given, root);
}

static status_t check_sum(comm_t *comm, double *data) {
  give(comm_rank(comm), data);
  TRY(comm_allreduce(comm, data, COUNT, COMM_F64, COMM_SUM));
  return expect(comm, "allreduce", data, COUNT, given_sum, comm_size(comm));
}

static status_t check_extremes(comm_t *comm) {
  int64_t least = comm_rank(comm), most = comm_rank(comm);
  comm_maxloc_t place = {.value = comm_rank(comm) == comm_size(comm) / 2 ? 1.0 : 0.0,
                         .index = comm_rank(comm)};
  TRY(comm_allreduce(comm, &least, 1, COMM_I64, COMM_MIN));
  TRY(comm_allreduce(comm, &most, 1, COMM_I64, COMM_MAX));
  TRY(comm_allreduce_maxloc(comm, &place, 1));
  if (least == 0 && most == comm_size(comm) - 1 && place.index == comm_size(comm) / 2) return STATUS_OK;
  return error_set(STATUS_COMM, "least, largest and place of the largest of %d ranks are %lld, %lld and %lld",
                   comm_size(comm), (long long)least, (long long)most, (long long)place.index);
}

static double gathered(int ranks, int64_t i) {
  (void)ranks;
  return given((int)(i / COUNT), i % COUNT);
}

static status_t check_gather(comm_t *comm, double *data, double *all) {
  give(comm_rank(comm), data);
  TRY(comm_allgather(comm, data, all, COUNT, COMM_F64));
  return expect(comm, "allgather", all, (int64_t)COUNT * comm_size(comm), gathered, 0);
}

/* Rank R sends R + 1 bytes of its number to each. */
static status_t check_exchange(comm_t *comm) {
  SCOPED_MEMORY uint8_t *send = NULL, *received = NULL;
  SCOPED_MEMORY size_t *counts = NULL;
  size_t ranks = (size_t)comm_size(comm), mine = (size_t)comm_rank(comm) + 1;
  status_code_t status = memory_alloc(&send, ARENA_COMM, ranks * mine, 1);
  if (status == STATUS_OK) status = memory_alloc(&counts, ARENA_COMM, 2 * ranks, sizeof *counts);
  TRY(comm_agree(comm, status));
  memset(send, (int)(mine % 251), ranks * mine);
  for (size_t r = 0; r < ranks; r++)
    counts[r] = mine;
  void *bytes = NULL;
  size_t room = 0;
  status = comm_exchange_bytes(comm, send, counts, &bytes, &room, counts + ranks);
  received = bytes;
  TRY(status);
  const uint8_t *next = received;
  for (size_t r = 0; r < ranks; r++)
    for (size_t i = 0; i <= r; i++)
      if (counts[ranks + r] != r + 1 || *next++ != (r + 1) % 251)
        return error_set(STATUS_COMM, "exchange of %zu ranks: rank %zu sent %zu bytes, expected %zu", ranks,
                         r, counts[ranks + r], r + 1);
  return STATUS_OK;
}

static status_t check_reduce_scatter(comm_t *comm, double *all) {
  comm_request_t *request;
  int64_t ranks = comm_size(comm);
  for (int64_t i = 0; i < ranks * COUNT; i++)
    all[i] = given(comm_rank(comm), i % COUNT);
  TRY(comm_reduce_scatter_begin(comm, all, COUNT, COMM_F64, &request));
  TRY(comm_wait(request));
  return expect(comm, "reduce-scatter", all + (int64_t)comm_rank(comm) * COUNT, COUNT, given_sum, (int)ranks);
}

static status_t check_all(comm_t *comm) {
  SCOPED_MEMORY double *data = NULL;
  SCOPED_MEMORY double *all = NULL;
  status_code_t status = memory_alloc(&data, ARENA_COMM, COUNT, sizeof *data);
  if (status == STATUS_OK)
    status = memory_alloc(&all, ARENA_COMM, (size_t)comm_size(comm) * COUNT, sizeof *all);
  TRY(comm_agree(comm, status));
  TRY(comm_agree(comm, check_broadcast(comm, data)));
  TRY(comm_agree(comm, check_sum(comm, data)));
  TRY(comm_agree(comm, check_extremes(comm)));
  TRY(comm_agree(comm, check_gather(comm, data, all)));
  TRY(comm_agree(comm, check_exchange(comm)));
  return comm_agree(comm, check_reduce_scatter(comm, all));
}

status_t selftest_collectives(const selftest_t *test) {
  SCOPED(comm_free_at) comm_t *node = NULL;
  TRY(check_all(test->grid->world));
  TRY(comm_split_node(test->grid->world, "self-test", &node));
  return check_all(node);
}

/* ---- On the device's memory ---- */

typedef struct {
  device_t *device;
  comm_t *comm;
  wide_t *all;  /* (ranks, COUNT) */
  double *host; /* the same */
} device_case_t;

static status_t device_give(device_case_t *c) {
  int64_t n = (int64_t)comm_size(c->comm) * COUNT;
  for (int64_t i = 0; i < n; i++)
    c->host[i] = given(comm_rank(c->comm), i % COUNT);
  return wide_upload(c->device, c->all, c->host, DTYPE_F64, (size_t)n);
}

static status_t device_take(device_case_t *c, int64_t first, int64_t n) {
  TRY(wide_download(c->device, c->host, DTYPE_F64, wide_at(c->device, c->all, first), (size_t)n));
  return device_synchronize(c->device);
}

static status_t device_check_sum(device_case_t *c) {
  TRY(device_give(c));
  TRY(wide_allreduce(c->device, c->comm, c->all, COUNT, COMM_SUM));
  TRY(device_take(c, 0, COUNT));
  return expect(c->comm, "the device's allreduce", c->host, COUNT, given_sum, comm_size(c->comm));
}

static status_t device_check_gather(device_case_t *c, size_t *counts) {
  int ranks = comm_size(c->comm);
  for (int rank = 0; rank < ranks; rank++)
    counts[rank] = COUNT;
  TRY(device_give(c));
  const wide_t *mine = wide_at(c->device, c->all, (int64_t)comm_rank(c->comm) * COUNT);
  TRY(wide_allgatherv(c->device, c->comm, mine, c->all, counts));
  TRY(device_take(c, 0, (int64_t)ranks * COUNT));
  return expect(c->comm, "the device's allgather", c->host, (int64_t)ranks * COUNT, gathered, 0);
}

static status_t device_check_scatter(device_case_t *c) {
  device_request_t *request;
  TRY(device_give(c));
  TRY(wide_reduce_scatter_begin(c->device, c->comm, c->all, COUNT, &request));
  TRY(wide_reduce_scatter_end(c->device, request));
  TRY(device_take(c, (int64_t)comm_rank(c->comm) * COUNT, COUNT));
  return expect(c->comm, "the device's reduce-scatter", c->host, COUNT, given_sum, comm_size(c->comm));
}

static status_t device_check_all(device_case_t *c, size_t *counts) {
  TRY(comm_agree(c->comm, device_check_sum(c)));
  TRY(comm_agree(c->comm, device_check_gather(c, counts)));
  return comm_agree(c->comm, device_check_scatter(c));
}

static status_t device_check(device_t *device, comm_t *comm) {
  SCOPED_MEMORY double *host = NULL;
  SCOPED_MEMORY size_t *counts = NULL;
  device_case_t c = {.device = device, .comm = comm};
  size_t ranks = (size_t)comm_size(comm);
  status_code_t status = memory_alloc(&host, ARENA_COMM, ranks * COUNT, sizeof *host);
  if (status == STATUS_OK) status = memory_alloc(&counts, ARENA_COMM, ranks, sizeof *counts);
  if (status == STATUS_OK) status = wide_alloc(device, ARENA_COMM, ranks * COUNT, &c.all);
  c.host = host;
  status = comm_agree(comm, status);
  if (status == STATUS_OK) status = device_check_all(&c, counts);
  device_release(device, c.all);
  return status;
}

status_t selftest_device_collectives(const selftest_t *test) {
  TRY(device_check(test->device, test->grid->dp));
  return device_check(test->device, test->grid->tp);
}
