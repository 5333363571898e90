#include "input/settings_table.h"

#include <math.h>
#include <string.h>

/* Names the setting and takes type, place and size from its field, so that table and struct cannot disagree.
 */
#define FIELD(group_, name_)                                                                                 \
  .group = #group_, .name = #name_, .offset = offsetof(settings_t, group_.name_),                                      \
  .bytes = sizeof(((settings_t *)0)->group_.name_),                                                                    \
  .type = _Generic(((settings_t *)0)->group_.name_,                                                                    \
      int64_t: SETTING_INT,                                                                                            \
      double: SETTING_REAL,                                                                                            \
      bool: SETTING_BOOL,                                                                                              \
      char *: SETTING_TEXT,                                                                                            \
      double *: SETTING_REALS,                                                                                         \
      text_list_t: SETTING_TEXTS)

#define AT_LEAST(x) .limited = true, .min = (x), .max = INFINITY
#define ABOVE(x) .limited = true, .min = (x), .min_open = true, .max = INFINITY
#define BETWEEN(a, b) .limited = true, .min = (a), .max = (b)
#define COUNT_FROM(a) .limited = true, .min = (a), .max = INT32_MAX
#define ANY_NUMBER .limited = true, .min = -INFINITY, .max = INFINITY

/* Sets of tasks. */
enum {
  WORLD = 1 << TASK_WORLD,
  PREPARE = 1 << TASK_PREPARE,
  IMPORT = 1 << TASK_IMPORT,
  EXPORT = 1 << TASK_EXPORT,
  PRETRAIN = 1 << TASK_PRETRAIN,
  SFT = 1 << TASK_SFT,
  RM = 1 << TASK_RM,
  PPO = 1 << TASK_PPO,
  GENERATE = 1 << TASK_GENERATE,
  ANNOTATE = 1 << TASK_ANNOTATE,
  SCORE = 1 << TASK_SCORE,
  EVALUATE = 1 << TASK_EVALUATE,
  BENCH = 1 << TASK_BENCH,
  ALL = (1 << TASK_COUNT) - 1,
  SUPERVISED = PRETRAIN | SFT | RM, /* training from fixed answers */
  TRAINING = SUPERVISED | PPO,
  SAMPLING = PPO | GENERATE | EVALUATE,
  RUNNING = TRAINING | GENERATE | SCORE | EVALUATE, /* whatever runs a model on data */
  CREATING = RUNNING | BENCH,
};

static const setting_group_t groups[] = {
    {"job", "What to do, where its files go, and when to stop."},
    {"parallel", "How the ranks share the work."},
    {"machine",
     "The machine that --dry-run tells the time of; runs do not read it (benchmarks/machines has some)."},
    {"model", "The model to start from, or the sizes of a new one."},
    {"adapter", "LoRA adapters."},
    {"data", "The dataset to train on or to read, and how it is loaded."},
    {"image", "How images become the vision tower's input."},
    {"prepare", "Task prepare: from JSON and image files to one HDF5 dataset."},
    {"import", "Task import: from outside weights files to a model file."},
    {"export", "Task export: from a model file to outside weights files."},
    {"sft", "Task sft has no settings of its own beside model, data and optim."},
    {"rm", "Task rm: the reward model."},
    {"reward", "What a response earns in task ppo."},
    {"rollout", "Sampling of responses in task ppo, and the cache of all generation."},
    {"ppo", "Task ppo: the policy update."},
    {"optim", "The optimiser and the learning rate (AdamW)."},
    {"eval", "Task evaluate, and the periodic evaluation of training tasks."},
    {"checkpoint", "Checkpoints."},
    {"log", "What is reported while running."},
    {"generate", "Task generate: answers to questions; lengths and sampling also hold in task evaluate."},
    {"annotate", "Task annotate: the shapes world's annotator."},
    {"world", "Task world: the shapes world."},
    {"bench", "Task bench: speed of training and decoding on this machine."},
};

static const setting_t rows[] = {
#include "input/settings_rows_start.inc"
#include "input/settings_rows_work.inc"
};

const setting_t *settings_table(int *count) {
  *count = (int)(sizeof rows / sizeof rows[0]);
  return rows;
}

const setting_group_t *settings_groups(int *count) {
  *count = (int)(sizeof groups / sizeof groups[0]);
  return groups;
}

const char *setting_default(const setting_t *setting, task_t task) {
  if (task < TASK_COUNT && setting->by_task[task]) return setting->by_task[task];
  return setting->standard;
}
