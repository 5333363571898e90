/* Comparing arrays by normalised error, and a model's gradients read back. */
#ifndef TESTS_MODEL_COMPARE_H
#define TESTS_MODEL_COMPARE_H

#include "model/params.h"

/* Largest |FOUND - EXPECTED| (n) over the largest |EXPECTED|, or over FLOOR where that is larger: where the
 * true values vanish there is nothing to be relative to. */
double normalised_error(const double *found, const double *expected, int64_t n, double floor);

/* Fails the running test, naming WHAT, unless the normalised error is below TOLERANCE. */
void compare_arrays(const char *what, const double *found, const double *expected, int64_t n, double floor,
                    double tolerance);

/* Gradient (elements) of weight ID, freed by the caller with memory_free. Fails the running test on errors.
 */
double *gradient_read(const params_t *params, int32_t id);

#endif
