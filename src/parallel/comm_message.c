/* What goes by messages between pairs of ranks (gather, exchange), and what runs in the background
 * (reduce-scatter). */
#include "base/memory.h"
#include "parallel/comm_internal.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

#include <limits.h>
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
    all += bytes;
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
  perf_comm(comm->rank == root ? 0 : (double)(my_count * size), perf_now() - start);
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
    if (r != comm->rank) {
      TRY(messages_start(messages, comm, true, recv, recv_counts[r], r, TAG_EXCHANGE));
    } else {
      own_place = recv;
    }
    recv += recv_counts[r];
  }
  for (int r = 0; r < comm->size; r++) {
    if (r != comm->rank) {
      TRY(messages_start(messages, comm, false, send, send_counts[r], r, TAG_EXCHANGE));
    } else {
      own = send;
    }
    send += send_counts[r];
  }
  if (send_counts[comm->rank] > 0) memcpy(own_place, own, send_counts[comm->rank]);
  return STATUS_OK;
}

status_t comm_exchange_bytes(comm_t *comm, const void *send, const size_t *send_counts, void **out,
                             size_t *recv_counts) {
  SCOPED(messages_free) comm_message_messages_t messages = {0};
  SCOPED_MEMORY void *recv = NULL;
  size_t total = 0, sent = 0;
  double start = perf_now();
  *out = NULL;
  TRY(exchange_counts(comm, send_counts, recv_counts));
  for (int r = 0; r < comm->size; r++) {
    total += recv_counts[r];
    if (r != comm->rank) sent += send_counts[r];
  }
  TRY(memory_alloc(&recv, ARENA_COMM, total, 1));
  TRY(exchange_start(&messages, comm, (char *)send, send_counts, recv, recv_counts));
  if (comm->size > 1) TRY(messages_wait(&messages, "exchange"));
  if (comm->size > 1) perf_comm((double)sent, perf_now() - start);
  memory_hand_over(out, &recv);
  return STATUS_OK;
}

/* --- reductions in the background --- */

struct comm_request {
  comm_request_t *next; /* in the list of those nobody has waited for */
  const comm_t *comm;
  MPI_Request mpi;
  char *data, *place; /* where MPI leaves the sum, and where it belongs */
  size_t bytes;       /* of the sum */
  bool done;
};

/* Of this process, for MPI's progress is of a process too. Main thread only. */
static struct {
  comm_request_t *first; /* nobody has waited for these */
  int running;           /* of them, those that MPI still works on */
  double since;          /* when the first of those that run began */
  double exposed;        /* seconds that the main thread has given them since then */
} background;

/* The main thread has been in one of this section's functions from START on. */
static void background_count(double start) {
  if (background.running > 0) background.exposed += perf_now() - start;
}

static void request_finish(comm_request_t *request, double start) {
  double now = perf_now();
  request->done = true;
  if (--background.running > 0) return;
  perf_background(now - background.since, background.exposed + now - start);
  background.exposed = 0;
}

static void request_add(comm_request_t *request, double start) {
  request->next = background.first;
  background.first = request;
  if (background.running++ == 0) background.since = start;
}

static void request_remove(const comm_request_t *request) {
  comm_request_t **link = &background.first;
  while (*link != request)
    link = &(*link)->next;
  *link = request->next;
}

status_t comm_reduce_scatter_begin(comm_t *comm, void *data, size_t count, comm_type_t type,
                                   comm_request_t **out) {
  *out = NULL;
  if (comm->size == 1 || count == 0) return STATUS_OK;
  if (count > INT_MAX)
    return error_set(STATUS_INTERNAL, "a rank's share of a sum has %zu elements, at most %d can be sent",
                     count, INT_MAX);
  SCOPED_MEMORY comm_request_t *request = NULL;
  double start = perf_now();
  TRY(memory_alloc(&request, ARENA_COMM, 1, sizeof *request));
  request->comm = comm;
  request->data = data;
  request->bytes = count * comm_type_size(type);
  request->place = request->data + (size_t)comm->rank * request->bytes;
  TRY_MPI(MPI_Ireduce_scatter_block(MPI_IN_PLACE, data, (int)count, comm_type_mpi(type), MPI_SUM, comm->mpi,
                                    &request->mpi));
  request_add(request, start);
  background_count(start);
  perf_comm((double)request->bytes * (comm->size - 1), perf_now() - start);
  memory_hand_over(out, &request);
  return STATUS_OK;
}

bool comm_is_busy(const comm_t *comm) {
  for (const comm_request_t *request = background.first; request != NULL; request = request->next)
    if (request->comm == comm) return true;
  return false;
}

status_t comm_poll(void) {
  double start = perf_now();
  watchdog_alive();
  for (comm_request_t *request = background.first; request != NULL; request = request->next) {
    int done = 0;
    if (request->done) continue;
    TRY_MPI(MPI_Test(&request->mpi, &done, MPI_STATUS_IGNORE));
    if (done) request_finish(request, start);
  }
  background_count(start);
  return STATUS_OK;
}

status_t comm_wait(comm_request_t *request) {
  if (request == NULL) return STATUS_OK;
  double start = perf_now();
  TRY(comm_mpi_wait(&request->mpi, 1, "reduce-scatter"));
  if (request->place != request->data) memcpy(request->place, request->data, request->bytes);
  if (!request->done) request_finish(request, start);
  background_count(start);
  request_remove(request);
  memory_free(request);
  perf_comm(0, perf_now() - start);
  return STATUS_OK;
}
