#include "train/loop.h"

#include "base/log.h"
#include "io/formats/checkpoint.h"
#include "perf/perf.h"
#include "session/estimate.h"

#include <math.h>
#include <stdio.h>

int64_t loop_steps(int64_t steps, int64_t epochs, int64_t count, int64_t batch) {
  if (steps > 0) return steps;
  return (epochs * count + batch - 1) / batch;
}

/* ---- Going on ---- */

/* Metrics and samples of what is done again are dropped. The line of the step that a checkpoint of this run
 * directory holds is written from there: the job may have been killed before it was. */
static status_t rewind_records(session_t *session, const loop_t *loop, const resume_point_t *point) {
  const resume_state_t *state = &loop->state;
  bool own = point->found && point->own;
  int64_t step = point->found ? state->step : -1;
  TRY(comm_agree(session->world, rundir_metrics_rewind(session->rundir, own ? step - 1 : step)));
  TRY(comm_agree(session->world,
                 rundir_samples_rewind(session->rundir, step, own ? state->sample_lines : INT64_MAX)));
  if (!own || state->owes_evaluation) return STATUS_OK;
  return comm_agree(session->world, session_log(session, &state->line, false));
}

static const char *steps_setting(const session_t *session) {
  return settings_task(session->settings) == TASK_PPO ? "ppo.steps (or ppo.epochs)"
                                                      : "optim.steps (or optim.epochs)";
}

/* Whether the run had ended at the checkpoint PATH, and whether that still holds. */
static status_t loop_settle_end(const session_t *session, loop_t *loop, const char *path) {
  resume_state_t *state = &loop->state;
  int64_t patience = session->settings->eval.patience;
  resume_end_t was = state->ended;
  if (state->step > loop->total)
    return error_set(
        STATUS_INPUT,
        "%s is of step %lld, but %s make a run of %lld steps: raise them, or begin another run in "
        "another job.run_dir",
        path, (long long)state->step, steps_setting(session), (long long)loop->total);
  bool used_up = was == RESUME_PATIENCE && patience > 0 && state->waited >= patience;
  state->ended = used_up ? RESUME_PATIENCE : state->step == loop->total ? RESUME_ALL_STEPS : RESUME_CONTINUES;
  if (used_up)
    log_info(
        "finished   after step %lld, %lld evaluations after the best one; to continue, raise eval.patience = "
        "%lld or set it to 0",
        (long long)state->step, (long long)state->waited, (long long)patience);
  else if (state->ended == RESUME_ALL_STEPS && !state->owes_evaluation)
    log_info("finished   all %lld steps; to continue, raise %s", (long long)loop->total,
             steps_setting(session));
  else if (was != RESUME_CONTINUES)
    log_info("continuing after the end of the run: eval.patience is %lld now, and there are %lld steps",
             (long long)patience, (long long)loop->total);
  return STATUS_OK;
}

/* `best` names what the state says; where that checkpoint is gone, the best is that of the evaluations to
 * come. */
static status_t loop_settle_best(session_t *session, loop_t *loop) {
  resume_state_t *state = &loop->state;
  bool there;
  if (!session->settings->eval.keep_best) return STATUS_OK;
  TRY(checkpoint_mark_best(session->world, session->run_dir, state->best_step, &there));
  if (there || state->best_step < 0) return STATUS_OK;
  if (comm_rank(session->world) == 0)
    log_warning(
        "the best evaluation so far was that of step %lld, but there is no checkpoint of it: the best of "
        "those to come counts",
        (long long)state->best_step);
  state->best = -INFINITY;
  state->best_step = -1;
  return STATUS_OK;
}

static status_t loop_go_on(session_t *session, loop_t *loop, const char *path) {
  TRY(resume_check(session, path, &loop->contents, &loop->state));
  TRY(loop->reload(loop->context, path));
  TRY(resume_load(session, path, &loop->state));
  return loop_settle_end(session, loop, path);
}

static status_t loop_restart(session_t *session, loop_t *loop) {
  resume_state_t *state = &loop->state;
  resume_point_t point;
  state->step = state->waited = 0;
  state->best = -INFINITY;
  state->best_step = -1;
  state->owes_evaluation = false;
  state->ended = loop->total > 0 ? RESUME_CONTINUES : RESUME_ALL_STEPS;
  TRY(resume_find(session, state, &point));
  if (point.found) TRY(loop_go_on(session, loop, point.path));
  loop->first = loop->saved = state->step;
  loop->own = loop->unproven = point.found && point.own;
  TRY(loop_settle_best(session, loop));
  return rewind_records(session, loop, &point);
}

/* ---- Steps ---- */

/* The checkpoint that is being written, if there is one, becomes the newest. */
static status_t loop_save_end(session_t *session, loop_t *loop) {
  if (!loop->writing.file) return STATUS_OK;
  int64_t step = loop->writing.place.step;
  TRY(resume_save_end(&loop->writing, &loop->state));
  /* A stop may meet one that is being written, and must write another. */
  int at_once = loop->contents.disk.behind > 0 ? 2 : 1;
  session->reserve = fmax(session->reserve, at_once * (perf_now() - loop->writing_began));
  loop->saved = step;
  loop->own = loop->unproven = true;
  return STATUS_OK;
}

/* The same if it is on storage by now. */
static status_t loop_save_look(session_t *session, loop_t *loop) {
  bool writes = false;
  if (!loop->writing.file) return STATUS_OK;
  TRY(comm_any(session->world, !checkpoint_writing_is_done(loop->writing.file), &writes));
  return writes ? STATUS_OK : loop_save_end(session, loop);
}

/* Begins a checkpoint of the present state: one at a time. */
static status_t loop_save_begin(session_t *session, loop_t *loop) {
  TRY(loop_save_end(session, loop));
  loop->writing_began = perf_now();
  return resume_save(session, &loop->contents, &loop->state, &loop->writing);
}

static status_t loop_save(session_t *session, loop_t *loop) {
  TRY(loop_save_begin(session, loop));
  return loop_save_end(session, loop);
}

/* Whether the newest checkpoint can be gone on from shows in the step after it: until then the ones before it
 * stay. */
static status_t loop_prune(session_t *session, loop_t *loop) {
  if (!loop->unproven) return STATUS_OK;
  loop->unproven = false;
  return checkpoint_prune(session->world, session->run_dir, loop->saved, session->settings->checkpoint.keep);
}

/* The periodic evaluation, where it is due. */
static status_t loop_evaluate(session_t *session, loop_t *loop, bool *better) {
  resume_state_t *state = &loop->state;
  int64_t every = session->settings->eval.every, step = state->step;
  double score;
  *better = false;
  if (every == 0 || step % every != 0) return STATUS_OK;
  metrics_t metrics = state->line;
  perf_begin(REGION_EVALUATE);
  status_code_t status = loop->evaluate(loop->context, step, &metrics, &score);
  perf_end(REGION_EVALUATE);
  TRY(status);
  if (!isfinite(score))
    return error_set(STATUS_NUMERIC, "the evaluation after step %lld gives %g; lower optim.lr",
                     (long long)step, score);
  state->line = metrics;
  if (step == 0) return STATUS_OK;
  *better = score > state->best;
  state->waited = *better ? 0 : state->waited + 1;
  if (!*better) return STATUS_OK;
  state->best = score;
  state->best_step = step;
  return STATUS_OK;
}

static resume_end_t loop_end_of(const session_t *session, const loop_t *loop) {
  const resume_state_t *state = &loop->state;
  int64_t patience = session->settings->eval.patience;
  if (state->step >= loop->total) return RESUME_ALL_STEPS;
  if (patience == 0 || state->waited < patience) return RESUME_CONTINUES;
  log_info("early stop after step %lld: no better evaluation since step %lld (eval.patience = %lld)",
           (long long)state->step, (long long)state->best_step, (long long)patience);
  return RESUME_PATIENCE;
}

/* A start that ends at a time limit must know how long a checkpoint takes: its first step is followed by one.
 */
static bool must_time_a_checkpoint(const session_t *session, const loop_t *loop) {
  return session->settings->job.max_seconds > 0.0 && session->reserve == 0.0 && !loop->writing.file;
}

/* What follows an update: the evaluation that is due, a checkpoint of the best state whatever
 * checkpoint.every says, the line of metrics, the checkpoint that is due. The order matters to a job that is
 * killed in between: a checkpoint holds its step's line. One that owes the evaluation is written
 * again. */
static status_t complete_step(session_t *session, loop_t *loop) {
  const settings_t *settings = session->settings;
  resume_state_t *state = &loop->state;
  bool better, there, owed = state->owes_evaluation;
  state->sample_lines = rundir_samples_lines(session->rundir);
  state->owes_evaluation = true;
  TRY(loop_evaluate(session, loop, &better));
  state->owes_evaluation = false;
  state->sample_lines = rundir_samples_lines(session->rundir);
  state->line.seconds = perf_now() - session->started;
  state->ended = loop_end_of(session, loop);
  bool saved = better && settings->eval.keep_best, last = state->ended != RESUME_CONTINUES;
  if (saved) {
    TRY(loop_save(session, loop));
    TRY(checkpoint_mark_best(session->world, session->run_dir, state->step, &there));
  }
  int64_t shown = settings->log.every > 0 ? settings->log.every : 1, every = settings->checkpoint.every;
  TRY(comm_agree(session->world, session_log(session, &state->line, state->step % shown == 0 || last)));
  bool due = owed || (!last && state->step > 0 && every > 0 && state->step % every == 0);
  due = due || (!last && state->step > 0 && must_time_a_checkpoint(session, loop));
  if (!due || saved) return STATUS_OK;
  return loop->contents.disk.behind > 0 ? loop_save_begin(session, loop) : loop_save(session, loop);
}

static status_t one_step(session_t *session, loop_t *loop) {
  int64_t step = loop->state.step + 1;
  metrics_t metrics = {.step = step};
  loop->step_began = perf_now();
  TRY(loop->update(loop->context, step, schedule_lr(&loop->schedule, step), &metrics));
  metrics_add(&metrics, "step_seconds", perf_now() - loop->step_began);
  TRY(loop_save_look(session, loop));
  TRY(loop_prune(session, loop));
  loop->state.step = step;
  loop->state.line = metrics;
  TRY(complete_step(session, loop));
  log_progress(loop->label, step, loop->total, "steps", NULL);
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
static status_t loop_stop_here(session_t *session, loop_t *loop) {
  bool asked;
  TRY(session_stopped(session, &asked));
  if (!asked && !session->gained && loop->state.step == loop->first)
    return fail_without_progress(session, loop);
  TRY(loop_save_end(session, loop));
  if (loop->state.step != loop->saved) TRY(loop_save(session, loop));
  return error_set(STATUS_STOPPED, "stopped after step %lld of %lld", (long long)loop->state.step,
                   (long long)loop->total);
}

static status_t loop_reload_best(session_t *session, loop_t *loop) {
  char path[FILE_MAX_PATH];
  int64_t step = loop->state.best_step;
  TRY(checkpoint_path(path, session->run_dir, step));
  log_info("result     is step %lld, the best evaluation", (long long)step);
  status_code_t status = loop->reload(loop->context, path);
  if (status == STATUS_OK) return status;
  return error_context(status,
                       "while loading the best evaluation's state; eval.keep_best = .false. makes the last "
                       "step the result");
}

/* The result: of the last step, or of the best one. */
static status_t loop_finish(session_t *session, loop_t *loop) {
  char path[FILE_MAX_PATH];
  const resume_state_t *state = &loop->state;
  TRY(loop_save_end(session, loop));
  if (state->step != loop->saved) TRY(loop_save(session, loop));
  TRY(loop_prune(session, loop));
  if (session->settings->eval.keep_best && state->best_step >= 0 && state->best_step != state->step)
    TRY(loop_reload_best(session, loop));
  TRY(session_path(session, "model.h5", path));
  perf_begin(REGION_CHECKPOINT);
  status_code_t status = store_write(session->world, path, &loop->contents);
  perf_end(REGION_CHECKPOINT);
  TRY(status);
  log_info("result     %s", path);
  return STATUS_OK;
}

/* Where a run starts from, for its curves; or the evaluation that the last start was stopped in. */
static status_t evaluate_start(session_t *session, loop_t *loop) {
  resume_state_t *state = &loop->state;
  if (state->step == 0 && session->settings->eval.every > 0) {
    state->line = (metrics_t){.step = 0};
    return complete_step(session, loop);
  }
  return state->owes_evaluation ? complete_step(session, loop) : STATUS_OK;
}

/* Elements of the optimiser's state that this rank owns. */
static int64_t owned_elements(const optimizer_t *optimizer) {
  int64_t elements = 0;
  for (int32_t i = 0; i < optimizer_piece_count(optimizer); i++) {
    optimizer_piece_t piece = optimizer_piece(optimizer, i);
    elements += piece.rows * piece.cols;
  }
  return elements;
}

/* What takes the most memory of all that the run does beside its first steps: the step with the largest
 * micro-batch, as far as that is looked for, and the evaluation. */
static status_t run_largest(session_t *session, loop_t *loop) {
  enum { LOOKED_AT = 64 };
  metrics_t metrics = {0};
  int64_t largest = 0, most = 0, positions;
  double score;
  for (int64_t step = 1; loop->measure && step <= loop->total && step <= LOOKED_AT; step++) {
    TRY(loop->measure(loop->context, step, &positions));
    TRY(comm_allreduce(session->world, &positions, 1, COMM_I64, COMM_MAX));
    if (positions > most) largest = step;
    if (positions > most) most = positions;
  }
  if (session->settings->eval.every > 0) TRY(loop->evaluate(loop->context, 0, &metrics, &score));
  return largest > 0 ? loop->update(loop->context, largest, 0.0, &metrics) : STATUS_OK;
}

/* A few steps that count for nothing. */
static status_t run_dry(session_t *session, loop_t *loop) {
  enum { DRY_STEPS = 3 };
  estimate_t *estimate = session->dry;
  estimate->total = loop->total;
  estimate->steps = loop->total < DRY_STEPS ? loop->total : DRY_STEPS;
  estimate->files = estimate_files(&loop->contents, loop->state.sets, loop->state.set_count,
                                   owned_elements(loop->state.optimizer));
  TRY(run_largest(session, loop));
  perf_reset();
  for (int64_t step = 1; step <= estimate->steps; step++) {
    metrics_t metrics = {.step = step};
    TRY(loop->update(loop->context, step, 0.0, &metrics));
  }
  estimate_writing(estimate);
  return STATUS_OK;
}

static status_t run_steps(session_t *session, loop_t *loop) {
  bool stop;
  TRY(evaluate_start(session, loop));
  if (loop->state.ended == RESUME_CONTINUES)
    log_progress(loop->label, loop->state.step, loop->total, "steps", NULL); /* starts its clock */
  while (loop->state.ended == RESUME_CONTINUES) {
    TRY(session_stop(session, 0.0, &stop));
    if (stop) return STATUS_STOPPED;
    TRY(one_step(session, loop));
  }
  return STATUS_OK;
}

static status_t loop_run_inner(session_t *session, loop_t *loop) {
  TRY(loop_restart(session, loop));
  status_code_t status = run_steps(session, loop);
  if (status == STATUS_STOPPED) return loop_stop_here(session, loop);
  TRY(status);
  return loop_finish(session, loop);
}

/* Numbers have ended in what comes of the present state. If that state has been saved, the next start must
 * not begin with it. Local: ranks may fail one by one. */
static status_t fail_with_numbers(const session_t *session, const loop_t *loop) {
  enum { MESSAGE_MAX = 2048 };
  char message[MESSAGE_MAX], aside[FILE_MAX_PATH] = "";
  int64_t before = loop->saved;
  bool from_here = loop->saved == loop->state.step && loop->state.step > 0;
  snprintf(message, sizeof message, "%s", error_message());
  if (from_here && loop->own &&
      checkpoint_set_aside(session->run_dir, loop->state.step, aside, &before) != STATUS_OK)
    log_warning("%s", error_message());
  error_clear();
  status_code_t status = error_set(STATUS_NUMERIC, "%s", message);
  if (*aside)
    (void)!error_context(status, "the checkpoint of step %lld, which this comes from, is now called %s",
                         (long long)loop->state.step, aside);
  if (from_here && !*aside)
    return error_context(status, "this comes from the checkpoint of step %lld that the run continued from",
                         (long long)loop->state.step);
  if (before > 0)
    return error_context(status, "the next start continues from the checkpoint of step %lld",
                         (long long)before);
  return error_context(status, "there is no checkpoint from before: the next start begins anew");
}

/* As the settings say. */
static weights_disk_t loop_disk(const settings_t *settings) {
  const double gigabyte = 1e9;
  return (weights_disk_t){.alignment = settings->checkpoint.alignment,
                          .cached = !settings->checkpoint.direct,
                          .behind = (int64_t)(settings->checkpoint.behind * gigabyte)};
}

status_t loop_run(session_t *session, loop_t *loop) {
  loop->contents.disk = loop_disk(session->settings);
  if (session->dry) return run_dry(session, loop);
  status_code_t status = loop_run_inner(session, loop);
  if (loop->writing.file) checkpoint_writing_drop(loop->writing.file);
  loop->writing.file = NULL;
  return status == STATUS_NUMERIC ? fail_with_numbers(session, loop) : status;
}
