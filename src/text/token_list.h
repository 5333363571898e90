/* Ids that grow. */
#ifndef TEXT_TOKEN_LIST_H
#define TEXT_TOKEN_LIST_H

#include "base/memory.h"

/* All zero is the empty list. */
typedef struct {
  int32_t *ids; /* (n); owner frees with memory_free */
  int32_t n, capacity;
} token_list_t;

static inline status_t token_list_reserve(token_list_t *list, size_t more) {
  size_t needed = (size_t)list->n + more;
  if (needed <= (size_t)list->capacity) return STATUS_OK;
  size_t capacity = needed + needed / 2 + 16;
  if (needed > INT32_MAX / 2) return error_set(STATUS_DATA, "a text of %zu tokens is too long", needed);
  TRY(memory_resize(&list->ids, ARENA_DATA, capacity, sizeof *list->ids));
  list->capacity = (int32_t)capacity;
  return STATUS_OK;
}

static inline status_t token_list_append(token_list_t *list, int32_t id) {
  if (list->n == list->capacity) TRY(token_list_reserve(list, 1));
  list->ids[list->n++] = id;
  return STATUS_OK;
}

#endif
