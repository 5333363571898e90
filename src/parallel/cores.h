/* The cores that this process may run on, and its fair part of them. */
#ifndef PARALLEL_CORES_H
#define PARALLEL_CORES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CORES_MAX = 4096 };

/* A set of cores, each named by the lowest of its hardware threads. Plain value, may be sent as bytes. */
typedef struct {
  uint64_t bits[CORES_MAX / 64];
} core_set_t;

void core_set_add(core_set_t *set, int core);
int core_set_count(const core_set_t *set);
/* Adds to SET the cores of the affinity mask of THREAD of this process. Local. */
void core_set_add_thread(core_set_t *set, pthread_t thread);
/* Writes SET as ranges ("0-3,8") to TEXT (capacity), cut with "..." where it does not fit. */
void core_set_text(const core_set_t *set, char *text, size_t capacity);

/* Remembers the affinity mask of this thread, before the first library is set up: where OMP_PROC_BIND or
 * OMP_PLACES are set, the OpenMP library ties the first thread of the program to its first place, and all
 * threads that it starts inherit that. cores_restore gives the remembered mask to the calling thread; nothing
 * happens without one. Local. */
void cores_remember(void);
void cores_restore(void);

/* The cores of this process' affinity mask: all that the scheduler, mpirun's binding or a container left it.
 * Where the system does not tell, as many as it has. Local. */
void core_set_of_process(core_set_t *set);

/* How many cores rank ME has to itself if each core is divided evenly among the ranks whose SETS (count) hold
 * it. So ranks bound apart have all of theirs, and ranks bound nowhere share. Local. */
double core_set_share(const core_set_t *sets, int count, int me);

#endif
