#include "tensor/op_pair.h"

#include "base/memory.h"
#include "tensor/weight_nf4.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void expect_ok_at(status_code_t status, const char *file, int line) {
  if (status == STATUS_OK) return;
  print_error("%s: %s\n", status_name(status), error_message());
  _fail(file, line);
}

/* ---- Arrays between guards ---- */

static size_t element_size(const device_t *device, pair_kind_t kind) {
  if (kind == PAIR_HALF) return dtype_size(DTYPE_BF16);
  if (kind == PAIR_INDEX) return dtype_size(DTYPE_I32);
  return dtype_size(kind == PAIR_REAL ? device->real_type : device->wide_type);
}

static void *element_at(const device_t *device, const pair_array_t *array, int64_t i) {
  return (char *)array->block + (size_t)i * element_size(device, array->kind);
}

/* N elements at element BEGIN of the block, guard included, from VALUES. */
static status_t upload(device_t *device, const pair_array_t *array, int64_t begin, const double *values,
                       int64_t n) {
  void *to = element_at(device, array, begin);
  if (array->kind == PAIR_REAL) return real_upload(device, to, values, DTYPE_F64, (size_t)n);
  if (array->kind == PAIR_WIDE) return wide_upload(device, to, values, DTYPE_F64, (size_t)n);
  return half_upload(device, to, values, DTYPE_F64, (size_t)n);
}

static status_t download(device_t *device, const pair_array_t *array, int64_t begin, double *values,
                         int64_t n) {
  const void *from = element_at(device, array, begin);
  if (array->kind == PAIR_REAL) return real_download(device, values, DTYPE_F64, from, (size_t)n);
  if (array->kind == PAIR_WIDE) return wide_download(device, values, DTYPE_F64, from, (size_t)n);
  return half_download(device, values, DTYPE_F64, from, (size_t)n);
}

/* Memory for N elements between its guards, which are set. */
static void *guarded(op_pair_t *pair, int side, pair_kind_t kind, int64_t n) {
  static const arena_t arena = ARENA_OTHER;
  device_t *device = pair->devices[side];
  assert_true(pair->array_count[side] < PAIR_ARRAYS_MAX);
  pair_array_t *array = &pair->arrays[side][pair->array_count[side]];
  *array = (pair_array_t){.kind = kind, .n = n};
  size_t bytes = (size_t)(n + 2 * PAIR_GUARD_ELEMENTS) * element_size(device, kind);
  EXPECT_OK(device_alloc(device, &arena, bytes, &array->block));
  pair->array_count[side]++;
  double guard[PAIR_GUARD_ELEMENTS];
  int32_t index_guard[PAIR_GUARD_ELEMENTS];
  for (int i = 0; i < PAIR_GUARD_ELEMENTS; i++)
    index_guard[i] = (int32_t)(guard[i] = PAIR_GUARD);
  const int64_t begin[] = {0, PAIR_GUARD_ELEMENTS + n};
  for (int i = 0; i < 2; i++)
    EXPECT_OK(kind == PAIR_INDEX ? index_upload(device, element_at(device, array, begin[i]), index_guard,
                                                PAIR_GUARD_ELEMENTS)
                                 : upload(device, array, begin[i], guard, PAIR_GUARD_ELEMENTS));
  return element_at(device, array, PAIR_GUARD_ELEMENTS);
}

/* The first element of ARRAY's guard at BEGIN that was changed, or -1. */
static int64_t guard_changed(device_t *device, const pair_array_t *array, int64_t begin) {
  double guard[PAIR_GUARD_ELEMENTS];
  int32_t index_guard[PAIR_GUARD_ELEMENTS];
  EXPECT_OK(array->kind == PAIR_INDEX
                ? index_download(device, index_guard, element_at(device, array, begin), PAIR_GUARD_ELEMENTS)
                : download(device, array, begin, guard, PAIR_GUARD_ELEMENTS));
  EXPECT_OK(device_synchronize(device));
  for (int i = 0; i < PAIR_GUARD_ELEMENTS; i++)
    if ((array->kind == PAIR_INDEX ? (double)index_guard[i] : guard[i]) != PAIR_GUARD) return i;
  return -1;
}

/* What was written around ARRAY, into TEXT; false where nothing was. */
static bool describe_guards(device_t *device, const pair_array_t *array, char *text, size_t size) {
  int64_t before = guard_changed(device, array, 0);
  int64_t behind = guard_changed(device, array, PAIR_GUARD_ELEMENTS + array->n);
  if (before >= 0)
    snprintf(text, size, "%s wrote %lld elements before an array of %lld", device->name,
             (long long)(PAIR_GUARD_ELEMENTS - before), (long long)array->n);
  else if (behind >= 0)
    snprintf(text, size, "%s wrote element %lld of an array of %lld", device->name,
             (long long)(array->n + behind), (long long)array->n);
  return before >= 0 || behind >= 0;
}

void pair_release(op_pair_t *pair) {
  char text[128];
  bool changed = false;
  for (int side = 0; side < DEVICES; side++) {
    for (int i = 0; i < pair->array_count[side]; i++) {
      const pair_array_t *array = &pair->arrays[side][i];
      if (!changed) changed = describe_guards(pair->devices[side], array, text, sizeof text);
      device_release(pair->devices[side], array->block);
    }
    pair->array_count[side] = 0;
  }
  if (changed) fail_msg("%s", text);
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

/* Normal random numbers, drawn once: else drawing takes longer than what is tested. A prime number of them,
 * so that rows of a large array do not repeat. */
enum { NORMALS = 262139 };
static const double *normals(void) {
  static double values[NORMALS];
  static bool drawn = false;
  random_stream_t random = random_stream(0, RANDOM_TEST, 0);
  for (int i = 0; i < NORMALS && !drawn; i++)
    values[i] = random_normal(&random);
  drawn = true;
  return values;
}

/* Each array takes them from a place of its own on. */
static double *host_random(op_pair_t *pair, dtype_t type, int64_t n, double scale) {
  double *values = host_array(n);
  const double *from = normals();
  uint32_t at = random_below(&pair->random, NORMALS);
  for (int64_t i = 0; i < n; i++) {
    values[i] = rounded(type, scale * from[at]);
    at = at + 1 < NORMALS ? at + 1 : 0;
  }
  return values;
}

real_pair_t real_of(op_pair_t *pair, const double *values, int64_t n) {
  real_pair_t array = {.n = (size_t)n};
  for (int side = 0; side < DEVICES; side++) {
    array.on[side] = guarded(pair, side, PAIR_REAL, n);
    EXPECT_OK(real_upload(pair->devices[side], array.on[side], values, DTYPE_F64, array.n));
  }
  return array;
}

wide_pair_t wide_of(op_pair_t *pair, const double *values, int64_t n) {
  wide_pair_t array = {.n = (size_t)n};
  for (int side = 0; side < DEVICES; side++) {
    array.on[side] = guarded(pair, side, PAIR_WIDE, n);
    EXPECT_OK(wide_upload(pair->devices[side], array.on[side], values, DTYPE_F64, array.n));
  }
  return array;
}

half_pair_t half_of(op_pair_t *pair, const double *values, int64_t n) {
  half_pair_t array = {.n = (size_t)n};
  for (int side = 0; side < DEVICES; side++) {
    array.on[side] = guarded(pair, side, PAIR_HALF, n);
    EXPECT_OK(half_upload(pair->devices[side], array.on[side], values, DTYPE_F64, array.n));
  }
  return array;
}

index_pair_t index_of(op_pair_t *pair, const int32_t *values, int64_t n) {
  index_pair_t array = {.n = (size_t)n};
  for (int side = 0; side < DEVICES; side++) {
    array.on[side] = guarded(pair, side, PAIR_INDEX, n);
    EXPECT_OK(index_upload(pair->devices[side], array.on[side], values, array.n));
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

double *host_halves(op_pair_t *pair, int64_t n, double scale) {
  return host_random(pair, DTYPE_BF16, n, scale);
}

static double *host_rows(op_pair_t *pair, dtype_t type, int64_t rows, int64_t cols, int64_t ld,
                         double scale) {
  double *values = host_random(pair, type, rows * ld, scale);
  for (int64_t i = 0; i < rows * ld; i++)
    if (i % ld >= cols) values[i] = PAIR_UNTOUCHED;
  return values;
}

real_pair_t real_rows(op_pair_t *pair, int64_t rows, int64_t cols, int64_t ld, double scale) {
  double *values = host_rows(pair, pair->devices[TESTED]->real_type, rows, cols, ld, scale);
  real_pair_t array = real_of(pair, values, rows * ld);
  memory_free(values);
  return array;
}

wide_pair_t wide_rows(op_pair_t *pair, int64_t rows, int64_t cols, int64_t ld, double scale) {
  double *values = host_rows(pair, pair->devices[TESTED]->wide_type, rows, cols, ld, scale);
  wide_pair_t array = wide_of(pair, values, rows * ld);
  memory_free(values);
  return array;
}

/* A part of a larger matrix, whose blocks begin neither with its first row nor, but AT_BLOCK, with its first
 * column. */
static weight_t nf4_part(op_pair_t *pair, int64_t rows, int64_t cols, bool at_block) {
  weight_t weight = {.format = WEIGHT_NF4, .rows = rows, .cols = cols};
  weight.row_begin = (int64_t)random_below(&pair->random, 5);
  /* Where it begins with whole bytes of eight codes, devices take them together. */
  weight.col_begin = pair_flip(pair) ? 8 * (int64_t)random_below(&pair->random, 9)
                                     : (int64_t)random_below(&pair->random, 70);
  if (at_block) weight.col_begin = NF4_BLOCK * (int64_t)random_below(&pair->random, 2);
  weight.whole_rows = weight.row_begin + rows + 1;
  weight.whole_cols = weight.col_begin + cols + (int64_t)random_below(&pair->random, 70);
  return weight;
}

/* Writes rows (whole_cols) of VALUES that belong to WEIGHT, and the scales of all. */
static void nf4_write(device_t *device, const weight_t *weight, const float *values) {
  int64_t begin, end, rows = weight->rows, whole = weight->whole_cols;
  weight_nf4_columns(weight, &begin, &end);
  float *part = NULL, *absmax = NULL, *whole_absmax = NULL;
  size_t blocks = (size_t)(weight->whole_rows * nf4_row_blocks(whole));
  EXPECT_OK(memory_alloc(&part, ARENA_OTHER, (size_t)(rows * (end - begin)), sizeof *part));
  EXPECT_OK(memory_alloc(&absmax, ARENA_OTHER, blocks, sizeof *absmax));
  EXPECT_OK(memory_alloc(&whole_absmax, ARENA_OTHER, blocks, sizeof *whole_absmax));
  for (int64_t r = 0; r < rows; r++)
    memcpy(part + r * (end - begin), values + (weight->row_begin + r) * whole + begin,
           (size_t)(end - begin) * sizeof *part);
  nf4_absmax(values, weight->whole_rows, whole, whole_absmax);
  EXPECT_OK(weight_nf4_write_rows(device, weight, 0, rows, part, absmax));
  EXPECT_OK(weight_nf4_write_scales(device, weight, whole_absmax));
  memory_free(part);
  memory_free(absmax);
  memory_free(whole_absmax);
}

weight_pair_t nf4_random(op_pair_t *pair, int64_t rows, int64_t cols, bool at_block) {
  weight_t weight = nf4_part(pair, rows, cols, at_block);
  int64_t n = weight.whole_rows * weight.whole_cols;
  float *values = NULL;
  EXPECT_OK(memory_alloc(&values, ARENA_OTHER, (size_t)n, sizeof *values));
  for (int64_t i = 0; i < n; i++)
    values[i] = (float)random_normal(&pair->random);
  weight_pair_t made;
  for (int side = 0; side < DEVICES; side++) {
    weight.data = guarded(pair, side, PAIR_INDEX, (int64_t)(weight_nf4_bytes(&weight) / sizeof(int32_t)));
    nf4_write(pair->devices[side], &weight, values);
    made.on[side] = weight;
  }
  memory_free(values);
  return made;
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
