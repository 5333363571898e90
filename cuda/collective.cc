/* Collectives on device memory: which way a communicator's go. By NCCL where each of its ranks has a GPU of
 * its own; else (NCCL refuses ranks that share one, or is not there) by MPI, which is given device memory
 * where it takes it in messages from each rank to each, and host memory where not. */
#include "cuda/collective.h"
#include "cuda/nccl.h"

extern "C" {
#include "base/log.h"
}

#include <string.h>

static group_t *group_of(const device_comm_t *comm) {
  return static_cast<group_t *>(comm->own);
}

bool collectives_need_host(const device_t *device) {
  for (const group_t *group = cuda_state(device)->groups->first; group; group = group->next)
    if (group->way && group->way->is_of_host) return true;
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

/* The way of COMM's collectives, the same on all of its ranks, of which SHARING have this rank's GPU. */
static status_t choose_way(comm_t *comm, int sharing, const collective_way_t **out) {
  bool any = false;
  *out = &collective_nccl;
  TRY(comm_any(comm, sharing > 1 || !nccl_is_there(), &any));
  if (!any) return STATUS_OK;
  *out = &collective_mpi;
  TRY(comm_any(comm, !comm_is_direct(comm) || !comm_takes_cuda_memory(), &any));
  if (any) *out = &collective_host;
  return STATUS_OK;
}

/* The log names each way when its first communicator is made. */
static void log_way(const groups_t *groups, const collective_way_t *way) {
  for (const group_t *group = groups->first; group; group = group->next)
    if (group->way == way) return;
  log_info("device cuda: collectives go %s", way->name);
}

static status_t cuda_comm_create(device_t *device, comm_t *comm, void **own) {
  cuda_state_t *state = cuda_state(device);
  SCOPED_MEMORY group_t *group = NULL;
  int sharing = 1;
  status_code_t status = memory_alloc(&group, ARENA_COMM, 1, sizeof *group);
  TRY(comm_agree(comm, status));
  group->host = comm;
  if (comm_size(comm) > 1) {
    TRY(count_sharing(device, comm, &sharing));
    if (sharing > state->ranks_sharing) state->ranks_sharing = sharing;
    TRY(choose_way(comm, sharing, &group->way));
    if (group->way == &collective_nccl) TRY(nccl_group_create(comm, &group->nccl));
    log_way(state->groups, group->way);
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

/* ---- The collectives ---- */

static status_t check_type(dtype_t type) {
  if (type == DTYPE_F32 || type == DTYPE_BF16) return STATUS_OK;
  return error_set(STATUS_DEVICE, "device 'cuda': no collectives on elements of type %d", (int)type);
}

status_t cuda_allreduce(device_t *device, const device_comm_t *comm, void *data, dtype_t type, size_t n,
                        comm_op_t op) {
  const group_t *group = group_of(comm);
  TRY(check_type(type));
  if (comm_size(comm->host) == 1) return STATUS_OK;
  return group->way->allreduce(device, group, data, type, n, op);
}

static status_t cuda_allgatherv(device_t *device, const device_comm_t *comm, const void *mine, void *all,
                                const size_t *counts, dtype_t type) {
  const group_t *group = group_of(comm);
  const size_t bytes = counts[comm_rank(comm->host)] * dtype_size(type);
  TRY(check_type(type));
  if (comm_size(comm->host) > 1) return group->way->allgatherv(device, group, mine, all, counts, type);
  if (mine != all && bytes > 0)
    TRY_CUDA(cudaMemcpyAsync(all, mine, bytes, cudaMemcpyDeviceToDevice, cuda_state(device)->compute.raw));
  return STATUS_OK;
}

static status_t cuda_reduce_scatter_begin(device_t *device, const device_comm_t *comm, void *data,
                                          dtype_t type, size_t n, device_request_t **out) {
  const group_t *group = group_of(comm);
  request_t *request = NULL;
  TRY(type == DTYPE_F32 ? STATUS_OK : error_set(STATUS_DEVICE, "device 'cuda': sums are in fp32 only"));
  if (comm_size(comm->host) == 1) return STATUS_OK;
  TRY(memory_alloc(&request, ARENA_COMM, 1, group->way->request_size));
  *request = {group, data, n};
  status_code_t status = group->way->reduce_begin(device, request);
  if (status != STATUS_OK) {
    group->way->request_free(request);
    return status;
  }
  *out = reinterpret_cast<device_request_t *>(request);
  return STATUS_OK;
}

static status_t cuda_reduce_scatter_end(device_t *device, device_request_t *begun) {
  request_t *request = reinterpret_cast<request_t *>(begun);
  return request->group->way->reduce_end(device, request);
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
  for (const collective_way_t *way : {&collective_nccl, &collective_mpi, &collective_host})
    way->release(device);
  memory_free(groups);
}
