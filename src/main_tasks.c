#include "main_tasks.h"

#include "eval/evaluate.h"
#include "eval/score.h"
#include "rollout/generate.h"
#include "train/bench.h"
#include "train/data_tasks.h"
#include "train/ppo.h"
#include "train/reward.h"
#include "train/supervised.h"

typedef status_t task_run_t(session_t *session);

/* NULL: not in this version. */
static task_run_t *const tasks[TASK_COUNT] = {
    [TASK_WORLD] = world_task_run,
    [TASK_PREPARE] = prepare_task_run,
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

status_t tasks_check(const settings_t *settings) {
  task_t task = settings_task(settings);
  if (tasks[task]) return STATUS_OK;
  return error_set(STATUS_INPUT, "task %s is not in this version", task_name(task));
}

status_t tasks_run(session_t *session) {
  TRY(tasks_check(session->settings));
  return tasks[settings_task(session->settings)](session);
}
