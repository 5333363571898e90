/* Collectives of the plain device: those of host memory, on its own memory. */
#include "tensor/plain/access.h"
#include "tensor/plain/state.h"

#include <string.h>

static comm_type_t comm_type_of_plain(dtype_t type) {
  return type == DTYPE_F64 ? COMM_F64 : type == DTYPE_F32 ? COMM_F32 : COMM_I32;
}

status_t plain_allreduce(device_t *device, comm_t *comm, void *data, dtype_t type, size_t n, comm_op_t op) {
  access_t access = access_begin(device, "allreduce");
  access_operand(&access, "data", data, dtype_size(type), 1, (int64_t)n, (int64_t)n, ACCESS_UPDATE, NULL);
  TRY(access_ready(&access));
  status_code_t status = comm_allreduce(comm, data, n, comm_type_of_plain(type), op);
  access_end(&access);
  return status;
}

status_t plain_allgatherv(device_t *device, comm_t *comm, const void *mine, void *all, const size_t *counts,
                          dtype_t type) {
  size_t total = 0, before = 0;
  for (int rank = 0; rank < comm_size(comm); rank++) {
    if (rank < comm_rank(comm)) before += counts[rank];
    total += counts[rank];
  }
  size_t my_count = counts[comm_rank(comm)];
  const void *my_place = (const unsigned char *)all + before * dtype_size(type);
  access_t access = access_begin(device, "allgatherv");
  access_operand(&access, "all", all, dtype_size(type), 1, (int64_t)total, (int64_t)total, ACCESS_PATCH,
                 NULL);
  if (mine == my_place)
    access_touch(&access, "mine", mine, dtype_size(type), 0, (int64_t)my_count);
  else
    access_operand(&access, "mine", mine, dtype_size(type), 1, (int64_t)my_count, (int64_t)my_count,
                   ACCESS_READ, NULL);
  TRY(access_ready(&access));
  status_code_t status = comm_allgatherv(comm, mine, all, counts, comm_type_of_plain(type));
  access_end(&access);
  return status;
}

/* ---- Reductions in the background. In the checking mode MPI must not work on protected memory, so it gets a
 * copy; the data itself can't be used until the end (access.c). ---- */

static status_t reduction_make(device_t *device, const void *data, size_t bytes, plain_reduction_t **out) {
  plain_reduction_t *reduction = NULL;
  TRY(memory_alloc(&reduction, ARENA_COMM, 1, sizeof *reduction));
  status_code_t status = memory_alloc(&reduction->copy, ARENA_COMM, bytes, 1);
  if (status != STATUS_OK) {
    memory_free(reduction);
    return status;
  }
  memcpy(reduction->copy, data, bytes);
  reduction->data = (void *)(uintptr_t)data;
  reduction->bytes = bytes;
  reduction->next = plain_state(device)->reductions;
  *out = reduction;
  return STATUS_OK;
}

static status_t reduction_copy_back(device_t *device, const plain_reduction_t *reduction) {
  access_t access = access_begin(device, "reduce_end");
  int64_t bytes = (int64_t)reduction->bytes;
  access_operand(&access, "data", reduction->data, 1, 1, bytes, bytes, ACCESS_WRITE, NULL);
  TRY(access_ready(&access));
  memcpy(reduction->data, reduction->copy, reduction->bytes);
  access_end(&access);
  return STATUS_OK;
}

static void reduction_free(plain_reduction_t *reduction) {
  memory_free(reduction->copy);
  memory_free(reduction);
}

static status_t reduce_begin_copy(device_t *device, comm_t *comm, void *data, dtype_t type, size_t n,
                                  int root, comm_request_t **request) {
  access_t access = access_begin(device, "reduce_begin");
  access_operand(&access, "data", data, dtype_size(type), 1, (int64_t)n, (int64_t)n, ACCESS_UPDATE, NULL);
  TRY(access_ready(&access));
  plain_reduction_t *reduction = NULL;
  status_code_t status = reduction_make(device, data, n * dtype_size(type), &reduction);
  access_end(&access);
  TRY(status);
  status = comm_reduce_begin(comm, reduction->copy, n, comm_type_of_plain(type), root, request);
  if (status == STATUS_OK && *request) {
    reduction->request = *request;
    plain_state(device)->reductions = reduction;
    return STATUS_OK;
  }
  /* Without a request the sum is complete. */
  if (status == STATUS_OK) status = reduction_copy_back(device, reduction);
  reduction_free(reduction);
  return status;
}

status_t plain_reduce_begin(device_t *device, comm_t *comm, void *data, dtype_t type, size_t n, int root,
                            comm_request_t **request) {
  if (plain_state(device)->checking) return reduce_begin_copy(device, comm, data, type, n, root, request);
  return comm_reduce_begin(comm, data, n, comm_type_of_plain(type), root, request);
}

status_t plain_reduce_end(device_t *device, comm_request_t *request) {
  plain_reduction_t **link = &plain_state(device)->reductions;
  while (*link && (*link)->request != request)
    link = &(*link)->next;
  plain_reduction_t *reduction = *link;
  if (plain_state(device)->checking && !reduction)
    return error_set(STATUS_DEVICE,
                     "reduce_end: the request was not started on this device, or has ended before");
  status_code_t status = comm_wait(request);
  if (!reduction) return status;
  *link = reduction->next;
  if (status == STATUS_OK) status = reduction_copy_back(device, reduction);
  reduction_free(reduction);
  return status;
}
