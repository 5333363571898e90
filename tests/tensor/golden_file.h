/* Reads the text files that the golden scripts write: arrays by name. */
#ifndef TESTS_TENSOR_GOLDEN_FILE_H
#define TESTS_TENSOR_GOLDEN_FILE_H

#include <stddef.h>

enum { GOLDEN_ARRAYS_MAX = 512, GOLDEN_NAME_MAX = 64 };

typedef struct {
  int count;
  char names[GOLDEN_ARRAYS_MAX][GOLDEN_NAME_MAX];
  size_t sizes[GOLDEN_ARRAYS_MAX];
  double *values[GOLDEN_ARRAYS_MAX];
} golden_t;

/* Reads PATH: per array a line `name count` and a line of values. Fails the running test (CMocka) where it
 * can't. Free with golden_free. */
void golden_read(const char *path, golden_t *golden);
void golden_free(golden_t *golden);

/* The array NAME, which must have N elements: else the test fails. */
const double *golden_get(const golden_t *golden, const char *name, size_t n);

#endif
