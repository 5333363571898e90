/* The files that a task reads and writes, as far as its settings name them. */
#ifndef RUN_TASK_FILES_H
#define RUN_TASK_FILES_H

#include "input/settings.h"
#include "io/file.h"

typedef struct {
  const char *name; /* the setting, or "in job.run_dir" */
  char *path;
} task_file_t;

typedef struct {
  task_file_t *items; /* (count) */
  int64_t count;
} task_files_t;

/* All files that the task reads, and those that it writes beside their place and then puts there. Local. Free
 * both with task_files_free, also after an error. */
status_t task_files_list(const settings_t *settings, task_files_t *inputs, task_files_t *outputs);
void task_files_free(task_files_t *files);

#endif
