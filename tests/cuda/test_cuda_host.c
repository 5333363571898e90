/* The suite of operations on the cuda device with its kernels run by the host (host/cuda_runtime.h). */
#include "cuda/cuda.h"
#include "tensor/op_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* The suite on a device with these OPTIONS; how many tests failed. */
static int run(cuda_options_t options, op_suite_tolerances_t tolerances) {
  device_t *device = NULL;
  options.node_size = 1;
  options.check = true;
  if (cuda_create(&options, &device) != STATUS_OK) {
    printf("%s\n", error_message());
    return 1;
  }
  int failed = op_suite_run(device, tolerances);
  device_free(device);
  return failed;
}

/* What the mode changes. */
static int run_invariant(dtype_t real_type, op_suite_tolerances_t tolerances) {
  static const char *const changed[] = {"*linear*", "half*", "attention*", "cache"};
  int failed = 0;
  for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
    cmocka_set_test_filter(changed[i]);
    failed += run((cuda_options_t){.real_type = real_type, .batch_invariant = true}, tolerances);
  }
  return failed;
}

/* Attention by cuDNN, whose part the host does in loops. */
static int run_cudnn(op_suite_tolerances_t tolerances) {
  cmocka_set_test_filter("attention*");
  return run((cuda_options_t){.real_type = DTYPE_BF16, .cudnn = true}, tolerances);
}

/* Tolerances: tests/cuda/test_cuda_ops.c. */
int main(void) {
  const op_suite_tolerances_t f32 = {.forward = 1e-5, .gradient = 1e-4},
                              f32_invariant = {.forward = 1e-5, .gradient = 1e-4, .parts = 1e-5},
                              bf16 = {.forward = 1e-2, .gradient = 2e-2, .parts = 1.5e-2};
  return run((cuda_options_t){.real_type = DTYPE_F32}, f32) +
         run((cuda_options_t){.real_type = DTYPE_BF16}, bf16) +
         run((cuda_options_t){.real_type = DTYPE_BF16, .measured = true}, bf16) +
         run_invariant(DTYPE_F32, f32_invariant) + run_invariant(DTYPE_BF16, bf16) + run_cudnn(bf16);
}
