/* Checkpoints of a training run: weights of what is trained, optimiser state, counters; any layout continues
 * them. */
#ifndef TRAIN_RESUME_H
#define TRAIN_RESUME_H

#include "run/models.h"
#include "train/optimizer.h"

/* What a run's checkpoint holds besides the model's contents. */
typedef struct {
  optimizer_t *optimizer;
  const char *const *set_names; /* (sets): name below /optimizer/ */
  params_t *const *sets;        /* (sets): as given to the optimizer */
  int32_t set_count;
  int64_t step; /* finished steps */
  double best;  /* best periodic evaluation so far, and its step; NAN and -1 if none */
  int64_t best_step;
  bool owes_evaluation; /* of step STEP: the run was stopped in the midst of it */
} resume_state_t;

/* Writes the checkpoint of state->step and prunes old ones (checkpoint.keep). Collective. */
status_t resume_save(session_t *session, const store_contents_t *contents, const resume_state_t *state);

/* Finds what job.restart asks to continue from. *FOUND; PATH in a buffer of FILE_MAX_PATH. Collective. */
status_t resume_find(session_t *session, char path[FILE_MAX_PATH], bool *found);

/* Fills optimiser state, step, best, best_step and owes_evaluation from the checkpoint PATH, and the
 * optimiser's sets' weights are the caller's to load. Drops later lines of metrics.jsonl. Collective. */
status_t resume_load(session_t *session, const char *path, resume_state_t *state);

#endif
