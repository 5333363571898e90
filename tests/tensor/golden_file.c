#include "tensor/golden_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void read_values(FILE *file, const char *name, double *values, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (fscanf(file, "%lf", &values[i]) != 1)
      fail_msg("golden array %s ends after %zu of %zu values", name, i, n);
}

void golden_read(const char *path, golden_t *golden) {
  memset(golden, 0, sizeof *golden);
  FILE *file = fopen(path, "r");
  if (!file) fail_msg("cannot open %s", path);
  int i = 0;
  while (fscanf(file, "%63s %zu", golden->names[i], &golden->sizes[i]) == 2) {
    golden->values[i] = calloc(golden->sizes[i], sizeof *golden->values[i]);
    assert_non_null(golden->values[i]);
    read_values(file, golden->names[i], golden->values[i], golden->sizes[i]);
    i++;
    assert_true(i < GOLDEN_ARRAYS_MAX);
  }
  golden->count = i;
  fclose(file);
}

void golden_free(golden_t *golden) {
  for (int i = 0; i < golden->count; i++)
    free(golden->values[i]);
  golden->count = 0;
}

const double *golden_get(const golden_t *golden, const char *name, size_t n) {
  for (int i = 0; i < golden->count; i++)
    if (strcmp(golden->names[i], name) == 0) {
      if (golden->sizes[i] != n)
        fail_msg("golden array %s has %zu values, expected %zu", name, golden->sizes[i], n);
      return golden->values[i];
    }
  fail_msg("no golden array %s", name);
  return NULL;
}
