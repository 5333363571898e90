#include "tensor/gradient_check.h"

#include "base/random.h"
#include "tensor/plain/plain.h"

#include <math.h>
#include <string.h>

enum { SEED = 7 };
/* Of a central difference the truncation error is about step^2, the rounding error 1e-16 / step. */
static const double step = 1e-5;
static const double tolerance = 1e-6;

void check_ok_at(status_code_t status, const char *file, int line) {
  if (status == STATUS_OK) return;
  print_error("%s: %s\n", status_name(status), error_message());
  _fail(file, line);
}

static void keep(check_t *check, void *block) {
  assert_true(check->block_count < CHECK_BLOCKS_MAX);
  check->blocks[check->block_count++] = block;
}

void check_release(check_t *check) {
  for (int i = 0; i < check->block_count; i++)
    device_release(check->device, check->blocks[i]);
  check->block_count = 0;
}

real_t *check_real(check_t *check, const double *values, size_t n) {
  real_t *array = NULL;
  CHECK_OK(real_alloc(check->device, ARENA_OTHER, n, &array));
  CHECK_OK(real_upload(check->device, array, values, DTYPE_F64, n));
  keep(check, array);
  return array;
}

wide_t *check_wide(check_t *check, const double *values, size_t n) {
  wide_t *array = NULL;
  CHECK_OK(wide_alloc(check->device, ARENA_OTHER, n, &array));
  CHECK_OK(wide_upload(check->device, array, values, DTYPE_F64, n));
  keep(check, array);
  return array;
}

index_t *check_index(check_t *check, const int32_t *values, size_t n) {
  index_t *array = NULL;
  CHECK_OK(index_alloc(check->device, ARENA_OTHER, n, &array));
  CHECK_OK(index_upload(check->device, array, values, n));
  keep(check, array);
  return array;
}

real_t *check_real_filled(check_t *check, size_t n) {
  real_t *array = NULL;
  CHECK_OK(real_alloc(check->device, ARENA_OTHER, n, &array));
  CHECK_OK(OP(check->device, fill_real, &(op_fill_real_t){.n = (int64_t)n, .value = 0.0, .x = array}));
  keep(check, array);
  return array;
}

wide_t *check_wide_filled(check_t *check, size_t n) {
  wide_t *array = NULL;
  CHECK_OK(wide_alloc(check->device, ARENA_OTHER, n, &array));
  CHECK_OK(OP(check->device, fill_wide, &(op_fill_wide_t){.n = (int64_t)n, .value = 0.0, .x = array}));
  keep(check, array);
  return array;
}

void check_fetch_real(check_t *check, const real_t *from, double *to, size_t n) {
  CHECK_OK(real_download(check->device, to, DTYPE_F64, from, n));
  CHECK_OK(device_synchronize(check->device));
}

void check_fetch_wide(check_t *check, const wide_t *from, double *to, size_t n) {
  CHECK_OK(wide_download(check->device, to, DTYPE_F64, from, n));
  CHECK_OK(device_synchronize(check->device));
}

static double *host_array(size_t n) {
  double *values = NULL;
  CHECK_OK(memory_alloc(&values, ARENA_OTHER, n, sizeof *values));
  return values;
}

/* Sum of the results times WEIGHTS. */
static double loss(check_t *check, double *const *x, const double *weights) {
  real_t *inputs[CHECK_INPUTS_MAX] = {0};
  double *y = host_array(check->results), sum = 0.0;
  for (int i = 0; i < check->inputs; i++)
    inputs[i] = check_real(check, x[i], check->sizes[i]);
  check->forward(check, inputs, y);
  for (size_t i = 0; i < check->results; i++)
    sum += y[i] * weights[i];
  memory_free(y);
  check_release(check);
  return sum;
}

static void analytic(check_t *check, double *const *x, const double *weights, double *const *dx) {
  real_t *inputs[CHECK_INPUTS_MAX] = {0};
  for (int i = 0; i < check->inputs; i++)
    inputs[i] = check_real(check, x[i], check->sizes[i]);
  check->backward(check, inputs, check_real(check, weights, check->results), dx);
  check_release(check);
}

static void compare(check_t *check, int input, double *const *x, const double *weights, const double *dx) {
  double error = 0.0, size = 0.0;
  for (size_t i = 0; i < check->sizes[input]; i++) {
    double kept = x[input][i];
    x[input][i] = kept + step;
    double above = loss(check, x, weights);
    x[input][i] = kept - step;
    double below = loss(check, x, weights), slope = (above - below) / (2.0 * step);
    x[input][i] = kept;
    error = fmax(error, fabs(slope - dx[i]));
    size = fmax(size, fabs(slope));
  }
  assert_true(size > 0.0);
  if (!(error <= tolerance * size))
    fail_msg("%s: gradient of input %d is off by %g of %g", check->name, input, error, size);
}

void check_gradients(check_t *check) {
  random_stream_t random = random_stream(SEED, RANDOM_TEST, 0);
  double *x[CHECK_INPUTS_MAX] = {0}, *dx[CHECK_INPUTS_MAX] = {0}, *weights = host_array(check->results);
  double scale = check->input_scale > 0.0 ? check->input_scale : 1.0;
  CHECK_OK(plain_create(PLAIN_DOUBLE, true, &check->device));
  for (int i = 0; i < check->inputs; i++) {
    x[i] = host_array(check->sizes[i]);
    dx[i] = host_array(check->sizes[i]);
    for (size_t j = 0; j < check->sizes[i]; j++)
      x[i][j] = scale * random_normal(&random);
  }
  for (size_t i = 0; i < check->results; i++)
    weights[i] = random_normal(&random);
  analytic(check, x, weights, dx);
  for (int i = 0; i < check->inputs; i++)
    compare(check, i, x, weights, dx[i]);
  for (int i = 0; i < check->inputs; i++) {
    memory_free(x[i]);
    memory_free(dx[i]);
  }
  memory_free(weights);
  device_free(check->device);
}
