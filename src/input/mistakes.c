#include "input/mistakes.h"

#include "base/memory.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_MAX = 40, NAME_MAX_BYTES = 159 };

static status_t add(mistakes_t *mistakes, place_t place, const char *text) {
  if (mistakes->count == mistakes->capacity) {
    int capacity = mistakes->capacity ? 2 * mistakes->capacity : 8;
    TRY(memory_resize(&mistakes->items, ARENA_OTHER, (size_t)capacity, sizeof *mistakes->items));
    mistakes->capacity = capacity;
  }
  mistake_t *mistake = &mistakes->items[mistakes->count];
  TRY(memory_copy_text(&mistake->text, ARENA_OTHER, text, strlen(text)));
  mistake->place = place;
  mistakes->count++;
  return STATUS_OK;
}

void mistakes_add(mistakes_t *mistakes, place_t place, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  status_code_t status = add(mistakes, place, text);
  if (status != STATUS_OK) mistakes->status = status;
}

/* The file's mistakes by line and column, those without a place after them, then the overrides'. */
static int compare(const void *left, const void *right) {
  place_t a = ((const mistake_t *)left)->place, b = ((const mistake_t *)right)->place;
  if (a.override != b.override) return a.override < b.override ? -1 : 1;
  if ((a.line == 0) != (b.line == 0)) return a.line == 0 ? 1 : -1;
  if (a.line != b.line) return a.line < b.line ? -1 : 1;
  return a.column < b.column ? -1 : a.column > b.column;
}

static void sort(mistakes_t *mistakes) {
  if (mistakes->count > 1) qsort(mistakes->items, (size_t)mistakes->count, sizeof *mistakes->items, compare);
}

/* Writes one mistake with its place to TEXT of SIZE bytes (which may be none); returns its length. */
static size_t describe(const mistakes_t *mistakes, const mistake_t *mistake, char *text, size_t size) {
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
static status_t join(const mistakes_t *mistakes, int count, char **text) {
  size_t size = 1, used = 0;
  for (int i = 0; i < count; i++)
    size += describe(mistakes, &mistakes->items[i], NULL, 0) + 1;
  TRY(memory_alloc(text, ARENA_OTHER, size, 1));
  for (int i = 0; i < count; i++) {
    used += describe(mistakes, &mistakes->items[i], *text + used, size - used);
    if (i + 1 < count) (*text)[used++] = '\n';
  }
  return STATUS_OK;
}

status_t mistakes_text(mistakes_t *mistakes, char **text) {
  if (mistakes->status != STATUS_OK) return mistakes->status;
  sort(mistakes);
  return join(mistakes, mistakes->count, text);
}

status_t mistakes_report(mistakes_t *mistakes) {
  if (mistakes->status != STATUS_OK) return mistakes->status;
  if (mistakes->count == 0) return STATUS_OK;
  sort(mistakes);
  char *text = NULL;
  int shown = mistakes->count < SHOWN_MAX ? mistakes->count : SHOWN_MAX;
  TRY(join(mistakes, shown, &text));
  status_code_t status;
  if (mistakes->count == 1)
    status = error_set(STATUS_INPUT, "%s", text);
  else if (mistakes->count == shown)
    status = error_set(STATUS_INPUT, "%d mistakes in the input:\n%s", mistakes->count, text);
  else
    status = error_set(STATUS_INPUT, "%d mistakes in the input:\n%s\n... and %d more", mistakes->count, text,
                       mistakes->count - shown);
  memory_free(text);
  return status;
}

void mistakes_free(mistakes_t *mistakes) {
  for (int i = 0; i < mistakes->count; i++)
    memory_free(mistakes->items[i].text);
  memory_free(mistakes->items);
  mistakes->items = NULL;
  mistakes->count = mistakes->capacity = 0;
}

static int smallest(int a, int b, int c) {
  int least = a < b ? a : b;
  return least < c ? least : c;
}

static bool same_letter(char a, char b) {
  return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Edit distance with exchanges of neighbours (optimal string alignment), letters without case. */
static int edit_distance(const char *a, size_t n, const char *b, size_t m) {
  int rows[3][NAME_MAX_BYTES + 2];
  int *before = rows[0], *above = rows[1], *current = rows[2];
  for (size_t j = 0; j <= m; j++)
    above[j] = (int)j;
  for (size_t i = 1; i <= n; i++) {
    current[0] = (int)i;
    for (size_t j = 1; j <= m; j++) {
      int change = above[j - 1] + !same_letter(a[i - 1], b[j - 1]);
      current[j] = smallest(above[j] + 1, current[j - 1] + 1, change);
      bool exchanged = i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]);
      if (exchanged && before[j - 2] + 1 < current[j]) current[j] = before[j - 2] + 1;
    }
    int *recycled = before;
    before = above;
    above = current;
    current = recycled;
  }
  return above[m];
}

nearest_t nearest_to(const char *wanted) {
  return (nearest_t){.wanted = wanted, .found = NULL, .distance = 0};
}

void nearest_offer(nearest_t *nearest, const char *candidate) {
  size_t n = strlen(nearest->wanted), m = strlen(candidate);
  if (n == 0 || n > NAME_MAX_BYTES || m > NAME_MAX_BYTES) return;
  int allowed = m < 4 ? 1 : m < 7 ? 2 : (int)(m / 3);
  int distance = edit_distance(nearest->wanted, n, candidate, m);
  if (distance > allowed || (nearest->found && distance >= nearest->distance)) return;
  nearest->found = candidate;
  nearest->distance = distance;
}

void nearest_in_list(const char *wanted, const char *list, char *found, size_t size) {
  char name[NAME_MAX_BYTES + 1];
  int least = -1;
  if (size > 0) found[0] = '\0';
  while (*list) {
    size_t length = strcspn(list, "|");
    snprintf(name, sizeof name, "%.*s", (int)length, list);
    nearest_t nearest = nearest_to(wanted);
    nearest_offer(&nearest, name);
    if (nearest.found && (least < 0 || nearest.distance < least)) {
      least = nearest.distance;
      snprintf(found, size, "%s", name);
    }
    list += length + (list[length] == '|');
  }
}
