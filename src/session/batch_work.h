/* Work on the micro-batches of a batch that leaves a value for each sample, which is kept for a later start
 * (io/formats/kept.h): micro-batches whose samples all have theirs from an earlier start are passed over. */
#ifndef RUN_BATCH_WORK_H
#define RUN_BATCH_WORK_H

#include "io/formats/kept.h"
#include "session/batch.h"

typedef struct {
  kept_t *kept;                /* NULL: nothing is */
  int64_t first_key, key_step; /* sample I of the batch is FIRST_KEY + I * KEY_STEP */
  void *context;               /* of the functions; I is a sample of this group */
  /* Makes the values of micro-batch INDEX. Collective on tp. */
  status_t (*work)(void *context, batch_t *batch, int32_t index);
  /* Sample I's value as it is kept: N bytes that are CONTEXT's. */
  const void *(*value)(void *context, int32_t i, size_t *n);
  /* Sample I has the value that an earlier start kept; work may make it anew. */
  status_t (*take)(void *context, int32_t i, const void *bytes, size_t n);
} batch_work_t;

/* Works on all of BATCH. Samples without a sequence, or with a broken image, have no value that is kept. A
 * micro-batch that is kept in part, as on another layout, is worked on as a whole. Between two of them it is
 * looked for a request to stop. Collective on the world. Errors: STATUS_STOPPED on all ranks where the run is
 * to end meanwhile; WORK's and TAKE's. */
status_t batch_work(session_t *session, batch_t *batch, const batch_work_t *work);

#endif
