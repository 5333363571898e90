#include "parallel/rounds.h"

#include "base/memory.h"
#include "parallel/comm_internal.h"
#include "parallel/roll_call.h"
#include "perf/perf.h"

#include <sched.h>
#include <stdatomic.h>

/* Seconds between two looks at a round under way: work that looks often pays little for it. */
static const double test_interval = 1e-3;

struct rounds {
  comm_t *world;
  comm_t *comm; /* its ranks once more, for nothing but the rounds */
  roll_call_t *roll;
  double interval, patience;
  double begin;                 /* of the round under way */
  _Atomic int64_t overdue;      /* the number of the round under way where that has lasted too long, else 0 */
  double next_round, next_test; /* on perf_now's clock */
  bool pending, closed;
  int64_t joined;
  uint64_t moves;      /* those that earlier rounds were told of */
  int32_t given, most; /* this rank has got on; any has */
  MPI_Request request;
  _Atomic double seen;
  double still_from, still_to; /* ends of the first and the newest of the rounds in which nobody had got on */
};

status_t rounds_start(comm_t *world, double interval, double patience, rounds_t **out) {
  SCOPED(comm_free_at) comm_t *comm = NULL;
  SCOPED_MEMORY rounds_t *rounds = NULL;
  *out = NULL;
  TRY(comm_split(world, 0, comm_rank(world), "signs of life", &comm));
  TRY(memory_alloc(&rounds, ARENA_COMM, 1, sizeof *rounds));
  *rounds =
      (rounds_t){.world = world, .interval = interval, .patience = patience, .request = MPI_REQUEST_NULL};
  TRY(roll_call_start(comm, &rounds->roll));
  memory_hand_over(&rounds->comm, &comm);
  memory_hand_over(out, &rounds);
  return STATUS_OK;
}

/* Errors of MPI close the rounds: the watchdog then goes by what it sees itself. */
static void rounds_join(rounds_t *rounds, uint64_t moves) {
  rounds->given = moves != rounds->moves;
  rounds->moves = moves;
  int code = MPI_Iallreduce(&rounds->given, &rounds->most, 1, MPI_INT32_T, MPI_MAX, rounds->comm->mpi,
                            &rounds->request);
  rounds->pending = code == MPI_SUCCESS;
  rounds->closed = rounds->closed || !rounds->pending;
  rounds->joined++;
  rounds->begin = perf_now();
}

static void round_over(rounds_t *rounds, double now) {
  rounds->pending = false;
  atomic_store(&rounds->overdue, 0);
  rounds->next_round = now + rounds->interval;
  if (rounds->most) atomic_store(&rounds->seen, now);
  if (rounds->most || rounds->still_from <= 0) rounds->still_from = rounds->most ? 0 : now;
  rounds->still_to = now;
}

/* Every rank that waits for the round comes here at about the same time. */
static void rounds_call(rounds_t *rounds, double now) {
  bool overdue = rounds->pending && rounds->patience > 0 && now - rounds->begin > rounds->patience;
  bool fine = !overdue || roll_call_answer(rounds->roll, rounds->joined);
  if (overdue) atomic_store(&rounds->overdue, rounds->joined);
  if (!fine || !roll_call_look(rounds->roll)) rounds->closed = true;
}

static void rounds_test(rounds_t *rounds, double now) {
  int over = 0;
  rounds->next_test = now + test_interval;
  if (MPI_Test(&rounds->request, &over, MPI_STATUS_IGNORE) != MPI_SUCCESS) {
    rounds->pending = false;
    rounds->closed = true;
  } else if (over) {
    round_over(rounds, now);
  }
  rounds_call(rounds, now);
}

void rounds_look(rounds_t *rounds, uint64_t moves, double now) {
  if (rounds->closed || now < rounds->next_test) return;
  if (!rounds->pending && now >= rounds->next_round) rounds_join(rounds, moves);
  if (rounds->pending) rounds_test(rounds, now);
}

double rounds_seen(const rounds_t *rounds) {
  return atomic_load(&rounds->seen);
}

double rounds_still(const rounds_t *rounds) {
  return rounds->still_from > 0 ? rounds->still_to - rounds->still_from : 0;
}

int rounds_describe(const rounds_t *rounds, char *text, size_t capacity) {
  int64_t round = atomic_load(&rounds->overdue);
  return round > 0 ? roll_call_describe(rounds->roll, round, text, capacity) : 0;
}

bool rounds_led(const rounds_t *rounds) {
  int64_t round = atomic_load(&rounds->overdue);
  return round > 0 && roll_call_led(rounds->roll, round);
}

/* Ranks have joined equally many rounds, or some one more, which the others must join for it to end. */
static void rounds_finish(rounds_t *rounds, int64_t last) {
  while (rounds->pending || rounds->joined < last) {
    if (!rounds->pending) rounds_join(rounds, rounds->moves);
    if (!rounds->pending) return;
    rounds_test(rounds, perf_now());
    sched_yield();
  }
}

void rounds_stop(rounds_t *rounds) {
  if (rounds == NULL) return;
  int64_t last = rounds->joined;
  rounds->closed = true;
  if (comm_allreduce(rounds->world, &last, 1, COMM_I64, COMM_MAX) == STATUS_OK) rounds_finish(rounds, last);
  if (rounds->pending) return; /* MPI would still write to it */
  roll_call_stop(rounds->roll);
  comm_free(rounds->comm);
  memory_free(rounds);
}
