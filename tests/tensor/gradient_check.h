/* Gradients of an operation against central finite differences, on the plain device in double. */
#ifndef TESTS_TENSOR_GRADIENT_CHECK_H
#define TESTS_TENSOR_GRADIENT_CHECK_H

#include "tensor/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { CHECK_INPUTS_MAX = 6, CHECK_BLOCKS_MAX = 48 };

typedef struct check check_t;

/* One operation as a function of a few arrays; its "loss" is the sum of its results times fixed random
 * weights. */
struct check {
  const char *name;
  int inputs;
  size_t sizes[CHECK_INPUTS_MAX]; /* elements of each input */
  size_t results;                 /* elements of the result */
  double input_scale;             /* of the random inputs; 0 means 1 */
  /* Runs the forward pass on X and downloads the result to Y (results). */
  void (*forward)(check_t *check, real_t *const *x, double *y);
  /* Runs forward and backward with the result's gradient DY (results) and downloads the inputs' gradients to
   * DX. */
  void (*backward)(check_t *check, real_t *const *x, const real_t *dy, double *const *dx);
  const void *detail; /* the case's own */
  /* Set by check_gradients. */
  device_t *device;
  void *blocks[CHECK_BLOCKS_MAX];
  int block_count;
};

/* Fails the test where a gradient differs by more than 1e-6 (normalised) from the central difference. */
void check_gradients(check_t *check);

/* Device arrays that check_gradients releases after each pass. FILLED holds zeros: for results and for sums.
 */
real_t *check_real(check_t *check, const double *values, size_t n);
real_t *check_real_filled(check_t *check, size_t n);
wide_t *check_wide(check_t *check, const double *values, size_t n);
wide_t *check_wide_filled(check_t *check, size_t n);
index_t *check_index(check_t *check, const int32_t *values, size_t n);
/* Releases them: check_gradients calls it. */
void check_release(check_t *check);
void check_fetch_real(check_t *check, const real_t *from, double *to, size_t n);
void check_fetch_wide(check_t *check, const wide_t *from, double *to, size_t n);

void check_ok_at(status_code_t status, const char *file, int line);
#define CHECK_OK(expr) check_ok_at((expr), __FILE__, __LINE__)

#endif
