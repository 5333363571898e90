#include "parallel/pulse.h"

#include "base/memory.h"
#include "parallel/comm_mpi.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

/* Seconds between two rounds while a group works: a round's cost is lost in that. */
static const double interval = 0.1;

enum { WISH, BUSY, WORDS };

struct pulse {
  comm_t *group;  /* the ranks of this one; NULL: this rank alone */
  comm_t *groups; /* a rank of each, for the leaders */
  comm_t *own;    /* groups, where the pulse has made it */
  int32_t stride, looks;
  pulse_wish_t wish;
  void *context;
  bool wanted; /* this rank has had its wish; kept until it has gone round */
  /* Of the leader of a group. */
  double next;           /* when the next round may begin, on perf_now's clock */
  bool pending;          /* a round is under way */
  int32_t given[WORDS];  /* what this group puts into it */
  int32_t result[WORDS]; /* the largest of all groups */
  MPI_Request request;
};

status_t pulse_start(const grid_t *grid, int32_t stride, pulse_wish_t wish, void *context, pulse_t **out) {
  TRY(memory_alloc(out, ARENA_COMM, 1, sizeof **out));
  **out = (pulse_t){.group = grid->tp_size > 1 ? grid->tp : NULL,
                    .groups = grid->pulse,
                    .stride = stride,
                    .wish = wish,
                    .context = context,
                    .next = perf_now() + interval};
  (*out)->request = MPI_REQUEST_NULL;
  return STATUS_OK;
}

status_t pulse_start_ranks(comm_t *comm, pulse_wish_t wish, void *context, pulse_t **out) {
  TRY(comm_agree(comm, memory_alloc(out, ARENA_COMM, 1, sizeof **out)));
  **out = (pulse_t){.stride = 1, .wish = wish, .context = context, .next = perf_now() + interval};
  (*out)->request = MPI_REQUEST_NULL;
  TRY(comm_split(comm, 0, comm_rank(comm), "pulse", &(*out)->own));
  (*out)->groups = (*out)->own;
  return STATUS_OK;
}

void pulse_free(pulse_t *pulse) {
  /* MPI would still write to a round under way. There is one after an error only, which ends the run. */
  if (!pulse || pulse->pending) return;
  comm_free(pulse->own);
  memory_free(pulse);
}

/* FLAG of any rank of this group. */
static status_t any_of_group(const pulse_t *pulse, bool flag, bool *any) {
  *any = flag;
  return pulse->group ? comm_any(pulse->group, flag, any) : STATUS_OK;
}

static bool leads(const pulse_t *pulse) {
  return !pulse->group || comm_rank(pulse->group) == 0;
}

/* *WANTED: any rank of this group wishes to stop. */
static status_t group_wish(pulse_t *pulse, bool *wanted) {
  pulse->wanted = pulse->wanted || pulse->wish(pulse->context);
  return any_of_group(pulse, pulse->wanted, wanted);
}

static status_t begin_round(pulse_t *pulse, bool wish, bool busy) {
  pulse->given[WISH] = wish;
  pulse->given[BUSY] = busy;
  TRY_MPI(MPI_Iallreduce(pulse->given, pulse->result, WORDS, MPI_INT32_T, MPI_MAX, comm_mpi(pulse->groups),
                         &pulse->request));
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
  bool wish, alone = comm_size(pulse->groups) == 1;
  *stop = false;
  watchdog_alive();
  if (pulse->group && pulse->looks++ % pulse->stride != 0) return STATUS_OK;
  TRY(group_wish(pulse, &wish));
  if (alone)
    *stop = wish;
  else if (leads(pulse))
    TRY(beat(pulse, wish, stop));
  return alone ? STATUS_OK : any_of_group(pulse, *stop, stop);
}

status_t pulse_go_on(pulse_t *pulse) {
  bool stop = false;
  if (pulse)
    TRY(pulse_look(pulse, &stop));
  else
    watchdog_alive();
  return stop ? error_set(STATUS_STOPPED, "stopped") : STATUS_OK;
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
status_t pulse_finish(pulse_t *pulse, bool *stop) {
  *stop = false;
  for (bool over = false; !over;) {
    bool wish;
    TRY(group_wish(pulse, &wish));
    if (comm_size(pulse->groups) == 1) {
      *stop = wish;
      return STATUS_OK;
    }
    bool last[2] = {false, false};
    if (leads(pulse)) TRY(idle_round(pulse, wish, &last[0], &last[1]));
    TRY(any_of_group(pulse, last[0], stop));
    TRY(any_of_group(pulse, last[1], &over));
  }
  return STATUS_OK;
}

status_t pulse_agree(pulse_t *pulse, comm_t *comm, status_code_t status) {
  bool stop = status == STATUS_STOPPED;
  if (!pulse) return comm_agree(comm, status);
  if (status != STATUS_OK) pulse->wanted = true; /* what is not finished need not be, then */
  if (!stop) {
    status_code_t met = pulse_finish(pulse, &stop);
    if (met != STATUS_OK) return met;
  }
  TRY(comm_agree(comm, status == STATUS_STOPPED ? STATUS_OK : status));
  return stop ? error_set(STATUS_STOPPED, "stopped") : STATUS_OK;
}
