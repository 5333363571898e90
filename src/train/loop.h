/* The loop around the updates of any training task: restart, learning rate, metrics, periodic evaluation,
 * checkpoints, stop requests, result. */
#ifndef TRAIN_LOOP_H
#define TRAIN_LOOP_H

#include "train/resume.h"
#include "train/schedule.h"

typedef struct {
  const char *label; /* in progress lines */
  int64_t total;     /* steps */
  schedule_t schedule;
  store_contents_t contents; /* of checkpoints and of model.h5 */
  resume_state_t state;      /* optimizer, set_names, sets, set_count are given */
  void *context;
  /* Step STEP (from 1) at learning rate LR; adds what is logged. STATUS_STOPPED, on all ranks, after requests
   * (session_stop_requested): the step was given up, and what is trained is as before it. Collective. */
  status_t (*update)(void *context, int64_t step, double lr, metrics_t *metrics);
  /* Positions of the largest micro-batch that STEP has in this group, for a dry run to find the largest of
   * all; NULL: they are all about as large. Collective. */
  status_t (*measure)(void *context, int64_t step, int64_t *positions);
  /* Periodic evaluation (eval.every): adds what is logged, and *SCORE, of which more is better.
   * STATUS_STOPPED as above: the next start evaluates. Collective. */
  status_t (*evaluate)(void *context, int64_t step, metrics_t *metrics, double *score);
  /* Loads the weights of what is trained from the checkpoint PATH. Collective. */
  status_t (*reload)(void *context, const char *path);
  /* Kept by loop_run. */
  int64_t first;            /* finished steps when this start began */
  int64_t saved;            /* of the newest checkpoint, or what a start without one begins with */
  bool own;                 /* that checkpoint is one of this run directory */
  bool unproven;            /* no step has been made from it yet */
  double step_began;        /* perf_now() at the newest step, 0 before */
  resume_writing_t writing; /* the checkpoint behind `saved`, while steps are made from its state */
  double writing_began;
} loop_t;

/* Steps of EPOCHS epochs over COUNT samples in batches of BATCH, or STEPS if that is not 0. */
int64_t loop_steps(int64_t steps, int64_t epochs, int64_t count, int64_t batch);

/* Continues from a checkpoint if job.restart says so, runs to the end, and writes model.h5 (of the best
 * evaluation where eval.keep_best); a run that has ended makes no step. Returns STATUS_STOPPED after a clean
 * stop, with a checkpoint of the last finished step. Errors: STATUS_INPUT where job.max_seconds was over
 * before this start had finished one step or gained a part of one: then no number of starts would get on; or
 * where the checkpoint is beyond the last step. STATUS_NUMERIC, whose message says what the next start goes
 * on from: a checkpoint whose very next step fails is set aside for that. Collective. */
status_t loop_run(session_t *session, loop_t *loop);

#endif
