/* What goes by messages between pairs of ranks: gather, exchange. */
#include "base/memory.h"
#include "parallel/comm_internal.h"
#include "perf/perf.h"

#include <string.h>

enum { TAG_GATHER = 1, TAG_EXCHANGE = 2 };

/* Messages under way. */
typedef struct {
  MPI_Request *requests; /* (count) */
  size_t count;
} comm_message_messages_t;

static void messages_free(comm_message_messages_t *messages) {
  memory_free(messages->requests);
}

/* Starts to RECEIVE, or send, COUNT bytes from or to RANK, in pieces. */
static status_t messages_start(comm_message_messages_t *messages, comm_t *comm, bool receive, char *data,
                               size_t count, int rank, int tag) {
  size_t step = comm_piece_elements(comm, 1);
  for (size_t done = 0; done < count; done += step) {
    int n = (int)(count - done < step ? count - done : step);
    TRY(memory_reserve(&messages->requests, ARENA_COMM, messages->count + 1, sizeof *messages->requests));
    MPI_Request *request = &messages->requests[messages->count++];
    *request = MPI_REQUEST_NULL;
    TRY_MPI(receive ? MPI_Irecv(data + done, n, MPI_BYTE, rank, tag, comm->mpi, request)
                    : MPI_Isend(data + done, n, MPI_BYTE, rank, tag, comm->mpi, request));
  }
  return STATUS_OK;
}

static status_t messages_wait(comm_message_messages_t *messages, const char *call) {
  return comm_mpi_wait(messages->requests, (int)messages->count, call);
}

static status_t comm_message_gather_on_root(comm_message_messages_t *messages, comm_t *comm, const void *mine,
                                            char *all, const size_t *counts, size_t size) {
  for (int r = 0; r < comm->size; r++) {
    size_t bytes = counts[r] * size;
    if (r != comm->rank) {
      TRY(messages_start(messages, comm, true, all, bytes, r, TAG_GATHER));
    } else if (bytes > 0 && mine != all) {
      memmove(all, mine, bytes);
    }
    all = comm_place_behind(all, bytes);
  }
  return STATUS_OK;
}

status_t comm_gatherv(comm_t *comm, const void *mine, size_t my_count, void *all, const size_t *counts,
                      comm_type_t type, int root) {
  SCOPED(messages_free) comm_message_messages_t messages = {0};
  size_t size = comm_type_size(type);
  double start = perf_now();
  if (comm->rank == root)
    TRY(comm_message_gather_on_root(&messages, comm, mine, all, counts, size));
  else
    TRY(messages_start(&messages, comm, false, (void *)mine, my_count * size, root, TAG_GATHER));
  if (comm->size == 1) return STATUS_OK;
  TRY(messages_wait(&messages, "gather"));
  comm_count(comm, COLLECTIVE_GATHER, comm->rank == root ? 0 : (double)(my_count * size), start);
  return STATUS_OK;
}

/* Learns how many bytes each rank sends here. */
static status_t exchange_counts(comm_t *comm, const size_t *send_counts, size_t *recv_counts) {
  _Static_assert(sizeof(size_t) == sizeof(uint64_t), "counts travel as 64-bit integers");
  MPI_Request request;
  if (comm->size == 1) {
    recv_counts[0] = send_counts[0];
    return STATUS_OK;
  }
  TRY_MPI(MPI_Ialltoall(send_counts, 1, MPI_UINT64_T, recv_counts, 1, MPI_UINT64_T, comm->mpi, &request));
  return comm_mpi_wait(&request, 1, "exchange of counts");
}

/* Bytes for this rank itself are copied; receives are posted before sends, so that nothing is buffered in
 * vain. */
static status_t exchange_start(comm_message_messages_t *messages, comm_t *comm, char *send,
                               const size_t *send_counts, char *recv, const size_t *recv_counts) {
  const char *own = NULL;
  char *own_place = NULL;
  for (int r = 0; r < comm->size; r++) {
    if (r != comm->rank)
      TRY(messages_start(messages, comm, true, recv, recv_counts[r], r, TAG_EXCHANGE));
    else
      own_place = recv;
    recv = comm_place_behind(recv, recv_counts[r]);
  }
  for (int r = 0; r < comm->size; r++) {
    if (r != comm->rank)
      TRY(messages_start(messages, comm, false, send, send_counts[r], r, TAG_EXCHANGE));
    else
      own = send;
    send = comm_place_behind(send, send_counts[r]);
  }
  if (own_place && own) memcpy(own_place, own, send_counts[comm->rank]);
  return STATUS_OK;
}

/* Not resized: what it holds is of no use. */
static status_t exchange_room(void **recv, size_t *room, size_t total) {
  if (total <= *room) return STATUS_OK;
  memory_free(*recv);
  *recv = NULL;
  *room = 0;
  TRY(memory_alloc(recv, ARENA_COMM, total, 1));
  *room = total;
  return STATUS_OK;
}

status_t comm_exchange_bytes(comm_t *comm, const void *send, const size_t *send_counts, void **recv,
                             size_t *room, size_t *recv_counts) {
  SCOPED(messages_free) comm_message_messages_t messages = {0};
  size_t total = 0, sent = 0;
  double start = perf_now();
  TRY(exchange_counts(comm, send_counts, recv_counts));
  for (int r = 0; r < comm->size; r++) {
    total += recv_counts[r];
    if (r != comm->rank) sent += send_counts[r];
  }
  TRY(exchange_room(recv, room, total));
  TRY(exchange_start(&messages, comm, (char *)send, send_counts, *recv, recv_counts));
  if (comm->size > 1) TRY(messages_wait(&messages, "exchange"));
  if (comm->size > 1) comm_count(comm, COLLECTIVE_EXCHANGE, (double)sent, start);
  return STATUS_OK;
}
