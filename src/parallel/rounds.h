/* Rounds of a small reduction over all ranks that runs in the background and shows whether any of them gets
 * on. Inside parallel only: the watchdog's. */
#ifndef PARALLEL_ROUNDS_H
#define PARALLEL_ROUNDS_H

#include "parallel/comm.h"

/* A rank joins a round when it looks, from the midst of a wait or of its own work, so that a round is over
 * only once every rank has shown that it still runs its program: one that is stopped, dead or in an endless
 * loop holds it up. Each puts in whether it has got on since the round before; all get the largest. */
typedef struct rounds rounds_t;

/* INTERVAL: seconds between two rounds; PATIENCE: how long one may last until its ranks tell each other that
 * they are there (parallel/roll_call.h), 0: for ever. Collective on WORLD. Errors: STATUS_COMM,
 * STATUS_MEMORY. */
status_t rounds_start(comm_t *world, double interval, double patience, rounds_t **out);

/* Joins the next round if it is due, and lets the one under way progress. MOVES grows whenever this rank gets
 * on; NOW is perf_now(). Cheap. Main thread. */
void rounds_look(rounds_t *rounds, uint64_t moves, double now);

/* When the newest round ended in which some rank had got on, by this rank's clock; 0: there was none. Any
 * thread. */
double rounds_seen(const rounds_t *rounds);

/* For how many seconds rounds have been over, with all ranks taking part, in which none had got on: all wait
 * for each other. Main thread. */
double rounds_still(const rounds_t *rounds);

/* Where the round under way lasts longer than PATIENCE: appends a line to TEXT for each rank that holds it
 * up, as far as this rank knows (rank 0 knows all, others know of rank 0), and returns how many; else 0. Any
 * thread. */
int rounds_describe(const rounds_t *rounds, char *text, size_t capacity);

/* Whether rank 0, another one, waits for the round under way as this rank does, for longer than PATIENCE. Any
 * thread. */
bool rounds_led(const rounds_t *rounds);

/* Ends the round under way with the others. Collective on the WORLD of rounds_start; NULL is fine. */
void rounds_stop(rounds_t *rounds);

#endif
