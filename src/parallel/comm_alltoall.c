/* Equal shares from each rank to each. MPI alone follows the pointers, so that the memory may be a GPU's. */
#include "parallel/comm_internal.h"
#include "perf/perf.h"

#include <limits.h>

enum { TAG_ALLTOALL = 6 };

status_t comm_alltoall_check(size_t count) {
  if (count <= INT_MAX) return STATUS_OK;
  return error_set(STATUS_INTERNAL, "a rank's share has %zu elements; at most %d can be sent", count,
                   INT_MAX);
}

/* Messages to and from every other rank; each begins with its neighbour. */
static status_t alltoall_directly(comm_t *comm, const char *send, char *receive, size_t count,
                                  comm_type_t type, int tag, comm_messages_t *messages) {
  size_t bytes = count * comm_type_size(type);
  for (int step = 1; step < comm->size; step++) {
    int from = (comm->rank + comm->size - step) % comm->size;
    TRY_MPI(MPI_Irecv(receive + (size_t)from * bytes, (int)count, comm_type_mpi(type), from, tag, comm->mpi,
                      &messages->requests[messages->count]));
    messages->count++;
  }
  for (int step = 1; step < comm->size; step++) {
    int to = (comm->rank + step) % comm->size;
    TRY_MPI(MPI_Isend(send + (size_t)to * bytes, (int)count, comm_type_mpi(type), to, tag, comm->mpi,
                      &messages->requests[messages->count]));
    messages->count++;
  }
  return STATUS_OK;
}

status_t comm_alltoall_start(comm_t *comm, const char *send, char *receive, size_t count, comm_type_t type,
                             int tag, comm_messages_t *messages) {
  messages->count = 0;
  if (comm->size <= COMM_DIRECT_RANKS)
    return alltoall_directly(comm, send, receive, count, type, tag, messages);
  TRY_MPI(MPI_Ialltoall(send, (int)count, comm_type_mpi(type), receive, (int)count, comm_type_mpi(type),
                        comm->mpi, &messages->requests[0]));
  messages->count = 1;
  return STATUS_OK;
}

double comm_alltoall_bytes(const comm_t *comm, size_t count, comm_type_t type) {
  return (double)(count * comm_type_size(type)) * (comm->size - 1);
}

status_t comm_alltoall(comm_t *comm, const void *send, void *receive, size_t count, comm_type_t type,
                       collective_t collective) {
  comm_messages_t messages;
  if (comm->size == 1 || count == 0) return STATUS_OK;
  TRY(comm_alltoall_check(count));
  double start = perf_now();
  TRY(comm_alltoall_start(comm, send, receive, count, type, TAG_ALLTOALL, &messages));
  TRY(comm_mpi_wait(messages.requests, messages.count, perf_collective_name(collective)));
  comm_count(comm, collective, comm_alltoall_bytes(comm, count, type), start);
  return STATUS_OK;
}
