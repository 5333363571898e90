/* Work that the dp groups do at their own pace, piece after piece, and may break off: the ranks learn of each
 * other's wish to stop, and at the end that all are done, without waiting for each other meanwhile. */
#ifndef PARALLEL_PULSE_H
#define PARALLEL_PULSE_H

#include "parallel/grid.h"

/* Rounds of a small reduction over dp that runs in the background: each group puts in, at its own time,
 * whether it wishes to stop and whether it still works; when the last has, the result is the same for all. So
 * a wish is known to all within two tenths of a second and a piece of work. */
typedef struct pulse pulse_t;

/* Whether this rank wishes to stop, for whatever reason of its own. Local and cheap. */
typedef bool (*pulse_wish_t)(void *context);

/* STRIDE: where groups have several ranks, only every STRIDE-th look of a group costs it a small collective
 * on tp; 1 where a piece of work is long. All ranks of the grid begin together; local in itself. Free with
 * pulse_free. */
status_t pulse_start(const grid_t *grid, int32_t stride, pulse_wish_t wish, void *context, pulse_t **out);

/* The same where every rank of COMM is a group of its own, whatever the layout. Collective on COMM. */
status_t pulse_start_ranks(comm_t *comm, pulse_wish_t wish, void *context, pulse_t **out);

/* Between two pieces of work: *STOP, on all ranks of a tp group alike, once a wish has gone round; the other
 * groups then get the same answer, from this function or the next. Collective on tp. */
status_t pulse_look(pulse_t *pulse, bool *stop);

/* This group has no work left: waits until all groups say so, or until a wish has gone round. *STOP, on all
 * ranks alike: which of them it was. Not called after a look that said stop. Collective on the grid's world.
 */
status_t pulse_finish(pulse_t *pulse, bool *stop);

/* The end of work that the ranks of COMM (that of pulse_start_ranks) did on their own, or only some of them:
 * waits for all, meanwhile wishes go round, and agrees on what it came to. STATUS: this rank's;
 * STATUS_STOPPED where a look said stop. One that failed makes the others stop. Returns the failure, else
 * STATUS_STOPPED after a wish, the same on all ranks. Without a pulse (NULL) it is comm_agree. Collective on
 * COMM. */
status_t pulse_agree(pulse_t *pulse, comm_t *comm, status_code_t status);

/* pulse_look as a status: STATUS_STOPPED where it says stop. Without a pulse (NULL) a sign of life only. */
status_t pulse_go_on(pulse_t *pulse);

/* NULL is fine. After an error too: it waits for nobody. Local. */
void pulse_free(pulse_t *pulse);

#endif
