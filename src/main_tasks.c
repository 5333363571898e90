#include "main_tasks.h"

#include "train/data_tasks.h"
#include "train/supervised.h"

typedef status_t task_run_t(session_t *session);

/* NULL: not in this version. */
static task_run_t *const tasks[TASK_COUNT] = {
    [TASK_WORLD] = world_task_run, [TASK_PREPARE] = prepare_task_run,   [TASK_PRETRAIN] = supervised_run,
    [TASK_SFT] = supervised_run,   [TASK_ANNOTATE] = annotate_task_run,
};

status_t tasks_run(session_t *session) {
  task_t task = settings_task(session->settings);
  if (!tasks[task]) return error_set(STATUS_INPUT, "task %s is not in this version", task_name(task));
  return tasks[task](session);
}
