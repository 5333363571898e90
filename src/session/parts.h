/* An evaluation of a model that is trained, part by part: sums of the parts that are finished are kept until
 * the evaluation is complete (io/formats/kept.h), so that a start after a stop makes the others only. */
#ifndef RUN_PARTS_H
#define RUN_PARTS_H

#include "session/held_out.h"
#include "session/models.h"
#include "session/reward_prompt.h"

enum { PARTS_SUMS_MAX = 8 };

typedef struct {
  int64_t step; /* that is evaluated */
  const model_t *model;
  const params_t *const *trained; /* (trained_count) */
  int32_t trained_count;
  const reward_prompt_t *prompt; /* that samples are asked with; NULL: none */
  const held_out_t *held;
  int32_t size; /* samples of a part */
  int32_t sums; /* numbers that a part gives */
  /* Sets SUMS of the samples BEGIN .. BEGIN + N - 1 of those held out, the same on all ranks. Collective. */
  status_t (*work)(void *context, int64_t begin, int32_t n, double *sums);
  void *context;
} parts_t;

/* Sets TOTAL (parts->sums) to the sums over all parts, in their order. Between two of them it is looked for a
 * request to stop. Collective on the world. Errors: STATUS_STOPPED on all ranks where the run is to end
 * meanwhile; WORK's. */
status_t parts_run(session_t *session, const parts_t *parts, double *total);

#endif
