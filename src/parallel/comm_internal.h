/* What the sources of this folder share about a communicator. */
#ifndef PARALLEL_COMM_INTERNAL_H
#define PARALLEL_COMM_INTERNAL_H

#include "parallel/comm_mpi.h"

struct comm {
  MPI_Comm mpi;
  int rank, size;
  int world_rank;
  size_t piece; /* see comm_set_piece */
  traffic_t traffic;
  char name[32];
  int *counts;   /* (size): scratch for the v-collectives */
  size_t *equal; /* (size): the counts of an allgather */
  int *places;   /* (size): displacements */
  void *scratch; /* of comm_allreduce: grows to what it needs, at most a piece per rank that takes part */
  size_t scratch_size;
  /* comm_maxloc_t as MPI sees it; made once for the world, copied by those split from it. */
  MPI_Datatype maxloc_type;
  MPI_Op maxloc_op;
};

/* Makes the type and operation of comm_allreduce_maxloc; freed by comm_finish. Local. */
status_t comm_make_maxloc(comm_t *world);

/* Bytes of one element, and MPI's name for the type. Local. */
size_t comm_type_size(comm_type_t type);
MPI_Datatype comm_type_mpi(comm_type_t type);

/* The place BYTES behind DATA, which is NULL where there is no data at all: C gives NULL + 0 no meaning. */
static inline char *comm_place_behind(char *data, size_t bytes) {
  return bytes > 0 ? data + bytes : data;
}

/* How many elements of SIZE bytes one MPI call is given: at least one. Local. */
size_t comm_piece_elements(const comm_t *comm, size_t size);

/* One piece of a buffer: N elements from DATA on. */
typedef struct {
  char *data;
  int n;
} comm_piece_t;

/* The piece that begins at element DONE of DATA (count elements of SIZE bytes). Local. */
comm_piece_t comm_piece_at(const comm_t *comm, void *data, size_t size, size_t count, size_t done);

/* Messages to and from every other rank, or the one request of a collective of MPI's. */
typedef struct {
  MPI_Request requests[2 * COMM_DIRECT_RANKS];
  int count;
} comm_messages_t;

/* Starts to RECEIVE, or send, COUNT elements (at most 2^31 - 1; nothing for 0) from or to RANK. TAG keeps the
 * message apart from others under way on COMM. Local. */
status_t comm_message_start(comm_messages_t *messages, comm_t *comm, bool receive, char *data, size_t count,
                            comm_type_t type, int rank, int tag);

/* The rank STEP behind this one: ranks are visited from there on, so that not all begin with the same. Local.
 */
static inline int comm_other_rank(const comm_t *comm, int step) {
  return (comm->rank + step) % comm->size;
}

/* What comm_alltoall does on several ranks, up to its wait for MESSAGES, which are set. */
status_t comm_alltoall_start(comm_t *comm, const char *send, char *receive, size_t count, comm_type_t type,
                             int tag, comm_messages_t *messages);
/* Whether COMM is direct, and a message can have COUNT elements. Local. */
status_t comm_alltoall_check(const comm_t *comm, size_t count);

/* OWN (n) += what the others sent, by rank in OTHERS (size * n, this rank's place there unused), added in the
 * order of the ranks. OTHERS is overwritten. TYPE is floating-point. Local. */
void comm_sum_in_order(const comm_t *comm, char *others, char *own, size_t n, comm_type_t type);

/* Whether requests of COMM are under way that nobody has waited for. Local. */
bool comm_is_busy(const comm_t *comm);

/* comm_allreduce, counted as COLLECTIVE. */
status_t comm_allreduce_as(comm_t *comm, void *data, size_t count, comm_type_t type, comm_op_t op,
                           collective_t collective);

/* comm_broadcast as a part of the collective CALL: not counted by itself. */
status_t comm_broadcast_as(comm_t *comm, void *data, size_t count, comm_type_t type, int root,
                           const char *call);

#endif
