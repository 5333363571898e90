#include "data/gathering.h"

#include "base/memory.h"

#include <stdlib.h>

status_t gathering_add(gathering_t *gathering, spool_t *spool, gathered_t row, const char *text) {
  TRY(memory_reserve(&gathering->rows, ARENA_DATA, (size_t)gathering->count + 1, sizeof *gathering->rows));
  if (spool != NULL) {
    row.at = spool->size;
    TRY(spool_append(spool, text, (size_t)row.n));
  }
  gathering->rows[gathering->count++] = row;
  return STATUS_OK;
}

static int gathered_compare(const void *a, const void *b) {
  const gathered_t *x = a, *y = b;
  if (x->group != y->group) return x->group < y->group ? -1 : 1;
  if (x->order != y->order) return x->order < y->order ? -1 : 1;
  return x->at < y->at ? -1 : x->at > y->at;
}

void gathering_sort(gathering_t *gathering) {
  if (gathering->count > 0)
    qsort(gathering->rows, (size_t)gathering->count, sizeof *gathering->rows, gathered_compare);
}

int64_t gathering_end(const gathering_t *gathering, int64_t row) {
  const int64_t group = gathering->rows[row].group;
  while (row < gathering->count && gathering->rows[row].group == group)
    row++;
  return row;
}

void gathering_free(gathering_t *gathering) {
  memory_free(gathering->rows);
  *gathering = (gathering_t){0};
}
