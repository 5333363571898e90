#include "tensor/op_pair.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

void expect_ok_at(status_code_t status, const char *file, int line) {
  if (status == STATUS_OK) return;
  print_error("%s: %s\n", status_name(status), error_message());
  _fail(file, line);
}

static void keep(op_pair_t *pair, int side, void *array) {
  assert_true(pair->array_count[side] < PAIR_ARRAYS_MAX);
  pair->arrays[side][pair->array_count[side]++] = array;
}

void pair_release(op_pair_t *pair) {
  for (int side = 0; side < DEVICES; side++) {
    for (int i = 0; i < pair->array_count[side]; i++)
      device_release(pair->devices[side], pair->arrays[side][i]);
    pair->array_count[side] = 0;
  }
}

/* The nearest value that TYPE holds. */
static double rounded(dtype_t type, double value) {
  if (type == DTYPE_F64)
    return (double)(float)value; /* also held by the float devices that it is compared with */
  if (type == DTYPE_F32) return (double)(float)value;
  union {
    float f;
    uint32_t u;
  } bits = {.f = (float)value};
  bits.u &= 0xffff0000u;
  return (double)bits.f;
}

static double *host_array(int64_t n) {
  double *values = NULL;
  EXPECT_OK(memory_alloc(&values, ARENA_OTHER, (size_t)n, sizeof *values));
  return values;
}

static double *host_random(op_pair_t *pair, dtype_t type, int64_t n, double scale) {
  double *values = host_array(n);
  for (int64_t i = 0; i < n; i++)
    values[i] = rounded(type, scale * random_normal(&pair->random));
  return values;
}

real_pair_t real_of(op_pair_t *pair, const double *values, int64_t n) {
  real_pair_t array = {.n = (size_t)n};
  for (int side = 0; side < DEVICES; side++) {
    EXPECT_OK(real_alloc(pair->devices[side], ARENA_OTHER, array.n, &array.on[side]));
    EXPECT_OK(real_upload(pair->devices[side], array.on[side], values, DTYPE_F64, array.n));
    keep(pair, side, array.on[side]);
  }
  return array;
}

wide_pair_t wide_of(op_pair_t *pair, const double *values, int64_t n) {
  wide_pair_t array = {.n = (size_t)n};
  for (int side = 0; side < DEVICES; side++) {
    EXPECT_OK(wide_alloc(pair->devices[side], ARENA_OTHER, array.n, &array.on[side]));
    EXPECT_OK(wide_upload(pair->devices[side], array.on[side], values, DTYPE_F64, array.n));
    keep(pair, side, array.on[side]);
  }
  return array;
}

index_pair_t index_of(op_pair_t *pair, const int32_t *values, int64_t n) {
  index_pair_t array = {.n = (size_t)n};
  for (int side = 0; side < DEVICES; side++) {
    EXPECT_OK(index_alloc(pair->devices[side], ARENA_OTHER, array.n, &array.on[side]));
    EXPECT_OK(index_upload(pair->devices[side], array.on[side], values, array.n));
    keep(pair, side, array.on[side]);
  }
  return array;
}

real_pair_t real_random(op_pair_t *pair, int64_t n, double scale) {
  double *values = host_random(pair, pair->devices[TESTED]->real_type, n, scale);
  real_pair_t array = real_of(pair, values, n);
  memory_free(values);
  return array;
}

wide_pair_t wide_random(op_pair_t *pair, int64_t n, double scale) {
  double *values = host_random(pair, pair->devices[TESTED]->wide_type, n, scale);
  wide_pair_t array = wide_of(pair, values, n);
  memory_free(values);
  return array;
}

static double *host_untouched(int64_t n) {
  double *values = host_array(n);
  for (int64_t i = 0; i < n; i++)
    values[i] = PAIR_UNTOUCHED;
  return values;
}

real_pair_t real_untouched(op_pair_t *pair, int64_t n) {
  double *values = host_untouched(n);
  real_pair_t array = real_of(pair, values, n);
  memory_free(values);
  return array;
}

wide_pair_t wide_untouched(op_pair_t *pair, int64_t n) {
  double *values = host_untouched(n);
  wide_pair_t array = wide_of(pair, values, n);
  memory_free(values);
  return array;
}

double *real_host(op_pair_t *pair, const real_pair_t *array, int side) {
  double *values = host_array((int64_t)array->n);
  EXPECT_OK(real_download(pair->devices[side], values, DTYPE_F64, array->on[side], array->n));
  EXPECT_OK(device_synchronize(pair->devices[side]));
  return values;
}

double *wide_host(op_pair_t *pair, const wide_pair_t *array, int side) {
  double *values = host_array((int64_t)array->n);
  EXPECT_OK(wide_download(pair->devices[side], values, DTYPE_F64, array->on[side], array->n));
  EXPECT_OK(device_synchronize(pair->devices[side]));
  return values;
}

int32_t *index_host(op_pair_t *pair, const index_pair_t *array, int side) {
  int32_t *values = NULL;
  EXPECT_OK(memory_alloc(&values, ARENA_OTHER, array->n, sizeof *values));
  EXPECT_OK(index_download(pair->devices[side], values, array->on[side], array->n));
  EXPECT_OK(device_synchronize(pair->devices[side]));
  return values;
}

double normalised_error(const double *a, const double *b, size_t n) {
  double difference = 0.0, size = 0.0;
  for (size_t i = 0; i < n; i++) {
    if (isfinite(a[i]) != isfinite(b[i])) return INFINITY;
    if (!isfinite(a[i])) {
      if (isnan(a[i]) != isnan(b[i]) || (!isnan(a[i]) && a[i] != b[i])) return INFINITY;
      continue;
    }
    difference = fmax(difference, fabs(a[i] - b[i]));
    size = fmax(size, fabs(b[i]));
  }
  return size > 0.0 ? difference / size : difference;
}

/* Compares and frees the host copies of N elements. */
static void expect_close(const char *what, double *tested, double *oracle, size_t n, int64_t begin,
                         int64_t rows, int64_t cols, int64_t ld, double tolerance) {
  size_t taken = 0;
  for (size_t i = 0; i < n; i++) {
    int64_t place = (int64_t)i - begin;
    if (place >= 0 && place < (rows - 1) * ld + cols && place % ld < cols) {
      tested[taken] = tested[i];
      oracle[taken++] = oracle[i];
    } else if (oracle[i] == PAIR_UNTOUCHED && tested[i] != PAIR_UNTOUCHED) {
      fail_msg("%s: element %zu, outside the result, was changed to %g", what, i, tested[i]);
    }
  }
  double error = normalised_error(tested, oracle, taken);
  memory_free(tested);
  memory_free(oracle);
  if (error > tolerance) fail_msg("%s: normalised error %g, tolerance %g", what, error, tolerance);
}

void wide_expect_close(op_pair_t *pair, const char *what, const wide_pair_t *array, int64_t begin,
                       int64_t rows, int64_t cols, int64_t ld, double tolerance) {
  double *tested = wide_host(pair, array, TESTED), *oracle = wide_host(pair, array, ORACLE);
  expect_close(what, tested, oracle, array->n, begin, rows, cols, ld, tolerance);
}

void real_expect_close(op_pair_t *pair, const char *what, const real_pair_t *array, int64_t begin,
                       int64_t rows, int64_t cols, int64_t ld, double tolerance) {
  double *tested = real_host(pair, array, TESTED), *oracle = real_host(pair, array, ORACLE);
  expect_close(what, tested, oracle, array->n, begin, rows, cols, ld, tolerance);
}

int64_t pair_choose(op_pair_t *pair, const int64_t *values, int n) {
  return values[random_below(&pair->random, (uint32_t)n)];
}

bool pair_flip(op_pair_t *pair) {
  return random_below(&pair->random, 2) == 1;
}
