/* Collectives on device memory: by NCCL where each rank of a communicator has a GPU of its own, else through
 * host memory and MPI (NCCL refuses ranks that share one). Sums of gradients run beside the operations, in a
 * stream of their own. */
#include "cuda/nccl.h"

extern "C" {
#include "perf/perf.h"
}

#include <string.h>

/* A communicator. */
struct group_t {
  comm_t *host;
  nccl_group_t *nccl; /* NULL: through the host */
  group_t *next;
};

/* A reduce-scatter that was begun. On the device: AFTER what it sums; BEGUN and DONE in the stream beside the
 * operations', which waits for it from REACHED until PASSED. Through the host: what MPI works on. */
struct request_t {
  group_t *group;
  cudaEvent_t after, begun, done, reached, passed;
  bool is_ended;
  comm_request_t *host;
  float *values; /* (size * n) host memory */
  void *data;
  size_t n;
  request_t *next;
};

struct groups_t {
  group_t *first;
  request_t *requests; /* of NCCL, whose times are not counted yet; the oldest first */
  float *staging;
  size_t staging_count;
  bool has_failed;
};

static group_t *group_of(const device_comm_t *comm) {
  return static_cast<group_t *>(comm->own);
}

bool collectives_staged(const device_t *device) {
  for (const group_t *group = cuda_state(device)->groups->first; group; group = group->next)
    if (comm_size(group->host) > 1 && !group->nccl) return true;
  return false;
}

status_t collectives_check(device_t *device) {
  groups_t *groups = cuda_state(device)->groups;
  for (group_t *group = groups ? groups->first : NULL; group; group = group->next) {
    status_code_t status = group->nccl ? nccl_group_check(group->nccl) : STATUS_OK;
    groups->has_failed = groups->has_failed || status != STATUS_OK;
    TRY(status);
  }
  return STATUS_OK;
}

const char *collectives_version(void) {
  return nccl_version();
}

/* ---- Communicators ---- */

/* *SHARING: how many of COMM's ranks work on this rank's GPU. */
static status_t count_sharing(device_t *device, comm_t *comm, int *sharing) {
  cudaDeviceProp of;
  SCOPED_MEMORY char *all = NULL;
  const int size = comm_size(comm);
  const size_t bytes = sizeof of.uuid.bytes;
  status_code_t status = memory_alloc(&all, ARENA_COMM, (size_t)size, bytes);
  if (status == STATUS_OK)
    status =
        cuda_status(cudaGetDeviceProperties(&of, cuda_state(device)->ordinal), "cudaGetDeviceProperties");
  TRY(comm_agree(comm, status));
  TRY(comm_allgather(comm, of.uuid.bytes, all, bytes, COMM_BYTE));
  *sharing = 0;
  for (int r = 0; r < size; r++)
    *sharing += memcmp(all + (size_t)r * bytes, of.uuid.bytes, bytes) == 0;
  return STATUS_OK;
}

static status_t cuda_comm_create(device_t *device, comm_t *comm, void **own) {
  cuda_state_t *state = cuda_state(device);
  SCOPED_MEMORY group_t *group = NULL;
  int sharing = 1;
  bool any_staged = false;
  status_code_t status = memory_alloc(&group, ARENA_COMM, 1, sizeof *group);
  TRY(comm_agree(comm, status));
  group->host = comm;
  if (comm_size(comm) > 1) {
    TRY(count_sharing(device, comm, &sharing));
    if (sharing > state->ranks_sharing) state->ranks_sharing = sharing;
    TRY(comm_any(comm, sharing > 1 || !nccl_is_there(), &any_staged));
    if (!any_staged) TRY(nccl_group_create(comm, &group->nccl));
  }
  group->next = state->groups->first;
  state->groups->first = group;
  memory_hand_over(own, &group);
  return STATUS_OK;
}

static void cuda_comm_free(device_t *device, void *own) {
  groups_t *groups = cuda_state(device)->groups;
  group_t *group = static_cast<group_t *>(own), **link = &groups->first;
  while (*link && *link != group)
    link = &(*link)->next;
  if (*link) *link = group->next;
  nccl_group_free(group->nccl, groups->has_failed);
  memory_free(group);
}

/* ---- Through the host ---- */

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

static status_t check_type(dtype_t type) {
  if (type == DTYPE_F32 || type == DTYPE_BF16) return STATUS_OK;
  return error_set(STATUS_DEVICE, "device 'cuda': no collectives on elements of type %d", (int)type);
}

static status_t staged_allreduce(device_t *device, comm_t *comm, void *data, dtype_t type, size_t n,
                                 comm_op_t op) {
  groups_t *groups = cuda_state(device)->groups;
  TRY(staging_reserve(groups, n));
  TRY(to_host(device, groups->staging, data, type, n));
  TRY(comm_allreduce(comm, groups->staging, n, COMM_F32, op));
  return device->upload(device, data, type, groups->staging, DTYPE_F32, n);
}

static status_t staged_allgatherv(device_t *device, comm_t *comm, const void *mine, void *all,
                                  const size_t *counts, dtype_t type) {
  groups_t *groups = cuda_state(device)->groups;
  size_t total = 0, before = 0;
  for (int r = 0; r < comm_size(comm); r++) {
    if (r < comm_rank(comm)) before += counts[r];
    total += counts[r];
  }
  TRY(staging_reserve(groups, total));
  if (counts[comm_rank(comm)] > 0)
    TRY(to_host(device, groups->staging + before, mine, type, counts[comm_rank(comm)]));
  TRY(comm_allgatherv(comm, groups->staging + before, groups->staging, counts, COMM_F32));
  return total > 0 ? device->upload(device, all, type, groups->staging, DTYPE_F32, total) : STATUS_OK;
}

/* ---- The collectives ---- */

status_t cuda_allreduce(device_t *device, const device_comm_t *comm, void *data, dtype_t type, size_t n,
                        comm_op_t op) {
  const group_t *group = group_of(comm);
  TRY(check_type(type));
  if (comm_size(comm->host) == 1) return STATUS_OK;
  if (!group->nccl) return staged_allreduce(device, comm->host, data, type, n, op);
  /* Its time is the device's. */
  comm_count(group->host, COLLECTIVE_ALLREDUCE, (double)(n * dtype_size(type)), perf_now());
  return nccl_allreduce(group->nccl, cuda_state(device)->compute.raw, data, type, n, op);
}

static status_t cuda_allgatherv(device_t *device, const device_comm_t *comm, const void *mine, void *all,
                                const size_t *counts, dtype_t type) {
  const group_t *group = group_of(comm);
  const cudaStream_t stream = cuda_state(device)->compute.raw;
  const size_t bytes = counts[comm_rank(comm->host)] * dtype_size(type);
  TRY(check_type(type));
  if (comm_size(comm->host) == 1) {
    if (mine != all && bytes > 0)
      TRY_CUDA(cudaMemcpyAsync(all, mine, bytes, cudaMemcpyDeviceToDevice, stream));
    return STATUS_OK;
  }
  if (!group->nccl) return staged_allgatherv(device, comm->host, mine, all, counts, type);
  comm_count(group->host, COLLECTIVE_ALLGATHER, (double)bytes, perf_now());
  return nccl_allgatherv(group->nccl, stream, mine, all, counts, type);
}

/* ---- In the background ---- */

static void request_free(request_t *request) {
  cudaEvent_t events[] = {request->after, request->begun, request->done, request->reached, request->passed};
  for (cudaEvent_t event : events)
    if (event) (void)cudaEventDestroy(event);
  memory_free(request->values);
  memory_free(request);
}

/* Counts the times of requests that are over. */
static void requests_count(groups_t *groups) {
  while (groups->requests && groups->requests->is_ended &&
         cudaEventQuery(groups->requests->passed) == cudaSuccess) {
    request_t *request = groups->requests;
    float busy = 0.0f, exposed = 0.0f;
    if (cudaEventElapsedTime(&busy, request->begun, request->done) == cudaSuccess &&
        cudaEventElapsedTime(&exposed, request->reached, request->passed) == cudaSuccess)
      perf_background(1e-3 * (double)busy, 1e-3 * (double)exposed);
    groups->requests = request->next;
    request_free(request);
  }
  (void)cudaGetLastError(); /* not ready is no error here */
}

static status_t request_events(request_t *request) {
  cudaEvent_t *events[] = {&request->after, &request->begun, &request->done, &request->reached,
                           &request->passed};
  for (cudaEvent_t *event : events)
    TRY_CUDA(cudaEventCreate(event));
  return STATUS_OK;
}

static status_t begin_by_nccl(device_t *device, request_t *request, dtype_t type) {
  const cuda_state_t *state = cuda_state(device);
  TRY(request_events(request));
  TRY_CUDA(cudaEventRecord(request->after, state->compute.raw));
  TRY_CUDA(cudaStreamWaitEvent(state->background.raw, request->after, 0));
  TRY_CUDA(cudaEventRecord(request->begun, state->background.raw));
  TRY(nccl_reduce_scatter(request->group->nccl, state->background.raw, request->data, type, request->n));
  TRY_CUDA(cudaEventRecord(request->done, state->background.raw));
  comm_count(request->group->host, COLLECTIVE_REDUCE_SCATTER,
             (double)((size_t)(comm_size(request->group->host) - 1) * request->n * dtype_size(type)),
             perf_now());
  return STATUS_OK;
}

static status_t begin_by_host(device_t *device, request_t *request, dtype_t type) {
  const size_t all = (size_t)comm_size(request->group->host) * request->n;
  TRY(memory_alloc(&request->values, ARENA_COMM, all, sizeof *request->values));
  TRY(to_host(device, request->values, request->data, type, all));
  return comm_reduce_scatter_begin(request->group->host, request->values, request->n, COMM_F32,
                                   &request->host);
}

static status_t cuda_reduce_scatter_begin(device_t *device, const device_comm_t *comm, void *data,
                                          dtype_t type, size_t n, device_request_t **out) {
  groups_t *groups = cuda_state(device)->groups;
  request_t *request = NULL;
  TRY(type == DTYPE_F32 ? STATUS_OK : error_set(STATUS_DEVICE, "device 'cuda': sums are in fp32 only"));
  if (comm_size(comm->host) == 1) return STATUS_OK;
  requests_count(groups);
  TRY(memory_alloc(&request, ARENA_COMM, 1, sizeof *request));
  request->group = group_of(comm);
  request->data = data;
  request->n = n;
  status_code_t status =
      request->group->nccl ? begin_by_nccl(device, request, type) : begin_by_host(device, request, type);
  if (status != STATUS_OK) {
    request_free(request);
    return status;
  }
  if (request->group->nccl) {
    request_t **end = &groups->requests;
    while (*end)
      end = &(*end)->next;
    *end = request;
  }
  *out = reinterpret_cast<device_request_t *>(request);
  return STATUS_OK;
}

static status_t end_by_nccl(device_t *device, request_t *request) {
  const cuda_state_t *state = cuda_state(device);
  TRY_CUDA(cudaEventRecord(request->reached, state->compute.raw));
  TRY_CUDA(cudaStreamWaitEvent(state->compute.raw, request->done, 0));
  TRY_CUDA(cudaEventRecord(request->passed, state->compute.raw));
  request->is_ended = true;
  requests_count(state->groups);
  return STATUS_OK;
}

static status_t end_by_host(device_t *device, request_t *request) {
  const size_t begin = (size_t)comm_rank(request->group->host) * request->n;
  TRY(comm_wait(request->host));
  status_code_t status = device->upload(device, static_cast<float *>(request->data) + begin, DTYPE_F32,
                                        request->values + begin, DTYPE_F32, request->n);
  request_free(request);
  return status;
}

static status_t cuda_reduce_scatter_end(device_t *device, device_request_t *begun) {
  request_t *request = reinterpret_cast<request_t *>(begun);
  return request->group->nccl ? end_by_nccl(device, request) : end_by_host(device, request);
}

status_t cuda_fill_collectives(device_t *device) {
  TRY(memory_alloc(&cuda_state(device)->groups, ARENA_COMM, 1, sizeof(groups_t)));
  device->comm_create = cuda_comm_create;
  device->comm_free = cuda_comm_free;
  device->allreduce = cuda_allreduce;
  device->allgatherv = cuda_allgatherv;
  device->reduce_scatter_begin = cuda_reduce_scatter_begin;
  device->reduce_scatter_end = cuda_reduce_scatter_end;
  return STATUS_OK;
}

void cuda_free_collectives(device_t *device) {
  groups_t *groups = cuda_state(device)->groups;
  if (!groups) return;
  while (groups->requests) {
    request_t *request = groups->requests;
    groups->requests = request->next;
    request_free(request);
  }
  memory_free(groups->staging);
  memory_free(groups);
}
