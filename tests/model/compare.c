#include "model/compare.h"

#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

double normalised_error(const double *found, const double *expected, int64_t n, double floor) {
  double largest = floor, error = 0.0;
  for (int64_t i = 0; i < n; i++) {
    double difference = fabs(found[i] - expected[i]);
    if (isnan(difference)) return INFINITY;
    largest = fmax(largest, fabs(expected[i]));
    error = fmax(error, difference);
  }
  return error == 0.0 ? 0.0 : error / largest;
}

void compare_arrays(const char *what, const double *found, const double *expected, int64_t n, double floor,
                    double tolerance) {
  double error = normalised_error(found, expected, n, floor);
  if (!(error < tolerance))
    fail_msg("%s: normalised error %.3g, expected below %.3g", what, error, tolerance);
}

double *gradient_read(const params_t *params, int32_t id) {
  double *gradient;
  size_t n = (size_t)params->items[id].elements;
  if (memory_alloc(&gradient, ARENA_OTHER, n, sizeof *gradient) != STATUS_OK ||
      wide_download(params->device, gradient, DTYPE_F64, param_grad(params, id), n) != STATUS_OK ||
      device_synchronize(params->device) != STATUS_OK)
    fail_msg("gradient of %s: %s", params->items[id].name, error_message());
  return gradient;
}
