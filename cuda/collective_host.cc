/* Collectives through host memory: everything is downloaded as fp32, given to MPI, and uploaded. */
#include "cuda/collective.h"

struct host_request_t : request_t {
  comm_request_t *summed;
  float *values; /* (size * n): what is summed */
  bool is_given; /* MPI may work on them */
};

static status_t staging_reserve(groups_t *groups, size_t count) {
  if (count <= groups->staging_count) return STATUS_OK;
  TRY(memory_reserve(&groups->staging, ARENA_COMM, count, sizeof *groups->staging));
  groups->staging_count = count;
  return STATUS_OK;
}

/* N elements as fp32. */
static status_t to_host(device_t *device, float *to, const void *from, dtype_t type, size_t n) {
  TRY(device->download(device, to, DTYPE_F32, from, type, n));
  return device_synchronize(device);
}

static status_t host_allreduce(device_t *device, const group_t *group, void *data, dtype_t type, size_t n,
                               comm_op_t op) {
  groups_t *groups = cuda_state(device)->groups;
  TRY(staging_reserve(groups, n));
  TRY(to_host(device, groups->staging, data, type, n));
  TRY(comm_allreduce(group->host, groups->staging, n, COMM_F32, op));
  return device->upload(device, data, type, groups->staging, DTYPE_F32, n);
}

static status_t host_allgatherv(device_t *device, const group_t *group, const void *mine, void *all,
                                const size_t *counts, dtype_t type) {
  groups_t *groups = cuda_state(device)->groups;
  const gathered_t of = gathered(group, counts);
  const size_t own = counts[comm_rank(group->host)];
  TRY(staging_reserve(groups, of.total));
  if (own > 0) TRY(to_host(device, groups->staging + of.before, mine, type, own));
  TRY(comm_allgatherv(group->host, groups->staging + of.before, groups->staging, counts, COMM_F32));
  return of.total > 0 ? device->upload(device, all, type, groups->staging, DTYPE_F32, of.total) : STATUS_OK;
}

static status_t host_reduce_begin(device_t *device, request_t *begun) {
  host_request_t *request = static_cast<host_request_t *>(begun);
  const size_t all = (size_t)comm_size(request->group->host) * request->n;
  TRY(memory_alloc(&request->values, ARENA_COMM, all, sizeof *request->values));
  TRY(to_host(device, request->values, request->data, DTYPE_F32, all));
  request->is_given = true;
  return comm_reduce_scatter_begin(request->group->host, request->values, request->n, COMM_F32,
                                   &request->summed);
}

/* Numbers that MPI may work on stay: after an error only, which ends the run. */
static void host_request_free(request_t *begun) {
  const host_request_t *request = static_cast<const host_request_t *>(begun);
  if (!request->is_given) memory_free(request->values);
  memory_free(begun);
}

static status_t host_reduce_end(device_t *device, request_t *begun) {
  host_request_t *request = static_cast<host_request_t *>(begun);
  const size_t own = (size_t)comm_rank(request->group->host) * request->n;
  TRY(comm_wait(request->summed));
  request->is_given = false;
  status_code_t status = device->upload(device, static_cast<float *>(request->data) + own, DTYPE_F32,
                                        request->values + own, DTYPE_F32, request->n);
  host_request_free(begun);
  return status;
}

static void host_release(device_t *device) {
  memory_free(cuda_state(device)->groups->staging);
}

const collective_way_t collective_host = {"by MPI through host memory",
                                          true,
                                          sizeof(host_request_t),
                                          host_allreduce,
                                          host_allgatherv,
                                          host_reduce_begin,
                                          host_reduce_end,
                                          host_request_free,
                                          host_release};
