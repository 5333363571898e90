/* What is written about settings: the echo of a run's input, the documented defaults. */
#include "base/memory.h"
#include "input/mistakes.h"
#include "input/settings_table.h"
#include "input/settings_value.h"
#include "input/wrapping.h"

#include <stdlib.h>
#include <string.h>

enum { RANGE_BYTES = 512, DOC_BYTES = 2048 };

status_t settings_echo(const settings_t *settings, FILE *file) {
  int group_count, count;
  const setting_group_t *groups = settings_groups(&group_count);
  const setting_t *rows = settings_table(&count);
  for (int g = 0; g < group_count; g++) {
    fprintf(file, "&%s\n", groups[g].name);
    for (int i = 0; i < count; i++) {
      if (strcmp(rows[i].group, groups[g].name) != 0) continue;
      fprintf(file, "  %s = ", rows[i].name);
      setting_write(&rows[i], settings, file);
      fputc('\n', file);
    }
    fputs("/\n", file);
  }
  return wrapping_finish(file);
}

status_t settings_text(const settings_t *settings, char **text) {
  char *echo = NULL;
  size_t n = 0;
  *text = NULL;
  FILE *memory = open_memstream(&echo, &n);
  if (!memory) return error_set(STATUS_MEMORY, "no memory for the echo of the settings");
  status_code_t status = settings_echo(settings, memory);
  fclose(memory);
  if (status == STATUS_OK) status = memory_copy_text(text, ARENA_OTHER, echo, n);
  free(echo);
  return status;
}

/* Adds "; TASK: default" for tasks with a default of their own. */
static void settings_print_append_task_defaults(const setting_t *row, char *text, size_t size) {
  for (int task = 0; task < TASK_COUNT; task++) {
    size_t used = strlen(text);
    if (row->by_task[task])
      snprintf(text + used, size - used, " In task %s: %s.", task_name(task), row->by_task[task]);
  }
}

static void settings_print_setting(FILE *file, const setting_t *row, task_t task) {
  char range[RANGE_BYTES], text[DOC_BYTES];
  setting_describe_range(row, range, sizeof range);
  snprintf(text, sizeof text, "%s%s%s%s", row->doc, *range ? " (" : "", range, *range ? ")" : "");
  if (task == TASK_COUNT) settings_print_append_task_defaults(row, text, sizeof text);
  wrapping_write(file, "  ! ", "  ! ", text);
  const char *standard = setting_default(row, task);
  bool required = task == TASK_COUNT ? standard == NULL : (row->required >> task & 1) != 0;
  if (row->offset == offsetof(settings_t, job.task) && task < TASK_COUNT)
    fprintf(file, "  %s = '%s'\n", row->name, task_name(task));
  else if (required)
    fprintf(file, "  ! %s = (required)\n", row->name);
  else
    fprintf(file, "  %s = %s\n", row->name, standard);
}

static bool is_printed(const setting_t *row, const char *group, task_t task) {
  return strcmp(row->group, group) == 0 && (task == TASK_COUNT || (row->used >> task & 1));
}

static void settings_print_group(FILE *file, const setting_group_t *group, task_t task) {
  int count, printed = 0;
  const setting_t *rows = settings_table(&count);
  for (int i = 0; i < count; i++)
    printed += is_printed(&rows[i], group->name, task);
  if (printed == 0 && task != TASK_COUNT) return;
  fputc('\n', file);
  wrapping_write(file, "! ", "! ", group->doc);
  fprintf(file, "&%s\n", group->name);
  for (int i = 0; i < count; i++)
    if (is_printed(&rows[i], group->name, task)) settings_print_setting(file, &rows[i], task);
  fputs("/\n", file);
}

static status_t settings_print_find_task(const char *name, task_t *task) {
  *task = name ? task_find(name) : TASK_COUNT;
  if (!name || *task != TASK_COUNT) return STATUS_OK;
  nearest_t nearest = nearest_to(name);
  for (int i = 0; i < TASK_COUNT; i++)
    nearest_offer(&nearest, task_name(i));
  if (nearest.found)
    return error_set(STATUS_INPUT, "unknown task '%s'; did you mean '%s'?", name, nearest.found);
  return error_set(STATUS_INPUT, "unknown task '%s'; --help lists the tasks", name);
}

status_t settings_print_defaults(FILE *file, const char *task) {
  task_t which;
  TRY(settings_print_find_task(task, &which));
  if (task)
    fprintf(file, "! Settings of task '%s' with their defaults. Settings marked (required) have none.\n",
            task);
  else
    fputs("! All settings with their defaults. Settings marked (required) have none.\n", file);
  int count;
  const setting_group_t *groups = settings_groups(&count);
  for (int i = 0; i < count; i++)
    settings_print_group(file, &groups[i], which);
  return wrapping_finish(file);
}
