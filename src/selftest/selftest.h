/* llava_rlhf --self-test: whether an installed program computes and communicates as it should on the ranks
 * that it was started on: its parts against known answers, a tiny model against the plain device in double.
 * Needs no files and no network. */
#ifndef SELFTEST_SELFTEST_H
#define SELFTEST_SELFTEST_H

#include "parallel/grid.h"
#include "tensor/device.h"

typedef struct {
  const grid_t *grid; /* the run's, whose communicators DEVICE knows */
  device_t *device;   /* what is tested */
  /* Makes the device that knows the answers: plain, in double. Freed here. */
  status_t (*make_oracle)(device_t **out);
} selftest_t;

/* The checks, in the order in which they are made. */
typedef enum {
  SELFTEST_RANDOM,
  SELFTEST_COLLECTIVES,
  SELFTEST_DEVICE_COLLECTIVES,
  SELFTEST_IMAGES,
  SELFTEST_FILES,
  SELFTEST_MODEL,
  SELFTEST_TRAINING,
  SELFTEST_TRAINING_SPLIT,
  SELFTEST_CHECKS
} selftest_check_t;

/* Makes all checks and logs a table of them. RESULTS: what each came to, the same on all ranks
 * (STATUS_STOPPED: not made, because communication had failed before). The status of the first that failed:
 * STATUS_DATA (files in TMPDIR, images), STATUS_NUMERIC (wrong numbers), STATUS_DEVICE, STATUS_COMM.
 * Collective on the grid's world. */
status_t selftest_run(const selftest_t *test, status_code_t results[SELFTEST_CHECKS]);

#endif
