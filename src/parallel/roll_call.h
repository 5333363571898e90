/* Who is still there, where a round of signs of life does not end (parallel/rounds.h): every rank that waits
 * for it tells rank 0, and rank 0 answers. Inside parallel only: that of the rounds. */
#ifndef PARALLEL_ROLL_CALL_H
#define PARALLEL_ROLL_CALL_H

#include "parallel/comm.h"

typedef struct roll_call roll_call_t;

/* Learns the names of the ranks' hosts, on rank 0 all of them. COMM stays the caller's. Collective on COMM.
 * Errors: STATUS_COMM, STATUS_MEMORY. */
status_t roll_call_start(comm_t *comm, roll_call_t **out);

/* This rank is there in round ROUND (they grow from 1). Nothing happens where it has said so. False: MPI
 * failed. Main thread. */
bool roll_call_answer(roll_call_t *roll, int64_t round);

/* Lets messages progress. False: MPI failed. Main thread. */
bool roll_call_look(roll_call_t *roll);

/* Appends a line to TEXT for each rank that has not been heard of in ROUND, a few at most, and returns how
 * many there are. Rank 0 knows of all ranks, the others of rank 0 alone. Any thread. */
int roll_call_describe(const roll_call_t *roll, int64_t round, char *text, size_t capacity);

/* Whether rank 0, which is another one, has been heard of in ROUND. Any thread. */
bool roll_call_led(const roll_call_t *roll, int64_t round);

/* Waits until what was sent has been received. NULL is fine. Collective on COMM. */
void roll_call_stop(roll_call_t *roll);

#endif
