#include "eval/lookup.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

status_t lookup_add(lookup_t *lookup, const char *key, const char *value) {
  TRY(memory_reserve(&lookup->entries, ARENA_OTHER, (size_t)lookup->count + 1, sizeof *lookup->entries));
  lookup_entry_t *entry = &lookup->entries[lookup->count];
  *entry = (lookup_entry_t){.number = lookup->count};
  TRY(memory_copy_text(&entry->key, ARENA_OTHER, key, strlen(key)));
  lookup->count++;
  return memory_copy_text(&entry->value, ARENA_OTHER, value, strlen(value));
}

static int entries_compare(const void *left, const void *right) {
  const lookup_entry_t *a = left, *b = right;
  int order = strcmp(a->key, b->key);
  return order != 0 ? order : a->number < b->number ? -1 : 1;
}

void lookup_sort(lookup_t *lookup) {
  if (lookup->count > 0)
    qsort(lookup->entries, (size_t)lookup->count, sizeof *lookup->entries, entries_compare);
}

const char *lookup_find(const lookup_t *lookup, const char *key) {
  int64_t low = 0, high = lookup->count; /* entries before LOW are not behind KEY */
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (strcmp(lookup->entries[middle].key, key) <= 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low > 0 && strcmp(lookup->entries[low - 1].key, key) == 0 ? lookup->entries[low - 1].value : NULL;
}

void lookup_free(lookup_t *lookup) {
  for (int64_t i = 0; i < lookup->count; i++) {
    memory_free(lookup->entries[i].key);
    memory_free(lookup->entries[i].value);
  }
  memory_free(lookup->entries);
  *lookup = (lookup_t){0};
}
