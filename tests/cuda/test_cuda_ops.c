/* The suite of operations on a GPU, in both compute types. */
#include "cuda/cuda.h"
#include "tensor/op_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { SKIPPED = 77 };

static int run(const char *what, dtype_t real_type, op_suite_tolerances_t tolerances) {
  device_t *device = NULL;
  const cuda_options_t options = {
      .real_type = real_type, .node_size = 1, .deterministic = true, .check = true};
  if (cuda_create(&options, &device) != STATUS_OK) {
    printf("%s\n", error_message());
    return 1;
  }
  printf("%s on %s\n", what, device->detail);
  int failed = op_suite_run(device, tolerances);
  device_free(device);
  return failed;
}

/* [PATTERN]: of the suite's tests those whose names match. */
int main(int argc, char **argv) {
  if (cuda_count() == 0) {
    printf("skipped: no GPU\n");
    return SKIPPED;
  }
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  int failed = run("f32", DTYPE_F32, (op_suite_tolerances_t){.forward = 1e-5, .gradient = 1e-4});
  /* A result is rounded to 8 bits: 2^-9 of the largest. What is rounded on the way (probabilities, u of an
   * adapter, a gated activation) adds as much or a little more; gradients subtract nearly equal sums of such.
   */
  failed +=
      run("bf16", DTYPE_BF16, (op_suite_tolerances_t){.forward = 1e-2, .gradient = 2e-2, .parts = 1.5e-2});
  return failed;
}
