#include "parallel/queue.h"

#include "base/memory.h"
#include "parallel/comm_mpi.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

struct queue {
  comm_t *world;
  comm_t *group; /* the ranks that get the same items; NULL: this one alone */
  int group_count;
  int64_t n;
  bool shared;    /* by a counter; otherwise dealt statically */
  int64_t next;   /* static: the next item of this group */
  bool empty;     /* shared: this group has seen the end */
  MPI_Win window; /* shared: the counter, on world rank 0 */
};

SCOPED_POINTER(queue_free, queue_t)

static status_t queue_make_counter(queue_t *queue) {
  int64_t *counter = NULL;
  comm_t *world = queue->world;
  MPI_Aint bytes = comm_rank(world) == 0 ? (MPI_Aint)sizeof *counter : 0;
  int code = MPI_Win_allocate(bytes, (int)sizeof *counter, MPI_INFO_NULL, comm_mpi(world), (void *)&counter,
                              &queue->window);
  if (code != MPI_SUCCESS)
    return error_context(comm_mpi_error(code, "MPI_Win_allocate"),
                         "the counter of a shared queue needs one-sided communication, which this MPI does "
                         "not have between these nodes; "
                         "Debian's Open MPI has it over TCP with OMPI_MCA_osc=^ucx in the environment");
  TRY_MPI(MPI_Win_set_errhandler(queue->window, MPI_ERRORS_RETURN));
  TRY_MPI(MPI_Win_lock_all(MPI_MODE_NOCHECK, queue->window));
  if (comm_rank(world) == 0) *counter = 0;
  TRY_MPI(MPI_Win_sync(queue->window));
  return comm_barrier(world);
}

/* LIKE: all but the window. */
static status_t queue_start(const queue_t *like, queue_t **out) {
  SCOPED(queue_free_at) queue_t *queue = NULL;
  *out = NULL;
  TRY(memory_alloc(&queue, ARENA_COMM, 1, sizeof *queue));
  *queue = *like;
  queue->window = MPI_WIN_NULL;
  if (queue->shared) {
    TRY(comm_barrier(
        queue->world)); /* a rank that comes late is waited for where rounds go on (watchdog.h) */
    watchdog_enter("set-up of the queue");
    status_code_t status = queue_make_counter(queue);
    watchdog_leave();
    TRY(status);
  }
  memory_hand_over(out, &queue);
  return STATUS_OK;
}

/* A single group has nobody to share with: static dealing gives it everything in order. */
status_t queue_create(const grid_t *grid, int64_t n, bool deterministic, queue_t **out) {
  const queue_t queue = {.world = grid->world,
                         .group = grid->tp,
                         .group_count = grid->dp_size,
                         .n = n,
                         .shared = !deterministic && grid->dp_size > 1,
                         .next = grid->dp_rank};
  return queue_start(&queue, out);
}

status_t queue_create_ranks(comm_t *comm, int64_t n, queue_t **out) {
  const queue_t queue = {.world = comm,
                         .group_count = comm_size(comm),
                         .n = n,
                         .shared = comm_size(comm) > 1,
                         .next = comm_rank(comm)};
  return queue_start(&queue, out);
}

/* Adds COUNT to the counter and tells what it was. */
static status_t queue_fetch(queue_t *queue, int64_t count, int64_t *first) {
  watchdog_enter("fetch from the queue");
  int code = MPI_Fetch_and_op(&count, first, MPI_INT64_T, 0, 0, MPI_SUM, queue->window);
  if (code == MPI_SUCCESS) code = MPI_Win_flush(0, queue->window);
  watchdog_leave();
  return code == MPI_SUCCESS ? STATUS_OK : comm_mpi_error(code, "MPI_Fetch_and_op");
}

static status_t queue_take_shared(queue_t *queue, int64_t count, int64_t *items, int64_t *taken) {
  int64_t first = 0;
  if (queue->empty) return STATUS_OK;
  if (queue->group == NULL || comm_rank(queue->group) == 0) {
    double start = perf_now();
    TRY(queue_fetch(queue, count, &first));
    comm_count(queue->world, COLLECTIVE_FETCH, sizeof count, start);
  }
  if (queue->group != NULL) TRY(comm_broadcast(queue->group, &first, 1, COMM_I64, 0));
  while (*taken < count && first + *taken < queue->n) {
    items[*taken] = first + *taken;
    ++*taken;
  }
  queue->empty = *taken < count;
  return STATUS_OK;
}

status_t queue_take(queue_t *queue, int64_t count, int64_t *items, int64_t *taken) {
  *taken = 0;
  if (count <= 0) return STATUS_OK;
  if (queue->shared) return queue_take_shared(queue, count, items, taken);
  for (; *taken < count && queue->next < queue->n; queue->next += queue->group_count)
    items[(*taken)++] = queue->next;
  return STATUS_OK;
}

status_t queue_progress(queue_t *queue) {
  int waiting = 0;
  watchdog_alive();
  if (!queue->shared) return STATUS_OK;
  /* Any call that looks for messages lets MPI serve those who address this rank's memory. */
  TRY_MPI(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_mpi(queue->world), &waiting, MPI_STATUS_IGNORE));
  return STATUS_OK;
}

void queue_free(queue_t *queue) {
  if (queue == NULL) return;
  if (queue->window != MPI_WIN_NULL) {
    (void)!comm_barrier(queue->world);
    watchdog_enter("end of the queue");
    MPI_Win_unlock_all(queue->window);
    MPI_Win_free(&queue->window);
    watchdog_leave();
  }
  memory_free(queue);
}
