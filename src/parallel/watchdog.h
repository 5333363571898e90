/* Ends a run in which a rank waits while no rank has shown a sign of life for parallel.timeout, naming the
 * call, the perf region, the ranks that lag (those of this node whose count of calls is behind), and those
 * that nothing comes from any more, with their hosts.
 *
 * A rank shows a sign of life when a wait of its begins or ends and when it says so (watchdog_alive); waiting
 * is none. All ranks learn of it, on other nodes too, by rounds in the background (parallel/rounds.h) that
 * each must take part in: so one that is stopped, dead or in an endless loop is found, and one that works on
 * a long share of its own is waited for. */
#ifndef PARALLEL_WATCHDOG_H
#define PARALLEL_WATCHDOG_H

#include "parallel/comm.h"

/* Starts the rounds and the watching thread; TIMEOUT in seconds, 0 = wait for ever (there is no thread then).
 * Errors: STATUS_COMM, STATUS_MEMORY. Collective on WORLD. */
status_t watchdog_start(comm_t *world, double timeout);

/* TELL says what the run ends for, before this rank ends it: in place of the log, from the watching thread or
 * the main one. NULL: the log again. Local. */
typedef void (*watchdog_tell_t)(void *context, status_code_t status, const char *message);
void watchdog_on_end(watchdog_tell_t tell, void *context);

/* Ends the thread. Collective on the WORLD of watchdog_start, before its comm_finish; nothing happens without
 * a started watchdog. */
void watchdog_stop(void);

/* Marks the start and end of a wait named CALL (a string literal). Nothing happens without a started
 * watchdog. Used by the collectives; others may mark waits of their own. Local, cheap. */
void watchdog_enter(const char *call);
void watchdog_leave(void);

/* A sign of life from work that takes long without a collective: one more image, text, block of a file. Also
 * re-arms the wait that is marked, if any. Main thread, local, cheap beside such a piece of work. */
void watchdog_alive(void);

/* To be called again and again in a wait that polls: takes part in the rounds without a sign of life. Main
 * thread. */
void watchdog_poll(void);

/* This rank has failed with STATUS (the thread's error message says why) and waits for the others to hear of
 * it; STATUS_OK: they have. Where rounds show that all ranks wait and none gets on, the others wait elsewhere
 * for this one, and it ends the run. Main thread. */
void watchdog_failing(status_code_t status);

#endif
