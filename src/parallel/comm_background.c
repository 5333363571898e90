/* Reductions in the background, and the messages of those whose sums are made elsewhere. Few ranks: each
 * sends every other its share of the elements and adds what it gets in the order of the ranks, when it has
 * come: on 2 and 4 ranks of a node this took a sixth to a half of the time of MPI_Ireduce_scatter_block (Open
 * MPI 4.1.4), which sums at one rank. Many ranks: that one. */
#include "base/memory.h"
#include "parallel/comm_internal.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

#include <limits.h>
#include <string.h>

enum { TAG_BACKGROUND = 5 };

typedef enum { REQUEST_WAITS, REQUEST_RUNS, REQUEST_DONE } request_state_t;

struct comm_request {
  comm_request_t *next; /* a later one */
  comm_t *comm;
  request_state_t state;
  char *sum; /* (size, count) to be summed; NULL: only what is in SEND is sent */
  const char *send;
  char *receive; /* the others' elements of this rank's share, by rank; a sum's own, NULL where MPI sums */
  size_t count;  /* elements of a rank's share */
  comm_type_t type;
  comm_messages_t messages;
};

/* Of this process, for MPI's progress is of a process too: comm_poll has no argument for that reason. Main
 * thread only. At most COMM_IN_FLIGHT are given to MPI at a time, in the order in which they began, which all
 * ranks agree on: so memory for them is bounded and nobody is kept waiting. */
static struct {
  comm_request_t *first; /* nobody has waited for these */
  int running;           /* those that MPI works on */
  int open;              /* and those that wait for their turn */
  double since;          /* when the first of the open ones began */
  double exposed;        /* seconds that the main thread has given them since then */
} background;

static size_t share_bytes(const comm_request_t *request) {
  return request->count * comm_type_size(request->type);
}

size_t comm_reduce_scatter_bytes(const comm_t *comm, size_t count, comm_type_t type) {
  return comm->size == 1 || !comm_is_direct(comm) ? 0 : (size_t)comm->size * count * comm_type_size(type);
}

/* The main thread has been in one of this file's functions from START on. */
static void background_count(double start) {
  if (background.open > 0) background.exposed += perf_now() - start;
}

/* --- one request --- */

static status_t request_start(comm_request_t *request) {
  comm_t *comm = request->comm;
  request->state = REQUEST_RUNS;
  background.running++;
  if (request->sum != NULL && !comm_is_direct(comm)) {
    TRY_MPI(MPI_Ireduce_scatter_block(MPI_IN_PLACE, request->sum, (int)request->count,
                                      comm_type_mpi(request->type), MPI_SUM, comm->mpi,
                                      &request->messages.requests[0]));
    request->messages.count = 1;
    return STATUS_OK;
  }
  if (request->sum != NULL)
    TRY(memory_alloc(&request->receive, ARENA_COMM,
                     comm_reduce_scatter_bytes(comm, request->count, request->type), 1));
  return comm_alltoall_start(comm, request->send, request->receive, request->count, request->type,
                             TAG_BACKGROUND, &request->messages);
}

/* The sum of this rank's share goes to its place. */
static void request_sum(comm_request_t *request) {
  size_t bytes = share_bytes(request);
  char *own = request->sum + (size_t)request->comm->rank * bytes;
  if (request->receive != NULL)
    comm_sum_in_order(request->comm, request->receive, own, request->count, request->type);
  else if (own != request->sum)
    memcpy(own, request->sum, bytes);
  memory_free(request->receive);
  request->receive = NULL;
}

/* MPI is done with it. */
static void request_finish(comm_request_t *request) {
  if (request->sum != NULL) request_sum(request);
  request->state = REQUEST_DONE;
  background.running--;
}

/* --- all of them --- */

/* Starts what may run; the last one that ends, ends the time in which the main thread, in here from START on,
 * had company. */
static status_t background_go_on(double start, int finished) {
  for (comm_request_t *request = background.first; request != NULL && background.running < COMM_IN_FLIGHT;
       request = request->next)
    if (request->state == REQUEST_WAITS) TRY(request_start(request));
  background.open -= finished;
  if (background.open > 0 || finished == 0) return STATUS_OK;
  double now = perf_now();
  perf_background(now - background.since, background.exposed + now - start);
  background.exposed = 0;
  return STATUS_OK;
}

static void background_add(comm_request_t *request, double start) {
  comm_request_t **end = &background.first;
  while (*end != NULL)
    end = &(*end)->next;
  *end = request;
  if (background.open++ == 0) background.since = start;
}

static void background_remove(const comm_request_t *request) {
  comm_request_t **link = &background.first;
  while (*link != request)
    link = &(*link)->next;
  *link = request->next;
}

/* Takes what WANTED says, with COUNT > 0 on several ranks. */
static status_t background_begin(const comm_request_t *wanted, comm_request_t **out) {
  comm_request_t *request = NULL;
  double start = perf_now();
  TRY(memory_alloc(&request, ARENA_COMM, 1, sizeof *request));
  *request = *wanted;
  background_add(request, start); /* it stays there after an error: MPI may work on it */
  TRY(background_go_on(start, 0));
  background_count(start);
  comm_count(request->comm, COLLECTIVE_REDUCE_SCATTER,
             (double)share_bytes(request) * (request->comm->size - 1), start);
  *out = request;
  return STATUS_OK;
}

status_t comm_reduce_scatter_begin(comm_t *comm, void *data, size_t count, comm_type_t type,
                                   comm_request_t **out) {
  *out = NULL;
  if (comm->size == 1 || count == 0) return STATUS_OK;
  if (count > INT_MAX || (type != COMM_F32 && type != COMM_F64))
    return error_set(
        STATUS_INTERNAL,
        "a rank's share of a sum has %zu elements of type %d; at most %d floating-point numbers can "
        "be sent",
        count, (int)type, INT_MAX);
  return background_begin(
      &(comm_request_t){.comm = comm, .sum = data, .send = data, .count = count, .type = type}, out);
}

status_t comm_alltoall_begin(comm_t *comm, const void *send, void *receive, size_t count, comm_type_t type,
                             comm_request_t **out) {
  *out = NULL;
  if (comm->size == 1 || count == 0) return STATUS_OK;
  TRY(comm_alltoall_check(comm, count));
  return background_begin(
      &(comm_request_t){.comm = comm, .send = send, .receive = receive, .count = count, .type = type}, out);
}

bool comm_is_busy(const comm_t *comm) {
  for (const comm_request_t *request = background.first; request != NULL; request = request->next)
    if (request->comm == comm) return true;
  return false;
}

status_t comm_poll(void) {
  double start = perf_now();
  int finished = 0;
  watchdog_alive();
  for (comm_request_t *request = background.first; request != NULL; request = request->next) {
    int done = 0;
    if (request->state != REQUEST_RUNS) continue;
    TRY_MPI(MPI_Testall(request->messages.count, request->messages.requests, &done, MPI_STATUSES_IGNORE));
    if (!done) continue;
    request_finish(request);
    finished++;
  }
  TRY(background_go_on(start, finished));
  background_count(start);
  return STATUS_OK;
}

/* Waits for the oldest that runs. */
static status_t background_wait_once(double *start) {
  comm_request_t *oldest = background.first;
  while (oldest->state != REQUEST_RUNS)
    oldest = oldest->next;
  TRY(comm_mpi_wait(oldest->messages.requests, oldest->messages.count,
                    perf_collective_name(COLLECTIVE_REDUCE_SCATTER)));
  request_finish(oldest);
  TRY(background_go_on(*start, 1));
  background_count(*start);
  *start = perf_now();
  return STATUS_OK;
}

status_t comm_wait(comm_request_t *request) {
  if (request == NULL) return STATUS_OK;
  double start = perf_now(), since = start;
  while (request->state != REQUEST_DONE)
    TRY(background_wait_once(&since));
  perf_comm_since("reduce-scatter wait", 0, start);
  perf_collective(request->comm->traffic, COLLECTIVE_REDUCE_SCATTER, 0, 0, perf_now() - start);
  background_remove(request);
  memory_free(request);
  return STATUS_OK;
}
