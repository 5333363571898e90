/* The suite of operations on a GPU, in both compute types. */
#include "cuda/cuda.h"
#include "tensor/op_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SKIPPED = 77 };

static int run(const char *what, cuda_options_t options, op_suite_tolerances_t tolerances) {
  device_t *device = NULL;
  options.node_size = 1;
  options.deterministic = true;
  options.check = true;
  if (cuda_create(&options, &device) != STATUS_OK) {
    printf("%s\n", error_message());
    return 1;
  }
  printf("%s on %s\n", what, device->detail);
  int failed = op_suite_run(device, tolerances);
  device_free(device);
  return failed;
}

/* Attention by cuDNN, in builds that have it, where the library is. */
static int run_cudnn(const char *pattern, op_suite_tolerances_t tolerances) {
  char versions[320];
  cuda_version(versions, sizeof versions);
  if (strstr(versions, "cuDNN 9.") == NULL) {
    printf("not with cuDNN: %s\n", versions);
    return 0;
  }
  cmocka_set_test_filter(pattern);
  return run("bf16, attention by cuDNN", (cuda_options_t){.real_type = DTYPE_BF16, .cudnn = true},
             tolerances);
}

/* [PATTERN]: of the suite's tests those whose names match. */
int main(int argc, char **argv) {
  if (cuda_count() == 0) {
    printf("skipped: no GPU\n");
    return SKIPPED;
  }
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  const op_suite_tolerances_t f32 = {.forward = 1e-5, .gradient = 1e-4};
  /* A linear operation has another order of sums than the product that its parts are compared with. */
  const op_suite_tolerances_t f32_invariant = {.forward = 1e-5, .gradient = 1e-4, .parts = 1e-5};
  /* A result is rounded to 8 bits: 2^-9 of the largest. What is rounded on the way (probabilities, u of an
   * adapter, a gated activation) adds as much or a little more; gradients subtract nearly equal sums of such.
   */
  const op_suite_tolerances_t bf16 = {.forward = 1e-2, .gradient = 2e-2, .parts = 1.5e-2};
  int failed = run("f32", (cuda_options_t){.real_type = DTYPE_F32}, f32);
  failed += run("bf16", (cuda_options_t){.real_type = DTYPE_BF16}, bf16);
  failed += run("f32, batch-invariant", (cuda_options_t){.real_type = DTYPE_F32, .batch_invariant = true},
                f32_invariant);
  failed +=
      run("bf16, batch-invariant", (cuda_options_t){.real_type = DTYPE_BF16, .batch_invariant = true}, bf16);
  return failed + run_cudnn(argc > 1 ? argv[1] : "attention*", bf16);
}
