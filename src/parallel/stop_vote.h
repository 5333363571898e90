/* Work that the dp groups do at their own pace, piece after piece, and may break off: the ranks learn of each
 * other's request to stop, and at the end that all are done, without waiting for each other meanwhile. */
#ifndef PARALLEL_STOP_VOTE_H
#define PARALLEL_STOP_VOTE_H

#include "parallel/grid.h"

/* Rounds of a small reduction over dp that runs in the background: each group puts in, at its own time,
 * whether it asks to stop and whether it still works; when the last has, the result is the same for all. So
 * a request is known to all within two tenths of a second and a piece of work. */
typedef struct stop_vote stop_vote_t;

/* Whether this rank asks to stop, for whatever reason of its own. Local and cheap. */
typedef bool (*stop_request_t)(void *context);

/* STRIDE: where groups have several ranks, only every STRIDE-th look of a group costs it a small collective
 * on tp; 1 where a piece of work is long. All ranks of the grid begin together; local in itself. Free with
 * stop_vote_free. */
status_t stop_vote_start(const grid_t *grid, int32_t stride, stop_request_t requested, void *context,
                         stop_vote_t **out);

/* The same where every rank of COMM is a group of its own, whatever the layout. Collective on COMM. */
status_t stop_vote_start_ranks(comm_t *comm, stop_request_t requested, void *context, stop_vote_t **out);

/* Between two pieces of work: *STOP, on all ranks of a tp group alike, once a request has gone round; the
 * other groups then get the same answer, from this function or the next. Collective on tp. */
status_t stop_vote_poll(stop_vote_t *vote, bool *stop);

/* This group has no work left: waits until all groups say so, or until a request has gone round. *STOP, on
 * all ranks alike: which of them it was. Not called after a look that said stop. Collective on the grid's
 * world.
 */
status_t stop_vote_finish(stop_vote_t *vote, bool *stop);

/* The end of work that the ranks of COMM (that of stop_vote_start_ranks) did on their own, or only some of
 * them: waits for all, meanwhile requests go round, and agrees on what it came to. STATUS: this rank's;
 * STATUS_STOPPED where a look said stop. One that failed makes the others stop. Returns the failure, else
 * STATUS_STOPPED after a request, the same on all ranks. Without a vote (NULL) it is comm_agree. Collective
 * on COMM. */
status_t stop_vote_agree(stop_vote_t *vote, comm_t *comm, status_code_t status);

/* stop_vote_poll as a status: STATUS_STOPPED where it says stop. Without a vote (NULL) a sign of life only.
 */
status_t stop_vote_continue(stop_vote_t *vote);

/* NULL is fine. After an error too: it waits for nobody. Local. */
void stop_vote_free(stop_vote_t *vote);

#endif
