#include "main/tasks.h"

#include "bench/bench.h"
#include "convert/export.h"
#include "convert/import.h"
#include "eval/evaluate.h"
#include "eval/score.h"
#include "ppo/ppo.h"
#include "rollout/generate.h"
#include "session/prepare_task.h"
#include "shapes/shapes_tasks.h"
#include "train/reward.h"
#include "train/supervised.h"

typedef status_t task_run_t(session_t *session);

static task_run_t *const tasks[TASK_COUNT] = {
    [TASK_WORLD] = world_task_run,
    [TASK_PREPARE] = prepare_task_run,
    [TASK_IMPORT] = import_run,
    [TASK_EXPORT] = export_run,
    [TASK_PRETRAIN] = supervised_run,
    [TASK_SFT] = supervised_run,
    [TASK_ANNOTATE] = annotate_task_run,
    [TASK_BENCH] = bench_run,
    [TASK_GENERATE] = generate_run,
    [TASK_SCORE] = score_run,
    [TASK_EVALUATE] = evaluate_run,
    [TASK_RM] = rm_run,
    [TASK_PPO] = ppo_run,
};

/* What would end at the same time limit again, with nothing to go on from, must not look like a clean stop.
 */
static status_t stopped_without_checkpoint(session_t *session) {
  const char *name = task_name(settings_task(session->settings));
  bool asked;
  TRY(session_stopped(session, &asked));
  if (session->gained) return error_set(STATUS_STOPPED, "the next start of task %s makes the rest", name);
  if (asked)
    return error_set(STATUS_STOPPED, "task %s has no checkpoints: the next start begins it anew", name);
  return error_set(
      STATUS_INPUT,
      "job.max_seconds = %g s are too short: task %s has no checkpoints, so another start would get "
      "no further; raise it",
      session->settings->job.max_seconds, name);
}

status_t tasks_run(session_t *session) {
  task_t task = settings_task(session->settings);
  status_code_t status = tasks[task](session);
  if (status != STATUS_STOPPED || task_trains(task)) return status;
  return stopped_without_checkpoint(session);
}
