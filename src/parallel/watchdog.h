/* Ends a run whose collective or wait outlasts parallel.timeout, naming the call, the perf region and the
 * ranks that lag (those of this node whose count of calls is behind). */
#ifndef PARALLEL_WATCHDOG_H
#define PARALLEL_WATCHDOG_H

#include "parallel/comm.h"

/* Starts the watching thread; TIMEOUT in seconds, 0 = never (nothing is started). Errors: STATUS_COMM,
 * STATUS_MEMORY. Collective on WORLD. */
status_t watchdog_start(comm_t *world, double timeout);
/* Ends the thread. Collective on the WORLD of watchdog_start, before its comm_finish; nothing happens without
 * a started watchdog. */
void watchdog_stop(void);

/* Marks the start and end of a wait named CALL (a string literal). Nothing happens without a started
 * watchdog. Used by the collectives; others may mark waits of their own. Local, cheap. */
void watchdog_enter(const char *call);
void watchdog_leave(void);

#endif
