/* The suite of operations on the cuda device with its kernels run by the host (host/cuda_runtime.h). */
#include "cuda/cuda.h"
#include "tensor/op_suite.h"

#include <stdio.h>

static int run(dtype_t real_type, bool measured, op_suite_tolerances_t tolerances) {
  device_t *device = NULL;
  const cuda_options_t options = {
      .real_type = real_type, .node_size = 1, .check = true, .measured = measured};
  if (cuda_create(&options, &device) != STATUS_OK) {
    printf("%s\n", error_message());
    return 1;
  }
  int failed = op_suite_run(device, tolerances);
  device_free(device);
  return failed;
}

/* Tolerances: tests/cuda/test_cuda_ops.c. */
int main(void) {
  const op_suite_tolerances_t half = {.forward = 1e-2, .gradient = 2e-2, .parts = 1.5e-2};
  return run(DTYPE_F32, false, (op_suite_tolerances_t){.forward = 1e-5, .gradient = 1e-4}) +
         run(DTYPE_BF16, false, half) + run(DTYPE_BF16, true, half);
}
