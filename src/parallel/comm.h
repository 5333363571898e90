/* Communicators and collectives on host memory, some of them on a GPU's. MPI stays behind this header. */
#ifndef PARALLEL_COMM_H
#define PARALLEL_COMM_H

#include "base/memory.h"
#include "perf/perf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct comm comm_t;

typedef enum { COMM_F32, COMM_F64, COMM_I32, COMM_I64, COMM_U64, COMM_BYTE } comm_type_t;
typedef enum { COMM_SUM, COMM_MAX, COMM_MIN } comm_op_t;

/* One value with the index it came from, for comm_allreduce_maxloc. */
typedef struct {
  double value;
  int64_t index;
} comm_maxloc_t;

int comm_rank(const comm_t *comm);
int comm_size(const comm_t *comm);

/* Whether the ranks of COMM, up to COMM_DIRECT_RANKS, send what they have directly from each to each. Local.
 */
enum { COMM_DIRECT_RANKS = 16 };
bool comm_is_direct(const comm_t *comm);

/* From now on traffic on COMM, and on those split from it, is counted as TRAFFIC; at first all is the
 * world's. Local. */
void comm_count_as(comm_t *comm, traffic_t traffic);
/* Counts a collective on COMM in the open perf region and by its kind, for what does not go through this
 * header; it lasted from BEGIN (perf_now) on. Local. */
void comm_count(const comm_t *comm, collective_t collective, double bytes, double begin);

/* All collectives: collective on COMM, watched (parallel/watchdog.h), counted in the open perf region. Counts
 * are in elements, equal on all ranks unless said otherwise. The bytes counted are those this rank
 * contributes (a broadcast's root, the others nothing). With comm_size 1 they cost nothing. Results of
 * reductions are the same bits on every rank. Errors: STATUS_COMM. */
status_t comm_barrier(comm_t *comm);
status_t comm_broadcast(comm_t *comm, void *data, size_t count, comm_type_t type, int root);
/* In place: DATA (count) is input and output. Counts beyond 2^31 are split. */
status_t comm_allreduce(comm_t *comm, void *data, size_t count, comm_type_t type, comm_op_t op);
/* In place: the largest value, the smaller index among equals. */
status_t comm_allreduce_maxloc(comm_t *comm, comm_maxloc_t *data, size_t count);
/* Every rank gives COUNT elements; ALL (size * count) in rank order on all ranks. MINE may be its own place
 * in ALL. */
status_t comm_allgather(comm_t *comm, const void *mine, void *all, size_t count, comm_type_t type);
/* As allgather with a count of its own per rank: COUNTS (size), the same on all ranks. */
status_t comm_allgatherv(comm_t *comm, const void *mine, void *all, const size_t *counts, comm_type_t type);
/* By messages from each to each, for a COMM that is direct (else STATUS_INTERNAL). They are parts of
 * COLLECTIVE, to which their time is added: its call and bytes are the caller's to count (comm_count).
 * comm_alltoall: elements r * COUNT .. of SEND (size * count, COUNT at most 2^31 - 1) go to rank r, and what
 * rank r sends arrives at r * COUNT of RECEIVE (size * count). The own share stays in SEND: its place in
 * RECEIVE is undefined.
 * comm_allgatherv_direct: BYTES (size, the same on all ranks, each at most 2^31 - 1) are each rank's block of
 * ALL, in rank order; the own one lies there already. */
status_t comm_alltoall(comm_t *comm, const void *send, void *receive, size_t count, comm_type_t type,
                       collective_t collective);
status_t comm_allgatherv_direct(comm_t *comm, void *all, const size_t *bytes, collective_t collective);
/* ALL and COUNTS matter on ROOT only; each rank gives MY_COUNT elements. */
status_t comm_gatherv(comm_t *comm, const void *mine, size_t my_count, void *all, const size_t *counts,
                      comm_type_t type, int root);
/* Ragged all-to-all of bytes: SEND_COUNTS (size) bytes to each rank from contiguous SEND in rank order. The
 * received bytes, in rank order, go to *RECV, which has *ROOM bytes of ARENA_COMM (NULL and 0: none yet) and
 * is replaced by more where that is too little; RECV_COUNTS (size) is filled in. */
status_t comm_exchange_bytes(comm_t *comm, const void *send, const size_t *send_counts, void **recv,
                             size_t *room, size_t *recv_counts);

/* Sum of DATA (size * count, at most 2^31 - 1 a rank), started here and finished by comm_wait: then elements
 * rank * COUNT .. of DATA are this rank's share of the sum, and the others are undefined. DATA must not be
 * touched before. Any number can be begun, in the same order on all ranks; MPI is given up to COMM_IN_FLIGHT
 * at a time. *REQUEST is owned by comm_wait, which frees it. */
typedef struct comm_request comm_request_t;
status_t comm_reduce_scatter_begin(comm_t *comm, void *data, size_t count, comm_type_t type,
                                   comm_request_t **request);
/* comm_alltoall in the background, in turn with such sums, and counted as one, which it is the messages of:
 * neither SEND nor RECEIVE may be touched before comm_wait has returned. */
status_t comm_alltoall_begin(comm_t *comm, const void *send, void *receive, size_t count, comm_type_t type,
                             comm_request_t **request);
/* Bytes of ARENA_COMM that one of those which MPI works on takes. Local. */
enum { COMM_IN_FLIGHT = 8 };
size_t comm_reduce_scatter_bytes(const comm_t *comm, size_t count, comm_type_t type);
/* Lets pending requests of this rank progress (MPI needs to be called for that). Local, cheap. */
status_t comm_poll(void);
/* Waits for one request (NULL is fine). An error leaves it under way. */
status_t comm_wait(comm_request_t *request);

/* Whether MPI says that it reads and writes memory of NVIDIA's GPUs. comm_alltoall, comm_alltoall_begin and
 * comm_allgatherv_direct take such memory then, and nothing else does: pointers go to MPI as they are, in
 * messages only, for Open MPI's own transport takes no such memory in collectives that do not block.
 * After comm_init. Local. */
bool comm_takes_cuda_memory(void);

/* Agreement on success: every rank passes the STATUS of what it just did locally; returns the worst (largest)
 * of all on all ranks. On ranks that had no error of their own the message becomes that of the lowest failing
 * rank, with its rank number. Call before a collective that a local failure would have kept some ranks from.
 */
status_t comm_agree(comm_t *comm, status_code_t status);

/* True on all ranks if FLAG is true on any. */
status_t comm_any(comm_t *comm, bool flag, bool *any);

/* A new communicator of the ranks with the same COLOUR, ordered by KEY. Caller frees with comm_free. */
status_t comm_split(comm_t *comm, int colour, int key, const char *name, comm_t **out);
/* The same for the ranks that share this rank's node, in COMM's order. */
status_t comm_split_node(comm_t *comm, const char *name, comm_t **out);
/* NULL is fine. One with requests under way stays, for MPI still works on it: there are some after an error
 * only, which ends the run. Collective on COMM. */
void comm_free(comm_t *comm);
SCOPED_POINTER(comm_free, comm_t)

/* Set-up and end, called by main and by tests. comm_init starts MPI (thread level FUNNELED); *WORLD is freed
 * by comm_finish. */
status_t comm_init(int *argc, char ***argv, comm_t **world);
void comm_finish(comm_t *world);
/* Ends all ranks at once with EXIT_STATUS. Only main and the watchdog call it. */
__attribute__((noreturn)) void comm_abort(int exit_status);
/* Before something that may hang but should be tried first, such as a last word in a file: this process ends
 * with EXIT_STATUS in any case, some seconds from now. Only the callers of comm_abort call it. Local. */
void comm_abort_soon(int exit_status);

#endif
