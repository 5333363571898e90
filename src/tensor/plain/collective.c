/* Collectives of the plain device: those of host memory, on its own memory. */
#include "tensor/plain/access.h"
#include "tensor/plain/state.h"

#include <string.h>

static comm_type_t comm_type_of_plain(dtype_t type) {
  return type == DTYPE_F64 ? COMM_F64 : type == DTYPE_F32 ? COMM_F32 : COMM_I32;
}

status_t plain_allreduce(device_t *device, const device_comm_t *comm, void *data, dtype_t type, size_t n,
                         comm_op_t op) {
  access_t access = access_begin(device, "allreduce");
  access_operand(&access, "data", data, dtype_size(type), 1, (int64_t)n, (int64_t)n, ACCESS_UPDATE, NULL);
  TRY(access_ready(&access));
  status_code_t status = comm_allreduce(comm->host, data, n, comm_type_of_plain(type), op);
  access_end(&access);
  return status;
}

status_t plain_allgatherv(device_t *device, const device_comm_t *comm, const void *mine, void *all,
                          const size_t *counts, dtype_t type) {
  size_t total = 0, before = 0;
  for (int rank = 0; rank < comm_size(comm->host); rank++) {
    if (rank < comm_rank(comm->host)) before += counts[rank];
    total += counts[rank];
  }
  size_t my_count = counts[comm_rank(comm->host)];
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
  status_code_t status = comm_allgatherv(comm->host, mine, all, counts, comm_type_of_plain(type));
  access_end(&access);
  return status;
}

/* ---- Reductions in the background. In the checking mode MPI must not work on protected memory, so it gets a
 * copy; the data itself can't be used until the end (access.c), and of it only this rank's share is anything
 * then. ---- */

static void reduction_free(plain_reduction_t *reduction) {
  if (!reduction) return;
  memory_free(reduction->copy);
  memory_free(reduction);
}
SCOPED_POINTER(reduction_free, plain_reduction_t)

static status_t reduction_copy(device_t *device, plain_reduction_t *reduction, dtype_t type) {
  int64_t n = (int64_t)(reduction->bytes / dtype_size(type));
  TRY(memory_alloc(&reduction->copy, ARENA_COMM, reduction->bytes, 1));
  access_t access = access_begin(device, "reduce_scatter_begin");
  access_operand(&access, "data", reduction->data, dtype_size(type), 1, n, n, ACCESS_UPDATE, NULL);
  TRY(access_ready(&access));
  memcpy(reduction->copy, reduction->data, reduction->bytes);
  access_end(&access);
  return STATUS_OK;
}

static status_t reduction_copy_back(device_t *device, const plain_reduction_t *reduction) {
  int64_t bytes = (int64_t)reduction->bytes;
  access_t access = access_begin(device, "reduce_scatter_end");
  access_operand(&access, "data", reduction->data, 1, 1, bytes, bytes, ACCESS_WRITE, NULL);
  TRY(access_ready(&access));
  uint32_t *words = reduction->data;
  for (size_t i = 0; i < reduction->bytes / sizeof *words; i++)
    words[i] = GUARD_POISON;
  memcpy((char *)reduction->data + reduction->place, (char *)reduction->copy + reduction->place,
         reduction->share);
  access_end(&access);
  return STATUS_OK;
}

status_t plain_reduce_scatter_begin(device_t *device, const device_comm_t *comm, void *data, dtype_t type,
                                    size_t n, device_request_t **request) {
  SCOPED(reduction_free_at) plain_reduction_t *reduction = NULL;
  TRY(memory_alloc(&reduction, ARENA_COMM, 1, sizeof *reduction));
  reduction->data = data;
  reduction->share = n * dtype_size(type);
  reduction->place = reduction->share * (size_t)comm_rank(comm->host);
  reduction->bytes = reduction->share * (size_t)comm_size(comm->host);
  if (plain_state(device)->checking) TRY(reduction_copy(device, reduction, type));
  TRY(comm_reduce_scatter_begin(comm->host, reduction->copy ? reduction->copy : data, n,
                                comm_type_of_plain(type), &reduction->request));
  reduction->next = plain_state(device)->reductions;
  plain_state(device)->reductions = reduction;
  memory_hand_over(request, &reduction);
  return STATUS_OK;
}

status_t plain_reduce_scatter_end(device_t *device, device_request_t *request) {
  plain_reduction_t **link = &plain_state(device)->reductions;
  while (*link && *link != (plain_reduction_t *)request)
    link = &(*link)->next;
  if (!*link)
    return error_set(STATUS_DEVICE,
                     "reduce_scatter_end: the request was not started on this device, or has ended before");
  plain_reduction_t *reduction = *link;
  TRY(comm_wait(reduction->request));
  *link = reduction->next;
  status_code_t status = reduction->copy ? reduction_copy_back(device, reduction) : STATUS_OK;
  reduction_free(reduction);
  return status;
}
