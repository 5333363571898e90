#include "train/loop.h"

#include "base/log.h"
#include "io/checkpoint.h"
#include "perf/perf.h"
#include "run/estimate.h"

#include <math.h>
#include <stdio.h>

int64_t loop_steps(int64_t steps, int64_t epochs, int64_t count, int64_t batch) {
  if (steps > 0) return steps;
  return (epochs * count + batch - 1) / batch;
}

static status_t restart(session_t *session, loop_t *loop) {
  char path[FILE_MAX_PATH];
  bool found;
  loop->state.step = 0;
  loop->state.best = -INFINITY;
  loop->state.best_step = -1;
  loop->state.owes_evaluation = false;
  loop->first = loop->saved = 0;
  TRY(resume_find(session, path, &found));
  /* Without a checkpoint, what an earlier start has logged is done again. */
  if (!found) return comm_agree(session->world, rundir_metrics_rewind(session->rundir, -1));
  TRY(resume_check(session, path, &loop->contents, &loop->state));
  TRY(loop->reload(loop->context, path));
  TRY(resume_load(session, path, &loop->state));
  loop->first = loop->saved = loop->state.step;
  return STATUS_OK;
}

static status_t save(session_t *session, loop_t *loop) {
  double begin = perf_now();
  TRY(resume_save(session, &loop->contents, &loop->state));
  session->reserve = fmax(session->reserve, perf_now() - begin);
  loop->saved = loop->state.step;
  return STATUS_OK;
}

/* *DONE: patience is used up. A checkpoint of the best so far is kept whatever checkpoint.every says. */
static status_t evaluate(session_t *session, loop_t *loop, metrics_t *metrics, bool *saved, bool *done) {
  const settings_t *settings = session->settings;
  int64_t every = settings->eval.every, step = loop->state.step;
  *done = false;
  if (every == 0 || step % every != 0) return STATUS_OK;
  double score;
  perf_begin(REGION_EVALUATE);
  status_code_t status = loop->evaluate(loop->context, step, metrics, &score);
  perf_end(REGION_EVALUATE);
  TRY(status);
  if (step > 0 && score > loop->state.best) {
    loop->state.best = score;
    loop->state.best_step = step;
    if (!settings->eval.keep_best) return STATUS_OK;
    TRY(save(session, loop));
    *saved = true;
    return checkpoint_mark_best(session->world, session->run_dir, step);
  }
  if (step == 0) return STATUS_OK;
  int64_t waited = (step - loop->state.best_step) / every;
  *done = settings->eval.patience > 0 && waited >= settings->eval.patience;
  if (*done)
    log_info("early stop after step %lld: no better evaluation since step %lld (eval.patience = %lld)",
             (long long)step, (long long)loop->state.best_step, (long long)settings->eval.patience);
  return STATUS_OK;
}

static status_t one_step(session_t *session, loop_t *loop, bool *done) {
  const settings_t *settings = session->settings;
  int64_t step = loop->state.step + 1;
  metrics_t metrics = {.step = step};
  loop->step_began = perf_now();
  TRY(loop->update(loop->context, step, schedule_lr(&loop->schedule, step), &metrics));
  metrics_add(&metrics, "step_seconds", perf_now() - loop->step_began);
  loop->state.step = step;
  bool saved = false;
  status_code_t evaluated = evaluate(session, loop, &metrics, &saved, done);
  loop->state.owes_evaluation = evaluated == STATUS_STOPPED;
  if (evaluated != STATUS_STOPPED) TRY(evaluated);
  bool last = step == loop->total || *done;
  int64_t every = settings->log.every > 0 ? settings->log.every : 1;
  TRY(comm_agree(session->world, session_log(session, &metrics, step % every == 0 || last)));
  if (evaluated == STATUS_STOPPED) return evaluated;
  log_progress(loop->label, step, loop->total, "steps", NULL);
  if (!saved && !last && settings->checkpoint.every > 0 && step % settings->checkpoint.every == 0)
    TRY(save(session, loop));
  return STATUS_OK;
}

/* Another start like this one would get no further either: it must not look like a clean stop. */
static status_t fail_without_progress(const session_t *session, const loop_t *loop) {
  double now = perf_now(), limit = session->settings->job.max_seconds;
  if (loop->step_began == 0.0)
    return error_set(STATUS_INPUT,
                     "job.max_seconds = %g s were over before the first step could begin, %.1f s after the "
                     "start; raise it to at least %.0f s",
                     limit, now - session->started, ceil(2.0 * (now - session->started)));
  double before = loop->step_began - session->started, in_step = now - loop->step_began;
  return error_set(
      STATUS_INPUT,
      "job.max_seconds = %g s are too short for one step: step %lld began %.1f s after the start and "
      "was given up after %.1f s, so starting again would gain nothing; raise it to at least %.0f s",
      limit, (long long)loop->state.step + 1, before, in_step, ceil(before + 2.0 * in_step));
}

/* The state is that after the last finished step. */
static status_t stop_here(session_t *session, loop_t *loop) {
  bool asked;
  TRY(session_stopped(session, &asked));
  if (!asked && loop->state.step == loop->first) return fail_without_progress(session, loop);
  if (loop->state.step != loop->saved) TRY(save(session, loop));
  return error_set(STATUS_STOPPED, "stopped after step %lld of %lld", (long long)loop->state.step,
                   (long long)loop->total);
}

/* The result: of the last step, or of the best one. */
static status_t finish(session_t *session, loop_t *loop) {
  char path[FILE_MAX_PATH];
  if (loop->state.step != loop->saved) TRY(save(session, loop));
  if (session->settings->eval.keep_best && loop->state.best_step >= 0 &&
      loop->state.best_step != loop->state.step) {
    TRY(checkpoint_path(path, session->run_dir, loop->state.best_step));
    log_info("result     is step %lld, the best evaluation", (long long)loop->state.best_step);
    TRY(loop->reload(loop->context, path));
  }
  TRY(session_path(session, "model.h5", path));
  perf_begin(REGION_CHECKPOINT);
  status_code_t status = store_write(session->world, path, &loop->contents);
  perf_end(REGION_CHECKPOINT);
  TRY(status);
  log_info("result     %s", path);
  return STATUS_OK;
}

/* Where a run starts from, for its curves; or the evaluation that the last start was stopped in. */
static status_t evaluate_start(session_t *session, loop_t *loop, bool *done) {
  metrics_t metrics = {.step = loop->state.step};
  bool saved = false, owed = loop->state.owes_evaluation;
  if ((loop->state.step > 0 && !owed) || session->settings->eval.every == 0) return STATUS_OK;
  loop->state.owes_evaluation = false;
  TRY(evaluate(session, loop, &metrics, &saved, done));
  if (owed && !saved) loop->saved = -1; /* the checkpoint of this step still owes it */
  return comm_agree(session->world, session_log(session, &metrics, true));
}

/* Elements of the optimiser's state that this rank owns. */
static int64_t owned_elements(const optimizer_t *optimizer) {
  int64_t elements = 0;
  for (int32_t i = 0; i < optimizer_piece_count(optimizer); i++) {
    optimizer_piece_t piece = optimizer_piece(optimizer, i);
    elements += piece.rows * piece.param->partition.local_cols;
  }
  return elements;
}

/* A few steps that count for nothing. */
static status_t run_dry(session_t *session, loop_t *loop) {
  enum { DRY_STEPS = 3 };
  estimate_t *estimate = session->dry;
  estimate->total = loop->total;
  estimate->steps = loop->total < DRY_STEPS ? loop->total : DRY_STEPS;
  estimate->files = estimate_files(&loop->contents, loop->state.sets, loop->state.set_count,
                                   owned_elements(loop->state.optimizer));
  perf_reset();
  for (int64_t step = 1; step <= estimate->steps; step++) {
    metrics_t metrics = {.step = step};
    TRY(loop->update(loop->context, step, 0.0, &metrics));
  }
  return STATUS_OK;
}

static status_t run_steps(session_t *session, loop_t *loop) {
  bool done = false, stop;
  TRY(evaluate_start(session, loop, &done));
  if (loop->state.step < loop->total && !done)
    log_progress(loop->label, loop->state.step, loop->total, "steps", NULL); /* starts its clock */
  while (loop->state.step < loop->total && !done) {
    TRY(session_stop(session, 0.0, &stop));
    if (stop) return STATUS_STOPPED;
    TRY(one_step(session, loop, &done));
  }
  return STATUS_OK;
}

status_t loop_run(session_t *session, loop_t *loop) {
  if (session->dry) return run_dry(session, loop);
  TRY(restart(session, loop));
  status_code_t status = run_steps(session, loop);
  if (status == STATUS_STOPPED) return stop_here(session, loop);
  TRY(status);
  return finish(session, loop);
}
