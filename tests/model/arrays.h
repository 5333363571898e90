/* Files of named arrays that the golden scripts of the model write (golden/reference_model.py, Writer): lines
 * `name size size ...`, an empty line, single-precision numbers, little-endian, in the order of the lines. */
#ifndef TESTS_MODEL_ARRAYS_H
#define TESTS_MODEL_ARRAYS_H

#include <stdbool.h>
#include <stdint.h>

enum { ARRAYS_MAX = 512, ARRAYS_NAME_MAX = 192 };

typedef struct {
  int32_t count;
  char names[ARRAYS_MAX][ARRAYS_NAME_MAX];
  int64_t sizes[ARRAYS_MAX];
  double *values[ARRAYS_MAX];
} arrays_t;

/* Reads PATH. Fails the running test (CMocka) where it can't. Free with arrays_free. */
void arrays_read(const char *path, arrays_t *arrays);
void arrays_free(arrays_t *arrays);

bool arrays_has(const arrays_t *arrays, const char *name);
/* Elements of the array NAME, which must be there: else the test fails. */
int64_t arrays_size(const arrays_t *arrays, const char *name);
/* The array NAME, which must be there and have N elements. */
const double *arrays_get(const arrays_t *arrays, const char *name, int64_t n);
double arrays_number(const arrays_t *arrays, const char *name);
/* The array NAME as integers, freed by the caller with memory_free. */
int32_t *arrays_integers(const arrays_t *arrays, const char *name, int64_t n);

#endif
