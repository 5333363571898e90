/* The whole model in float on every device of this machine against plain double: cpu at each SIMD level that
 * the processor has, and plain float. */
#include "model/device_compare.h"
#include "mpi_test.h"
#include "tensor/cpu/cpu.h"
#include "tensor/plain/plain.h"

/* Sums of a few hundred float products each. */
static const device_tolerances_t tolerances = {
    .forward = 1e-5, .loss = 1e-5, .gradient = 1e-4, .small = 1e-2};

static void test_recomputed(void **state) {
  device_t *device;
  (void)state;
  assert_ok(cpu_create(2, NULL, &device));
  device_compare_recomputed(mpi_test_world(), device);
  assert_ok(plain_create(PLAIN_DOUBLE, true, &device));
  device_compare_recomputed(mpi_test_world(), device);
}

/* A level that this processor lacks is skipped; the generic one is always there. */
static void check_level(const char *level, bool always) {
  device_t *device;
  status_code_t status = cpu_create(2, level, &device);
  if (status == STATUS_INPUT && !always) {
    error_clear();
    skip();
  }
  assert_ok(status);
  device_compare(mpi_test_world(), device, tolerances);
}

static void test_cpu_generic(void **state) {
  (void)state;
  check_level("generic", true);
}

static void test_cpu_avx2(void **state) {
  (void)state;
  check_level("avx2", false);
}

static void test_cpu_avx512(void **state) {
  (void)state;
  check_level("avx512", false);
}

static void test_cpu_amx(void **state) {
  (void)state;
  check_level("amx", false);
}

static void test_plain_float(void **state) {
  (void)state;
  device_t *device;
  assert_ok(plain_create(PLAIN_FLOAT, true, &device));
  device_compare(mpi_test_world(), device, tolerances);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cpu_generic), cmocka_unit_test(test_cpu_avx2),
      cmocka_unit_test(test_cpu_avx512),  cmocka_unit_test(test_cpu_amx),
      cmocka_unit_test(test_plain_float), cmocka_unit_test(test_recomputed),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
