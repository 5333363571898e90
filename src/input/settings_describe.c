/* Texts about settings: ranges, types, names of tasks. */
#include "input/settings_table.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

static const char *const task_names[TASK_COUNT] = {
    [TASK_WORLD] = "world",
    [TASK_PREPARE] = "prepare",
    [TASK_IMPORT] = "import",
    [TASK_EXPORT] = "export",
    [TASK_PRETRAIN] = "pretrain",
    [TASK_SFT] = "sft",
    [TASK_RM] = "rm",
    [TASK_PPO] = "ppo",
    [TASK_GENERATE] = "generate",
    [TASK_ANNOTATE] = "annotate",
    [TASK_SCORE] = "score",
    [TASK_EVALUATE] = "evaluate",
    [TASK_BENCH] = "bench",
};

const char *task_name(task_t task) {
  return task < TASK_COUNT ? task_names[task] : "unknown";
}

bool task_trains(task_t task) {
  return task == TASK_PRETRAIN || task == TASK_SFT || task == TASK_RM || task == TASK_PPO;
}

task_t task_find(const char *name) {
  task_t task = 0;
  while (task < TASK_COUNT && strcmp(task_names[task], name) != 0)
    task++;
  return task;
}

task_t settings_task(const settings_t *settings) {
  return task_find(settings->job.task);
}

const char *setting_type_name(const setting_t *setting) {
  static const char *const names[] = {
      [SETTING_INT] = "a whole number", [SETTING_REAL] = "a number", [SETTING_BOOL] = ".true. or .false.",
      [SETTING_TEXT] = "a text",        [SETTING_REALS] = "numbers", [SETTING_TEXTS] = "a list of texts",
  };
  return names[setting->type];
}

/* Appends to TEXT of SIZE bytes as far as there is room. */
static void settings_describe_append(char *text, size_t size, const char *format, ...) {
  size_t used = strlen(text);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text + used, size - used, format, arguments);
  va_end(arguments);
}

static void settings_describe_choices(const char *list, char *text, size_t size) {
  bool first = true;
  while (*list) {
    size_t n = strcspn(list, "|");
    bool last = list[n] == '\0';
    settings_describe_append(text, size, "%s'%.*s'", first ? "" : last ? " or " : ", ", (int)n, list);
    list += n + !last;
    first = false;
  }
}

static void settings_describe_limits(const setting_t *setting, char *text, size_t size) {
  bool low = setting->min > -INFINITY;
  bool high = setting->max < INFINITY && setting->max != INT32_MAX;
  if (low && high && !setting->min_open && !setting->max_open)
    settings_describe_append(text, size, "%g .. %g", setting->min, setting->max);
  else if (low && high)
    settings_describe_append(text, size, "%s %g and %s %g", setting->min_open ? ">" : ">=", setting->min,
                             setting->max_open ? "<" : "<=", setting->max);
  else if (low)
    settings_describe_append(text, size, "%s %g", setting->min_open ? ">" : ">=", setting->min);
}

void setting_describe_range(const setting_t *setting, char *text, size_t size) {
  text[0] = '\0';
  if (setting->choices) settings_describe_choices(setting->choices, text, size);
  if (setting->limited) settings_describe_limits(setting, text, size);
  if (setting->unit) settings_describe_append(text, size, "%s%s", *text ? " " : "", setting->unit);
}
