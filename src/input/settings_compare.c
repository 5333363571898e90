/* Which settings of a run differ from those that another start of it had. */
#include "base/memory.h"
#include "input/settings_table.h"
#include "input/settings_value.h"

#include <stdlib.h>
#include <string.h>

/* Groups whose settings change no result. */
static const char *const free_groups[] = {"parallel", "checkpoint", "log"};

/* Settings that change no result, or are compared by what they stand for. */
static const size_t free_settings[] = {
    offsetof(settings_t, job.task),        offsetof(settings_t, job.run_dir),
    offsetof(settings_t, job.seed),        offsetof(settings_t, job.restart),
    offsetof(settings_t, job.max_seconds), offsetof(settings_t, job.deterministic),
    offsetof(settings_t, model.base),      offsetof(settings_t, model.adapter),
    offsetof(settings_t, model.recompute), offsetof(settings_t, adapter.r),
    offsetof(settings_t, adapter.alpha),   offsetof(settings_t, adapter.targets),
    offsetof(settings_t, data.dataset),    offsetof(settings_t, data.workers),
    offsetof(settings_t, data.prefetch),   offsetof(settings_t, reward.model),
    offsetof(settings_t, rollout.batch),   offsetof(settings_t, rollout.slots),
    offsetof(settings_t, rollout.page),    offsetof(settings_t, rollout.cache_fraction),
    offsetof(settings_t, optim.batch),     offsetof(settings_t, optim.micro_tokens)};

static bool is_free(const setting_t *row) {
  for (size_t i = 0; i < sizeof free_groups / sizeof *free_groups; i++)
    if (strcmp(row->group, free_groups[i]) == 0) return true;
  for (size_t i = 0; i < sizeof free_settings / sizeof *free_settings; i++)
    if (row->offset == free_settings[i]) return true;
  return false;
}

static void settings_compare_write_differences(const settings_t *was, const settings_t *now, FILE *file) {
  int count;
  const setting_t *rows = settings_table(&count);
  const char *separator = "";
  for (int i = 0; i < count; i++) {
    if (!(rows[i].used >> settings_task(was) & 1) || is_free(&rows[i])) continue;
    if (setting_equal(&rows[i], was, now)) continue;
    fprintf(file, "%s%s.%s = ", separator, rows[i].group, rows[i].name);
    setting_write(&rows[i], now, file);
    fputs(" (was ", file);
    setting_write(&rows[i], was, file);
    fputc(')', file);
    separator = ", ";
  }
}

static void list_free(char **list) {
  free(*list);
}

status_t settings_compare(const settings_t *was, const settings_t *now, char **text) {
  SCOPED(list_free) char *list = NULL;
  size_t n = 0;
  *text = NULL;
  FILE *memory = open_memstream(&list, &n);
  if (!memory) return error_set(STATUS_MEMORY, "no memory to compare settings");
  settings_compare_write_differences(was, now, memory);
  if (fclose(memory) != 0) return error_set(STATUS_MEMORY, "no memory to compare settings");
  return memory_copy_text(text, ARENA_OTHER, list, n);
}
