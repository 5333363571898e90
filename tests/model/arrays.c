#include "model/arrays.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LINE_MAX_LENGTH = 256 };

/* One line `name size size ...` into the next entry. */
static void read_line(arrays_t *arrays, char *line) {
  char *rest = NULL, *name = strtok_r(line, " \n", &rest);
  assert_non_null(name);
  assert_true(arrays->count < ARRAYS_MAX);
  snprintf(arrays->names[arrays->count], ARRAYS_NAME_MAX, "%s", name);
  int64_t size = 1;
  for (char *text = strtok_r(NULL, " \n", &rest); text; text = strtok_r(NULL, " \n", &rest))
    size *= strtoll(text, NULL, 10);
  arrays->sizes[arrays->count++] = size;
}

static double read_number(FILE *file, const char *name) {
  unsigned char bytes[4];
  if (fread(bytes, 1, sizeof bytes, file) != sizeof bytes) fail_msg("the file ends within %s", name);
  uint32_t bits =
      (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
  float number;
  memcpy(&number, &bits, sizeof number);
  return (double)number;
}

static void read_values(arrays_t *arrays, FILE *file) {
  for (int32_t i = 0; i < arrays->count; i++) {
    arrays->values[i] = calloc((size_t)arrays->sizes[i] + 1, sizeof(double));
    assert_non_null(arrays->values[i]);
    for (int64_t j = 0; j < arrays->sizes[i]; j++)
      arrays->values[i][j] = read_number(file, arrays->names[i]);
  }
  if (fgetc(file) != EOF) fail_msg("the file goes on after its last array");
}

void arrays_read(const char *path, arrays_t *arrays) {
  memset(arrays, 0, sizeof *arrays);
  FILE *file = fopen(path, "rb");
  if (!file) fail_msg("cannot open %s", path);
  char line[LINE_MAX_LENGTH];
  while (fgets(line, sizeof line, file) && line[0] != '\n')
    read_line(arrays, line);
  read_values(arrays, file);
  fclose(file);
}

void arrays_free(arrays_t *arrays) {
  for (int32_t i = 0; i < arrays->count; i++)
    free(arrays->values[i]);
  arrays->count = 0;
}

static int32_t find(const arrays_t *arrays, const char *name) {
  for (int32_t i = 0; i < arrays->count; i++)
    if (strcmp(arrays->names[i], name) == 0) return i;
  return -1;
}

bool arrays_has(const arrays_t *arrays, const char *name) {
  return find(arrays, name) >= 0;
}

int64_t arrays_size(const arrays_t *arrays, const char *name) {
  int32_t i = find(arrays, name);
  if (i < 0) fail_msg("no golden array %s", name);
  return arrays->sizes[i];
}

const double *arrays_get(const arrays_t *arrays, const char *name, int64_t n) {
  int64_t size = arrays_size(arrays, name);
  if (size != n)
    fail_msg("golden array %s has %lld values, expected %lld", name, (long long)size, (long long)n);
  return arrays->values[find(arrays, name)];
}

double arrays_number(const arrays_t *arrays, const char *name) {
  return arrays_get(arrays, name, 1)[0];
}

int32_t *arrays_integers(const arrays_t *arrays, const char *name, int64_t n) {
  const double *values = arrays_get(arrays, name, n);
  int32_t *integers;
  if (memory_alloc(&integers, ARENA_OTHER, (size_t)n, sizeof *integers) != STATUS_OK)
    fail_msg("%s", error_message());
  for (int64_t i = 0; i < n; i++)
    integers[i] = (int32_t)values[i];
  return integers;
}
