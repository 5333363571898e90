#include "parallel/stop_vote.h"

#include "base/memory.h"
#include "parallel/comm_mpi.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

/* Seconds between two rounds while a group works: a round's cost is lost in that. */
static const double interval = 0.1;

enum { REQUESTED, BUSY, WORDS };

struct stop_vote {
  comm_t *group;  /* the ranks of this one; NULL: this rank alone */
  comm_t *groups; /* a rank of each, for the leaders */
  comm_t *own;    /* groups, where the vote has made it */
  int32_t stride, looks;
  stop_request_t requested;
  void *context;
  bool wanted; /* this rank has asked to stop; kept until it has gone round */
  /* Of the leader of a group. */
  double next;           /* when the next round may begin, on perf_now's clock */
  bool pending;          /* a round is under way */
  int32_t given[WORDS];  /* what this group puts into it */
  int32_t result[WORDS]; /* the largest of all groups */
  MPI_Request request;
};

status_t stop_vote_start(const grid_t *grid, int32_t stride, stop_request_t requested, void *context,
                         stop_vote_t **out) {
  TRY(memory_alloc(out, ARENA_COMM, 1, sizeof **out));
  **out = (stop_vote_t){.group = grid->tp_size > 1 ? grid->tp : NULL,
                        .groups = grid->vote,
                        .stride = stride,
                        .requested = requested,
                        .context = context,
                        .next = perf_now() + interval};
  (*out)->request = MPI_REQUEST_NULL;
  return STATUS_OK;
}

status_t stop_vote_start_ranks(comm_t *comm, stop_request_t requested, void *context, stop_vote_t **out) {
  TRY(comm_agree(comm, memory_alloc(out, ARENA_COMM, 1, sizeof **out)));
  **out =
      (stop_vote_t){.stride = 1, .requested = requested, .context = context, .next = perf_now() + interval};
  (*out)->request = MPI_REQUEST_NULL;
  TRY(comm_split(comm, 0, comm_rank(comm), "vote", &(*out)->own));
  (*out)->groups = (*out)->own;
  return STATUS_OK;
}

void stop_vote_free(stop_vote_t *vote) {
  /* MPI would still write to a round under way. There is one after an error only, which ends the run. */
  if (!vote || vote->pending) return;
  comm_free(vote->own);
  memory_free(vote);
}

/* FLAG of any rank of this group. */
static status_t any_of_group(const stop_vote_t *vote, bool flag, bool *any) {
  *any = flag;
  return vote->group ? comm_any(vote->group, flag, any) : STATUS_OK;
}

static bool stop_vote_leads(const stop_vote_t *vote) {
  return !vote->group || comm_rank(vote->group) == 0;
}

/* *WANTED: any rank of this group asks to stop. */
static status_t group_requested(stop_vote_t *vote, bool *wanted) {
  vote->wanted = vote->wanted || vote->requested(vote->context);
  return any_of_group(vote, vote->wanted, wanted);
}

static status_t stop_vote_begin_round(stop_vote_t *vote, bool requested, bool busy) {
  vote->given[REQUESTED] = requested;
  vote->given[BUSY] = busy;
  TRY_MPI(MPI_Iallreduce(vote->given, vote->result, WORDS, MPI_INT32_T, MPI_MAX, comm_mpi(vote->groups),
                         &vote->request));
  vote->pending = true;
  return STATUS_OK;
}

/* A look at the rounds while this group works; *STOP is the result of one that is over. */
static status_t stop_vote_round(stop_vote_t *vote, bool requested, bool *stop) {
  int over = 0;
  *stop = false;
  if (!vote->pending && !requested && perf_now() < vote->next) return STATUS_OK;
  if (!vote->pending) TRY(stop_vote_begin_round(vote, requested, true));
  TRY_MPI(MPI_Test(&vote->request, &over, MPI_STATUS_IGNORE));
  if (!over) return STATUS_OK;
  vote->pending = false;
  vote->next = perf_now() + interval;
  *stop = vote->result[REQUESTED] != 0;
  return STATUS_OK;
}

status_t stop_vote_poll(stop_vote_t *vote, bool *stop) {
  bool requested, alone = comm_size(vote->groups) == 1;
  *stop = false;
  watchdog_alive();
  if (vote->group && vote->looks++ % vote->stride != 0) return STATUS_OK;
  TRY(group_requested(vote, &requested));
  if (alone)
    *stop = requested;
  else if (stop_vote_leads(vote))
    TRY(stop_vote_round(vote, requested, stop));
  return alone ? STATUS_OK : any_of_group(vote, *stop, stop);
}

status_t stop_vote_continue(stop_vote_t *vote) {
  bool stop = false;
  if (vote)
    TRY(stop_vote_poll(vote, &stop));
  else
    watchdog_alive();
  return stop ? error_set(STATUS_STOPPED, "stopped") : STATUS_OK;
}

/* One round of a group that has no work left; *OVER: it was the last. */
static status_t idle_round(stop_vote_t *vote, bool requested, bool *stop, bool *over) {
  double start = perf_now();
  if (!vote->pending) TRY(stop_vote_begin_round(vote, requested, false));
  TRY(comm_mpi_wait(&vote->request, 1, "a round of the groups"));
  vote->pending = false;
  comm_count(vote->groups, COLLECTIVE_VOTE, sizeof vote->given, start);
  *stop = vote->result[REQUESTED] != 0;
  *over = *stop || !vote->result[BUSY];
  return STATUS_OK;
}

/* All rounds until the last one: a request may come while this group waits for the others. */
status_t stop_vote_finish(stop_vote_t *vote, bool *stop) {
  *stop = false;
  for (bool over = false; !over;) {
    bool requested;
    TRY(group_requested(vote, &requested));
    if (comm_size(vote->groups) == 1) {
      *stop = requested;
      return STATUS_OK;
    }
    bool last[2] = {false, false};
    if (stop_vote_leads(vote)) TRY(idle_round(vote, requested, &last[0], &last[1]));
    TRY(any_of_group(vote, last[0], stop));
    TRY(any_of_group(vote, last[1], &over));
  }
  return STATUS_OK;
}

status_t stop_vote_agree(stop_vote_t *vote, comm_t *comm, status_code_t status) {
  bool stop = status == STATUS_STOPPED;
  if (!vote) return comm_agree(comm, status);
  if (status != STATUS_OK) vote->wanted = true; /* what is not finished need not be, then */
  if (!stop) {
    status_code_t met = stop_vote_finish(vote, &stop);
    if (met != STATUS_OK) return met;
  }
  TRY(comm_agree(comm, status == STATUS_STOPPED ? STATUS_OK : status));
  return stop ? error_set(STATUS_STOPPED, "stopped") : STATUS_OK;
}
