#include "input/mistakes.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_MAX = 40 };

static status_t mistakes_insert(mistakes_t *mistakes, place_t place, const char *text) {
  TRY(memory_reserve(&mistakes->items, ARENA_OTHER, (size_t)mistakes->count + 1, sizeof *mistakes->items));
  mistake_t *mistake = &mistakes->items[mistakes->count];
  *mistake = (mistake_t){.place = place};
  TRY(memory_copy_text(&mistake->text, ARENA_OTHER, text, strlen(text)));
  mistakes->count++;
  return STATUS_OK;
}

void mistakes_add(mistakes_t *mistakes, place_t place, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  status_code_t status = mistakes_insert(mistakes, place, text);
  if (status != STATUS_OK) mistakes->status = status;
}

/* The file's mistakes by line and column, those without a place after them, then the overrides'. */
static int mistakes_compare(const void *left, const void *right) {
  place_t a = ((const mistake_t *)left)->place, b = ((const mistake_t *)right)->place;
  if (a.override != b.override) return a.override < b.override ? -1 : 1;
  if ((a.line == 0) != (b.line == 0)) return a.line == 0 ? 1 : -1;
  if (a.line != b.line) return a.line < b.line ? -1 : 1;
  return a.column < b.column ? -1 : a.column > b.column;
}

static void mistakes_sort(mistakes_t *mistakes) {
  if (mistakes->count > 1)
    qsort(mistakes->items, (size_t)mistakes->count, sizeof *mistakes->items, mistakes_compare);
}

/* Writes one mistake with its place to TEXT of SIZE bytes (which may be none); returns its length. */
static size_t mistakes_describe(const mistakes_t *mistakes, const mistake_t *mistake, char *text,
                                size_t size) {
  place_t place = mistake->place;
  int length;
  if (place.override > 0)
    length = snprintf(text, size, "--set %s: %s", mistakes->overrides[place.override - 1], mistake->text);
  else if (place.line > 0)
    length = snprintf(text, size, "%s:%d:%d: %s", mistakes->name, place.line, place.column, mistake->text);
  else
    length = snprintf(text, size, "%s: %s", mistakes->name, mistake->text);
  return (size_t)length;
}

/* The first COUNT mistakes, one a line. */
static status_t mistakes_join(const mistakes_t *mistakes, int count, char **text) {
  size_t size = 1, used = 0;
  for (int i = 0; i < count; i++)
    size += mistakes_describe(mistakes, &mistakes->items[i], NULL, 0) + 1;
  TRY(memory_alloc(text, ARENA_OTHER, size, 1));
  for (int i = 0; i < count; i++) {
    used += mistakes_describe(mistakes, &mistakes->items[i], *text + used, size - used);
    if (i + 1 < count) (*text)[used++] = '\n';
  }
  return STATUS_OK;
}

status_t mistakes_text(mistakes_t *mistakes, char **text) {
  if (mistakes->status != STATUS_OK) return mistakes->status;
  mistakes_sort(mistakes);
  return mistakes_join(mistakes, mistakes->count, text);
}

status_t mistakes_report(mistakes_t *mistakes) {
  if (mistakes->status != STATUS_OK) return mistakes->status;
  if (mistakes->count == 0) return STATUS_OK;
  mistakes_sort(mistakes);
  SCOPED_MEMORY char *text = NULL;
  int shown = mistakes->count < SHOWN_MAX ? mistakes->count : SHOWN_MAX;
  TRY(mistakes_join(mistakes, shown, &text));
  if (mistakes->count == 1) return error_set(STATUS_INPUT, "%s", text);
  if (mistakes->count == shown)
    return error_set(STATUS_INPUT, "%d mistakes in the input:\n%s", mistakes->count, text);
  return error_set(STATUS_INPUT, "%d mistakes in the input:\n%s\n... and %d more", mistakes->count, text,
                   mistakes->count - shown);
}

void mistakes_free(mistakes_t *mistakes) {
  for (int i = 0; i < mistakes->count; i++)
    memory_free(mistakes->items[i].text);
  memory_free(mistakes->items);
  mistakes->items = NULL;
  mistakes->count = 0;
}
