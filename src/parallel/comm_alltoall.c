/* Equal shares from each rank to each, and a block of each rank to all, by messages. MPI alone follows the
 * pointers, so that the memory may be a GPU's. Therefore messages: Open MPI's own transport takes such memory
 * in them, and not in MPI_Ialltoall, MPI_Iallgatherv and MPI_Ibcast. */
#include "parallel/comm_internal.h"
#include "perf/perf.h"

#include <limits.h>

enum { TAG_ALLTOALL = 6, TAG_ALLGATHER = 7 };

status_t comm_alltoall_check(const comm_t *comm, size_t count) {
  if (!comm_is_direct(comm))
    return error_set(STATUS_INTERNAL,
                     "messages from each of %d ranks to each; at most %d ranks can send them", comm->size,
                     COMM_DIRECT_RANKS);
  if (count <= INT_MAX) return STATUS_OK;
  return error_set(STATUS_INTERNAL, "a rank's share has %zu elements; at most %d can be sent", count,
                   INT_MAX);
}

status_t comm_message_start(comm_messages_t *messages, comm_t *comm, bool receive, char *data, size_t count,
                            comm_type_t type, int rank, int tag) {
  if (count == 0) return STATUS_OK;
  MPI_Request *request = &messages->requests[messages->count];
  TRY_MPI(receive ? MPI_Irecv(data, (int)count, comm_type_mpi(type), rank, tag, comm->mpi, request)
                  : MPI_Isend(data, (int)count, comm_type_mpi(type), rank, tag, comm->mpi, request));
  messages->count++;
  return STATUS_OK;
}

status_t comm_alltoall_start(comm_t *comm, const char *send, char *receive, size_t count, comm_type_t type,
                             int tag, comm_messages_t *messages) {
  size_t bytes = count * comm_type_size(type);
  messages->count = 0;
  for (int step = 1; step < comm->size; step++) {
    int from = comm_other_rank(comm, comm->size - step);
    TRY(comm_message_start(messages, comm, true, receive + (size_t)from * bytes, count, type, from, tag));
  }
  for (int step = 1; step < comm->size; step++) {
    int to = comm_other_rank(comm, step);
    TRY(comm_message_start(messages, comm, false, (char *)send + (size_t)to * bytes, count, type, to, tag));
  }
  return STATUS_OK;
}

/* A part of COLLECTIVE that began at START ends with MESSAGES. */
static status_t alltoall_wait(comm_t *comm, comm_messages_t *messages, collective_t collective,
                              double start) {
  const char *name = perf_collective_name(collective);
  TRY(comm_mpi_wait(messages->requests, messages->count, name));
  perf_comm_since(name, 0, start);
  perf_collective(comm->traffic, collective, 0, 0, perf_now() - start);
  return STATUS_OK;
}

status_t comm_alltoall(comm_t *comm, const void *send, void *receive, size_t count, comm_type_t type,
                       collective_t collective) {
  comm_messages_t messages;
  if (comm->size == 1 || count == 0) return STATUS_OK;
  TRY(comm_alltoall_check(comm, count));
  double start = perf_now();
  TRY(comm_alltoall_start(comm, send, receive, count, type, TAG_ALLTOALL, &messages));
  return alltoall_wait(comm, &messages, collective, start);
}

status_t comm_allgatherv_direct(comm_t *comm, void *all, const size_t *bytes, collective_t collective) {
  comm_messages_t messages = {.count = 0};
  char *blocks[COMM_DIRECT_RANKS], *block = all;
  if (comm->size == 1) return STATUS_OK;
  for (int r = 0; r < comm->size; r++) {
    TRY(comm_alltoall_check(comm, bytes[r]));
    blocks[r] = block;
    block = comm_place_behind(block, bytes[r]);
  }
  double start = perf_now();
  for (int step = 1; step < comm->size; step++) {
    int from = comm_other_rank(comm, comm->size - step);
    TRY(comm_message_start(&messages, comm, true, blocks[from], bytes[from], COMM_BYTE, from, TAG_ALLGATHER));
  }
  for (int step = 1; step < comm->size; step++)
    TRY(comm_message_start(&messages, comm, false, blocks[comm->rank], bytes[comm->rank], COMM_BYTE,
                           comm_other_rank(comm, step), TAG_ALLGATHER));
  return alltoall_wait(comm, &messages, collective, start);
}
