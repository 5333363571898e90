/* Broadcast, gathering to all ranks, and agreement on success. */
#include "base/memory.h"
#include "parallel/comm_internal.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

#include <limits.h>
#include <string.h>

size_t comm_type_size(comm_type_t type) {
  static const size_t sizes[] = {
      [COMM_F32] = 4, [COMM_F64] = 8, [COMM_I32] = 4, [COMM_I64] = 8, [COMM_U64] = 8, [COMM_BYTE] = 1};
  return sizes[type];
}

MPI_Datatype comm_type_mpi(comm_type_t type) {
  const MPI_Datatype types[] = {[COMM_F32] = MPI_FLOAT,   [COMM_F64] = MPI_DOUBLE,   [COMM_I32] = MPI_INT32_T,
                                [COMM_I64] = MPI_INT64_T, [COMM_U64] = MPI_UINT64_T, [COMM_BYTE] = MPI_BYTE};
  return types[type];
}

size_t comm_piece_elements(const comm_t *comm, size_t size) {
  size_t elements = comm->piece / size;
  if (elements > INT_MAX) elements = INT_MAX;
  return elements > 0 ? elements : 1;
}

comm_piece_t comm_piece_at(const comm_t *comm, void *data, size_t size, size_t count, size_t done) {
  size_t n = comm_piece_elements(comm, size);
  if (n > count - done) n = count - done;
  return (comm_piece_t){(char *)data + done * size, (int)n};
}

status_t comm_barrier(comm_t *comm) {
  if (comm->size == 1) return STATUS_OK;
  MPI_Request request;
  double start = perf_now();
  TRY_MPI(MPI_Ibarrier(comm->mpi, &request));
  TRY(comm_mpi_wait(&request, 1, "barrier"));
  comm_count(comm, COLLECTIVE_BARRIER, 0, start);
  return STATUS_OK;
}

status_t comm_broadcast_as(comm_t *comm, void *data, size_t count, comm_type_t type, int root,
                           const char *call) {
  size_t size = comm_type_size(type);
  comm_piece_t piece;
  for (size_t done = 0; done < count; done += (size_t)piece.n) {
    MPI_Request request;
    piece = comm_piece_at(comm, data, size, count, done);
    TRY_MPI(MPI_Ibcast(piece.data, piece.n, comm_type_mpi(type), root, comm->mpi, &request));
    TRY(comm_mpi_wait(&request, 1, call));
  }
  return STATUS_OK;
}

status_t comm_broadcast(comm_t *comm, void *data, size_t count, comm_type_t type, int root) {
  if (comm->size == 1 || count == 0) return STATUS_OK;
  double start = perf_now();
  TRY(comm_broadcast_as(comm, data, count, type, root, "broadcast"));
  comm_count(comm, COLLECTIVE_BROADCAST, comm->rank == root ? (double)(count * comm_type_size(type)) : 0,
             start);
  return STATUS_OK;
}

/* The message of rank FROM becomes that of the ranks that have no error of their own (STATUS_OK). */
static status_t share_message(comm_t *comm, status_code_t status, status_code_t worst, int from) {
  int64_t head[2] = {(int64_t)strlen(error_message()), comm->world_rank}; /* length, who */
  SCOPED_MEMORY char *text = NULL;
  TRY(comm_broadcast(comm, head, 2, COMM_I64, from));
  TRY(memory_alloc(&text, ARENA_COMM, (size_t)head[0] + 1, 1));
  if (comm->rank == from) memcpy(text, error_message(), (size_t)head[0]);
  TRY(comm_broadcast(comm, text, (size_t)head[0], COMM_BYTE, from));
  return status == STATUS_OK ? error_set(worst, "on rank %d: %s", (int)head[1], text) : worst;
}

status_t comm_agree(comm_t *comm, status_code_t status) {
  if (comm->size == 1) return status;
  /* The worst status, and size - (lowest failing rank). */
  int32_t outcome[2] = {(int32_t)status, status == STATUS_OK ? 0 : comm->size - comm->rank};
  watchdog_failing(status);
  status_code_t told = comm_allreduce_as(comm, outcome, 2, COMM_I32, COMM_MAX, COLLECTIVE_AGREEMENT);
  watchdog_failing(STATUS_OK);
  TRY(told);
  if (outcome[0] == STATUS_OK) return STATUS_OK;
  return share_message(comm, status, (status_code_t)outcome[0], comm->size - outcome[1]);
}

/* --- gathering --- */

/* An allgather of at most this many pieces goes in one MPI call, a larger one as a broadcast per rank: the
 * displacements of MPI_Iallgatherv are ints. */
enum { ALLGATHER_PIECES = 16 };

static status_t allgather_by_broadcast(comm_t *comm, char *all, const size_t *counts, comm_type_t type) {
  size_t size = comm_type_size(type);
  for (int r = 0; r < comm->size; r++) {
    TRY(comm_broadcast_as(comm, all, counts[r], type, r, "allgather"));
    all += counts[r] * size;
  }
  return STATUS_OK;
}

static status_t allgather_at_once(comm_t *comm, char *all, const size_t *counts, comm_type_t type) {
  MPI_Request request;
  int place = 0;
  for (int r = 0; r < comm->size; r++) {
    comm->counts[r] = (int)counts[r];
    comm->places[r] = place;
    place += (int)counts[r];
  }
  TRY_MPI(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, comm->counts, comm->places,
                          comm_type_mpi(type), comm->mpi, &request));
  return comm_mpi_wait(&request, 1, "allgather");
}

status_t comm_allgatherv(comm_t *comm, const void *mine, void *all, const size_t *counts, comm_type_t type) {
  size_t size = comm_type_size(type), before = 0, total = 0;
  for (int r = 0; r < comm->size; r++) {
    if (r < comm->rank) before += counts[r];
    total += counts[r];
  }
  char *place = comm_place_behind(all, before * size);
  if (counts[comm->rank] > 0 && mine != place) memmove(place, mine, counts[comm->rank] * size);
  if (comm->size == 1 || total == 0) return STATUS_OK;
  double start = perf_now();
  if (total * size <= ALLGATHER_PIECES * comm->piece && total <= INT_MAX) {
    TRY(allgather_at_once(comm, all, counts, type));
  } else {
    TRY(allgather_by_broadcast(comm, all, counts, type));
  }
  comm_count(comm, COLLECTIVE_ALLGATHER, (double)(counts[comm->rank] * size), start);
  return STATUS_OK;
}

status_t comm_allgather(comm_t *comm, const void *mine, void *all, size_t count, comm_type_t type) {
  for (int r = 0; r < comm->size; r++)
    comm->equal[r] = count;
  return comm_allgatherv(comm, mine, all, comm->equal, type);
}
