/* The distinct image names of a set of samples, each with a number in order of first use. */
#ifndef DATA_NAMES_H
#define DATA_NAMES_H

#include "base/status.h"
#include "parallel/comm.h"

#include <stdint.h>

/* All zero is the empty table. */
typedef struct {
  int64_t count;
  char *bytes; /* each name and the id of the first sample that uses it, both with their '\0' */
  int64_t used;
  int64_t *name;  /* (count): where each name begins in bytes */
  int64_t *slots; /* (slot_count): number of a name, or -1; a power of two, at most half full */
  int64_t slot_count;
} names_t;

/* Number of NAME, which is added with SAMPLE's id if it is new. Local. */
status_t names_add(names_t *names, const char *name, const char *sample, int64_t *number);
/* Number of NAME, -1 if there is none. Local. */
int64_t names_find(const names_t *names, const char *name);

const char *names_name(const names_t *names, int64_t number);
/* Id of the first sample that uses it. */
const char *names_sample(const names_t *names, int64_t number);

/* Gives rank 0's names to the other ranks (without the means to find and add). Collective on COMM. */
status_t names_share(comm_t *comm, names_t *names);
void names_free(names_t *names);

#endif
