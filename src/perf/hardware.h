/* Hardware events (instructions, cycles, cache misses) of the main thread, by PAPI, where the program was
 * built with it. */
#ifndef PERF_HARDWARE_H
#define PERF_HARDWARE_H

#include "base/status.h"

enum { HARDWARE_MOST = 8 };

/* Counts events NAMES (count), as papi_avail and papi_native_avail list them, of the calling thread; names
 * are not copied. End with hardware_stop. Errors: STATUS_INPUT (a build without PAPI, too many events, one
 * that this machine does not count or not together with those before it). Local. */
status_t hardware_start(const char *const *names, int count);
void hardware_stop(void);

/* Adds to COUNTS (HARDWARE_MOST) what happened since the last call, or the start. Nothing without a start.
 * Main thread. */
void hardware_take(double *counts);

/* How many events are counted, and the name of one. */
int hardware_count(void);
const char *hardware_name(int event);

/* Version of PAPI in the build, "not built" without. */
const char *hardware_version(void);

#endif
