/* What a device knows of itself: products with weights of every format have a peak, none on a device that is
 * not for speed; there is no more free memory than memory. */
#include "tensor/blank.h"
#include "tensor/cpu/cpu.h"
#include "tensor/ops.h"
#include "tensor/peaks.h"
#include "tensor/plain/plain.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static device_peaks_t measure(device_t *device) {
  device_peaks_t peaks;
  assert_int_equal(device_measure_peaks(device, 0, &peaks), STATUS_OK);
  assert_int_equal(device_measure_formats(device, &peaks), STATUS_OK);
  return peaks;
}

static void every_format_has_a_peak(void **state) {
  device_t *device;
  (void)state;
  assert_int_equal(cpu_create(1, NULL, &device), STATUS_OK);
  const device_peaks_t peaks = measure(device);
  for (int f = 0; f < WEIGHT_FORMATS; f++)
    assert_true(isfinite(peaks.flops[f]) && peaks.flops[f] > 1e8);
  assert_true(isfinite(peaks.bytes) && peaks.bytes > 1e8);
  assert_true(device_total_memory(device) > 0);
  assert_true(device_free_memory(device, 1) < device_total_memory(device));
  device_free(device);
}

static void a_slow_device_has_none(void **state) {
  device_t *device;
  (void)state;
  assert_int_equal(plain_create(PLAIN_FLOAT, false, &device), STATUS_OK);
  const device_peaks_t peaks = measure(device);
  for (int f = 0; f < WEIGHT_FORMATS; f++)
    assert_true(peaks.flops[f] == 0.0);
  assert_true(device_total_memory(device) > 0);
  device_free(device);
}

/* The assumed GPU: what is taken of it is no longer free, and what was there at most is known by arena. */
static void an_assumed_gpu_counts_its_memory(void **state) {
  enum { GIGABYTE = 1000000000 };
  const blank_gpu_t gpu = {.memory = (size_t)80 * GIGABYTE, .real_type = DTYPE_BF16};
  device_t *plain, *device;
  real_t *weights, *cache;
  blank_memory_t most;
  (void)state;
  assert_int_equal(plain_create(PLAIN_FLOAT, false, &plain), STATUS_OK);
  assert_int_equal(blank_create(plain, &gpu, &device), STATUS_OK);
  size_t before = device_free_memory(device, 1);
  assert_true(before <= gpu.memory && device_total_memory(device) == gpu.memory);
  assert_int_equal(real_alloc(device, ARENA_WEIGHTS, 10 * (size_t)GIGABYTE, &weights), STATUS_OK);
  assert_int_equal(before - device_free_memory(device, 4), 20 * (size_t)GIGABYTE);
  perf_begin(REGION_DECODE);
  assert_int_equal(real_alloc(device, ARENA_CACHE, GIGABYTE, &cache), STATUS_OK);
  assert_int_equal(OP(device, fill_real, &(op_fill_real_t){.n = 1, .x = cache}), STATUS_OK);
  device_release(device, cache);
  perf_end(REGION_DECODE);
  assert_int_equal(OP(device, fill_real, &(op_fill_real_t){.n = 1, .x = weights}), STATUS_OK);
  blank_memory(device, &most);
  assert_int_equal(most.arenas[ARENA_CACHE], 2 * (size_t)GIGABYTE);
  assert_int_equal(most.regions[REGION_DECODE] - most.regions[REGION_OTHER], 2 * (size_t)GIGABYTE);
  assert_int_equal(most.total, most.regions[REGION_DECODE]);
  device_release(device, weights);
  assert_int_equal(device_free_memory(device, 1), before);
  device_free(device);
  device_free(plain);
}

/* Numbers that are random in either type: finite, of size one, of both signs, and hardly any twice in a row.
 */
static void check_random(const float *values, int64_t n) {
  int64_t below = 0, repeated = 0;
  double squares = 0.0;
  for (int64_t i = 0; i < n; i++) {
    assert_true(fabs(values[i]) >= 0.25 && fabs(values[i]) <= 1.0);
    below += values[i] < 0.0f;
    repeated += i > 0 && values[i] == values[i - 1];
    squares += values[i] * values[i];
  }
  assert_true(below > 49 * n / 100 && below < 51 * n / 100);
  assert_true(repeated < n / 100);
  assert_true(squares > 0.3 * (double)n && squares < 0.5 * (double)n);
}

/* All of an array that is longer than what was drawn. */
static void operands_are_random(void **state) {
  enum { N = 700000, ROW = 1024 };
  device_t *device;
  real_t *array;
  SCOPED_MEMORY float *values = NULL, *halves = NULL;
  (void)state;
  assert_int_equal(cpu_create(1, NULL, &device), STATUS_OK);
  assert_int_equal(real_alloc(device, ARENA_OTHER, N, &array), STATUS_OK);
  assert_int_equal(memory_alloc(&values, ARENA_OTHER, N, sizeof *values), STATUS_OK);
  assert_int_equal(memory_alloc(&halves, ARENA_OTHER, 2 * N, sizeof *halves), STATUS_OK);
  assert_int_equal(device_fill_random(device, N, array), STATUS_OK);
  assert_int_equal(real_download(device, values, DTYPE_F32, array, N), STATUS_OK);
  assert_int_equal(half_download(device, halves, DTYPE_F32, (const half_t *)array, 2 * N), STATUS_OK);
  check_random(values, N);
  check_random(halves, 2 * N);
  for (int64_t row = 1; row < N / ROW; row++)
    assert_memory_not_equal(values, values + row * ROW, ROW * sizeof *values);
  device_release(device, array);
  device_free(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_format_has_a_peak), cmocka_unit_test(a_slow_device_has_none),
      cmocka_unit_test(operands_are_random), cmocka_unit_test(an_assumed_gpu_counts_its_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
