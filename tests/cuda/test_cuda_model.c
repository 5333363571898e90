/* The whole model on a GPU against plain double, in both compute types. */
#include "cuda/cuda.h"
#include "model/device_compare.h"
#include "mpi_test.h"

enum { SKIPPED = 77 };

static device_t *open_device(dtype_t real_type) {
  device_t *device;
  const cuda_options_t options = {
      .real_type = real_type, .node_size = 1, .deterministic = true, .check = true};
  assert_ok(cuda_create(&options, &device));
  return device;
}

static void test_f32(void **state) {
  (void)state;
  device_compare(mpi_test_world(), open_device(DTYPE_F32),
                 (device_tolerances_t){.forward = 1e-5, .loss = 1e-5, .gradient = 1e-4, .small = 1e-2});
}

/* Two layers of about ten roundings to 8 bits each, one behind the other, and weights that are rounded as
 * well: the gradient of a query is the difference of probabilities, of which three bits are left; and the
 * loss is a sum of terms of both signs, smaller than the largest of them. */
static void test_bf16(void **state) {
  (void)state;
  device_compare(mpi_test_world(), open_device(DTYPE_BF16),
                 (device_tolerances_t){.forward = 3e-2, .loss = 6e-2, .gradient = 2.5e-1, .small = 1.0});
}

static void test_recomputed(void **state) {
  (void)state;
  device_compare_recomputed(mpi_test_world(), open_device(DTYPE_F32));
  device_compare_recomputed(mpi_test_world(), open_device(DTYPE_BF16));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_bf16),
                                     cmocka_unit_test(test_recomputed)};
  if (cuda_count() == 0) {
    printf("skipped: no GPU\n");
    return SKIPPED;
  }
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
