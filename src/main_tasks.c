#include "main_tasks.h"

#include "eval/evaluate.h"
#include "eval/score.h"
#include "rollout/generate.h"
#include "train/bench.h"
#include "train/data_tasks.h"
#include "train/ppo.h"
#include "train/reward.h"
#include "train/supervised.h"

/* run NULL: not in this version. */
static const struct {
  status_t (*run)(session_t *session);
  bool checkpoints; /* goes on where it was stopped */
} tasks[TASK_COUNT] = {
    [TASK_WORLD] = {world_task_run, false},
    [TASK_PREPARE] = {prepare_task_run, false},
    [TASK_PRETRAIN] = {supervised_run, true},
    [TASK_SFT] = {supervised_run, true},
    [TASK_ANNOTATE] = {annotate_task_run, false},
    [TASK_BENCH] = {bench_run, false},
    [TASK_GENERATE] = {generate_run, false},
    [TASK_SCORE] = {score_run, false},
    [TASK_EVALUATE] = {evaluate_run, false},
    [TASK_RM] = {rm_run, true},
    [TASK_PPO] = {ppo_run, true},
};

status_t tasks_check(const settings_t *settings) {
  task_t task = settings_task(settings);
  if (tasks[task].run) return STATUS_OK;
  return error_set(STATUS_INPUT, "task %s is not in this version", task_name(task));
}

/* What would end at the same time limit again must not look like a clean stop. */
static status_t stopped_without_checkpoint(session_t *session) {
  const char *name = task_name(settings_task(session->settings));
  bool asked;
  TRY(session_stopped(session, &asked));
  if (asked)
    return error_set(STATUS_STOPPED, "task %s has no checkpoints: the next start begins it anew", name);
  return error_set(
      STATUS_INPUT,
      "job.max_seconds = %g s are too short: task %s has no checkpoints, so another start would get "
      "no further; raise it",
      session->settings->job.max_seconds, name);
}

status_t tasks_run(session_t *session) {
  TRY(tasks_check(session->settings));
  task_t task = settings_task(session->settings);
  status_code_t status = tasks[task].run(session);
  if (status != STATUS_STOPPED || tasks[task].checkpoints) return status;
  return stopped_without_checkpoint(session);
}
