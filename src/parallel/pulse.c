#include "parallel/pulse.h"

#include "base/memory.h"
#include "parallel/comm_mpi.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

/* Seconds between two rounds while a group works: a round's cost is lost in that. */
static const double interval = 0.1;

enum { WISH, BUSY, WORDS };

struct pulse {
  const grid_t *grid;
  int32_t stride, looks;
  pulse_wish_t wish;
  void *context;
  bool wanted; /* this rank has had its wish; kept until it has gone round */
  /* Of the leader of a tp group. */
  double next;           /* when the next round may begin, on perf_now's clock */
  bool pending;          /* a round is under way */
  int32_t given[WORDS];  /* what this group puts into it */
  int32_t result[WORDS]; /* the largest of all groups */
  MPI_Request request;
};

status_t pulse_start(const grid_t *grid, int32_t stride, pulse_wish_t wish, void *context, pulse_t **out) {
  TRY(memory_alloc(out, ARENA_COMM, 1, sizeof **out));
  **out = (pulse_t){
      .grid = grid, .stride = stride, .wish = wish, .context = context, .next = perf_now() + interval};
  (*out)->request = MPI_REQUEST_NULL;
  return STATUS_OK;
}

void pulse_free(pulse_t *pulse) {
  /* MPI would still write to a round under way. There is one after an error only, which ends the run. */
  if (pulse && !pulse->pending) memory_free(pulse);
}

/* *WANTED: any rank of this tp group wishes to stop. */
static status_t group_wish(pulse_t *pulse, bool *wanted) {
  pulse->wanted = pulse->wanted || pulse->wish(pulse->context);
  return comm_any(pulse->grid->tp, pulse->wanted, wanted);
}

static status_t begin_round(pulse_t *pulse, bool wish, bool busy) {
  pulse->given[WISH] = wish;
  pulse->given[BUSY] = busy;
  TRY_MPI(MPI_Iallreduce(pulse->given, pulse->result, WORDS, MPI_INT32_T, MPI_MAX,
                         comm_mpi(pulse->grid->pulse), &pulse->request));
  pulse->pending = true;
  return STATUS_OK;
}

/* A look at the rounds while this group works; *STOP is the result of one that is over. */
static status_t beat(pulse_t *pulse, bool wish, bool *stop) {
  int over = 0;
  *stop = false;
  if (!pulse->pending && !wish && perf_now() < pulse->next) return STATUS_OK;
  if (!pulse->pending) TRY(begin_round(pulse, wish, true));
  TRY_MPI(MPI_Test(&pulse->request, &over, MPI_STATUS_IGNORE));
  if (!over) return STATUS_OK;
  pulse->pending = false;
  pulse->next = perf_now() + interval;
  *stop = pulse->result[WISH] != 0;
  return STATUS_OK;
}

status_t pulse_look(pulse_t *pulse, bool *stop) {
  const grid_t *grid = pulse->grid;
  bool wish;
  *stop = false;
  watchdog_alive();
  if (grid->tp_size > 1 && pulse->looks++ % pulse->stride != 0) return STATUS_OK;
  TRY(group_wish(pulse, &wish));
  if (grid->dp_size == 1)
    *stop = wish;
  else if (grid->tp_rank == 0)
    TRY(beat(pulse, wish, stop));
  return grid->dp_size == 1 ? STATUS_OK : comm_any(grid->tp, *stop, stop);
}

/* One round of a group that has no work left; *OVER: it was the last. */
static status_t idle_round(pulse_t *pulse, bool wish, bool *stop, bool *over) {
  double start = perf_now();
  if (!pulse->pending) TRY(begin_round(pulse, wish, false));
  TRY(comm_mpi_wait(&pulse->request, 1, "a round of the groups"));
  pulse->pending = false;
  perf_comm(sizeof pulse->given, perf_now() - start);
  *stop = pulse->result[WISH] != 0;
  *over = *stop || !pulse->result[BUSY];
  return STATUS_OK;
}

/* All rounds until the last one: a wish may come while this group waits for the others. */
static status_t idle(pulse_t *pulse, bool *stop) {
  const grid_t *grid = pulse->grid;
  for (bool over = false; !over;) {
    bool wish;
    TRY(group_wish(pulse, &wish));
    if (grid->dp_size == 1) {
      *stop = wish;
      return STATUS_OK;
    }
    bool last[2] = {false, false};
    if (grid->tp_rank == 0) TRY(idle_round(pulse, wish, &last[0], &last[1]));
    TRY(comm_any(grid->tp, last[0], stop));
    TRY(comm_any(grid->tp, last[1], &over));
  }
  return STATUS_OK;
}

status_t pulse_finish(pulse_t *pulse, bool *stop) {
  *stop = false;
  return idle(pulse, stop);
}
