/* The one suite of operations, for every device: each operation's results are compared with those of the
 * plain device in double on the same random inputs, by the normalised error max|a - b| / max|b|; and nothing
 * may be written around any array. */
#ifndef TESTS_TENSOR_OP_SUITE_H
#define TESTS_TENSOR_OP_SUITE_H

#include "tensor/device.h"

/* Largest normalised errors that pass. For float devices 1e-5 and 1e-4: sums of some hundred terms of about
 * one size, each rounded to 24 bits; gradients subtract nearly equal sums. */
typedef struct {
  double forward;
  double gradient;
  double half;  /* between weights in bf16 and the same numbers in the compute type: 0 for the same bits */
  double parts; /* between a linear operation and its parts on the same device; 0: a tenth of the others */
} op_suite_tolerances_t;

/* Runs all cases on DEVICE as a CMocka group, one test per operation; an operation that DEVICE lacks fails.
 * Returns the number of failed tests, for main to return. MPI is not needed. Local. */
int op_suite_run(device_t *device, op_suite_tolerances_t tolerances);

#endif
