#define _GNU_SOURCE
#include "parallel/roll_call.h"

#include "base/memory.h"
#include "parallel/comm_internal.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HOST_MOST = 64, RANKS_SHOWN = 8, TAG_ROLL_CALL = 1 };

struct roll_call {
  comm_t *comm;
  int known;                /* ranks that this one hears of: on rank 0 all, on the others rank 0 */
  _Atomic int64_t *heard;   /* (known) the newest round in which each was there */
  char (*hosts)[HOST_MOST]; /* (known) */
  int64_t answered;         /* the newest round in which this rank was there */
  int64_t sent, received;
  int64_t *out; /* (known) what is being sent to each */
  MPI_Request *sending;
  int64_t in; /* what is being received */
  MPI_Request receiving;
};

static void roll_call_free(roll_call_t *roll) {
  if (roll == NULL) return;
  memory_free(roll->heard);
  memory_free(roll->hosts);
  memory_free(roll->out);
  memory_free(roll->sending);
  memory_free(roll);
}
SCOPED_POINTER(roll_call_free, roll_call_t)

static status_t roll_call_learn_hosts(roll_call_t *roll) {
  char mine[HOST_MOST] = "";
  if (gethostname(mine, sizeof mine - 1) != 0) snprintf(mine, sizeof mine, "an unknown host");
  TRY_MPI(MPI_Gather(mine, HOST_MOST, MPI_CHAR, roll->hosts, HOST_MOST, MPI_CHAR, 0, roll->comm->mpi));
  TRY_MPI(MPI_Bcast(roll->hosts, HOST_MOST, MPI_CHAR, 0, roll->comm->mpi));
  return STATUS_OK;
}

static bool roll_call_listen(roll_call_t *roll) {
  return MPI_Irecv(&roll->in, 1, MPI_INT64_T, roll->comm->rank == 0 ? MPI_ANY_SOURCE : 0, TAG_ROLL_CALL,
                   roll->comm->mpi, &roll->receiving) == MPI_SUCCESS;
}

status_t roll_call_start(comm_t *comm, roll_call_t **out) {
  SCOPED(roll_call_free_at) roll_call_t *roll = NULL;
  *out = NULL;
  TRY(memory_alloc(&roll, ARENA_COMM, 1, sizeof *roll));
  *roll =
      (roll_call_t){.comm = comm, .known = comm->rank == 0 ? comm->size : 1, .receiving = MPI_REQUEST_NULL};
  size_t known = (size_t)roll->known;
  TRY(memory_alloc(&roll->heard, ARENA_COMM, known, sizeof *roll->heard));
  TRY(memory_alloc(&roll->hosts, ARENA_COMM, known, sizeof *roll->hosts));
  TRY(memory_alloc(&roll->out, ARENA_COMM, known, sizeof *roll->out));
  TRY(memory_alloc(&roll->sending, ARENA_COMM, known, sizeof *roll->sending));
  for (int r = 0; r < roll->known; r++)
    roll->sending[r] = MPI_REQUEST_NULL;
  TRY(roll_call_learn_hosts(roll));
  if (!roll_call_listen(roll)) return error_set(STATUS_COMM, "MPI_Irecv failed");
  memory_hand_over(out, &roll);
  return STATUS_OK;
}

static bool roll_call_tell(roll_call_t *roll, int rank, int64_t round) {
  roll->out[rank] = round;
  roll->sent++;
  return MPI_Isend(&roll->out[rank], 1, MPI_INT64_T, rank, TAG_ROLL_CALL, roll->comm->mpi,
                   &roll->sending[rank]) == MPI_SUCCESS;
}

/* Where rank 0 has not yet taken what it was told before, it is not there. */
bool roll_call_answer(roll_call_t *roll, int64_t round) {
  int done;
  if (roll->answered == round) return true;
  roll->answered = round;
  if (roll->comm->rank == 0) {
    atomic_store(&roll->heard[0], round);
    return true;
  }
  if (MPI_Test(&roll->sending[0], &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
  return !done || roll_call_tell(roll, 0, round);
}

/* Rank 0 answers each message, which whoever sent it waits for. */
bool roll_call_look(roll_call_t *roll) {
  int done;
  MPI_Status from;
  if (MPI_Test(&roll->receiving, &done, &from) != MPI_SUCCESS) return false;
  if (!done) return true;
  int rank = from.MPI_SOURCE;
  roll->received++;
  atomic_store(&roll->heard[rank], roll->in);
  if (roll->comm->rank == 0) {
    if (MPI_Wait(&roll->sending[rank], MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
    if (!roll_call_tell(roll, rank, roll->in)) return false;
  }
  return roll_call_listen(roll);
}

int roll_call_describe(const roll_call_t *roll, int64_t round, char *text, size_t capacity) {
  int missing = 0;
  size_t used;
  for (int r = 0; r < roll->known; r++) {
    if (atomic_load(&roll->heard[r]) >= round) continue;
    used = strlen(text);
    if (missing++ < RANKS_SHOWN)
      snprintf(text + used, capacity - used, "\n  rank %d on %s", r, roll->hosts[r]);
  }
  used = strlen(text);
  if (missing > RANKS_SHOWN) snprintf(text + used, capacity - used, "\n  and %d more", missing - RANKS_SHOWN);
  return missing;
}

bool roll_call_led(const roll_call_t *roll, int64_t round) {
  return roll->comm->rank > 0 && atomic_load(&roll->heard[0]) >= round;
}

/* Rank 0 has all that was sent to it, and each other rank an answer to each message of its own. */
static bool roll_call_drain(roll_call_t *roll) {
  int64_t expected = roll->comm->rank == 0 ? 0 : roll->sent, total = expected;
  if (comm_allreduce(roll->comm, &total, 1, COMM_I64, COMM_SUM) != STATUS_OK) return false;
  if (roll->comm->rank == 0) expected = total;
  while (roll->received < expected) {
    if (!roll_call_look(roll)) return false;
    sched_yield();
  }
  return MPI_Waitall(roll->known, roll->sending, MPI_STATUSES_IGNORE) == MPI_SUCCESS &&
         MPI_Cancel(&roll->receiving) == MPI_SUCCESS &&
         MPI_Wait(&roll->receiving, MPI_STATUS_IGNORE) == MPI_SUCCESS;
}

void roll_call_stop(roll_call_t *roll) {
  if (roll != NULL && roll_call_drain(roll)) roll_call_free(roll); /* else MPI still writes to it */
}
