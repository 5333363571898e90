#include "eval/groups.h"

#include "base/memory.h"

#include <string.h>

/* Answers of a group mostly come one after the other. */
static group_t *group_find(const groups_t *groups, const char *key) {
  for (int64_t i = groups->count - 1; i >= 0; i--)
    if (strcmp(groups->items[i].key, key) == 0) return &groups->items[i];
  return NULL;
}

static status_t group_new(groups_t *groups, const char *key, int32_t type, group_t **out) {
  TRY(memory_reserve(&groups->items, ARENA_OTHER, (size_t)groups->count + 1, sizeof *groups->items));
  *out = &groups->items[groups->count];
  **out = (group_t){.type = type, .right = true};
  TRY(memory_copy_text(&(*out)->key, ARENA_OTHER, key, strlen(key)));
  groups->count++;
  return STATUS_OK;
}

status_t groups_add(groups_t *groups, const char *key, int32_t type, bool right) {
  group_t *group = group_find(groups, key);
  if (!group) TRY(group_new(groups, key, type, &group));
  group->answers++;
  group->right = group->right && right;
  return STATUS_OK;
}

bool groups_any(const groups_t *groups) {
  for (int64_t i = 0; i < groups->count; i++)
    if (groups->items[i].answers > 1) return true;
  return false;
}

void groups_count(const groups_t *groups, tally_t *tally, int32_t metric) {
  for (int64_t i = 0; i < groups->count; i++) {
    const group_t *group = &groups->items[i];
    ratio_sums_add(&tally->all[metric], group->right, 1.0);
    ratio_sums_add(&tally->of_type[group->type][metric], group->right, 1.0);
  }
}

void groups_free(groups_t *groups) {
  for (int64_t i = 0; i < groups->count; i++)
    memory_free(groups->items[i].key);
  memory_free(groups->items);
  *groups = (groups_t){0};
}
