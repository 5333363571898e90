/* The suite of operations on the cuda device with its kernels run by the host (host/cuda_runtime.h). */
#include "cuda/cuda.h"
#include "tensor/op_suite.h"

#include <stdio.h>

/* Cases of operations that have no kernel yet, or one that only a GPU can run. */
static const char *const left_out[] = {"linear_nf4",
                                       "decode_begin",
                                       "decode_advance",
                                       "vocab_statistics",
                                       "vocab_infinities",
                                       "vocab_ties",
                                       "vocab_backward",
                                       "sample",
                                       "sample_cut",
                                       "vocab_histogram",
                                       "vocab_walk",
                                       "policy_loss",
                                       "policy_loss_overflow",
                                       "value_loss",
                                       "pair_loss",
                                       NULL};

static int run(dtype_t real_type, op_suite_tolerances_t tolerances) {
  device_t *device = NULL;
  const cuda_options_t options = {.real_type = real_type, .node_size = 1, .check = true};
  if (cuda_create(&options, &device) != STATUS_OK) {
    printf("%s\n", error_message());
    return 1;
  }
  int failed = op_suite_run_but(device, tolerances, left_out);
  device_free(device);
  return failed;
}

/* Tolerances: tests/cuda/test_cuda_ops.c. */
int main(void) {
  return run(DTYPE_F32, (op_suite_tolerances_t){.forward = 1e-5, .gradient = 1e-4}) +
         run(DTYPE_BF16, (op_suite_tolerances_t){.forward = 1e-2, .gradient = 2e-2, .parts = 1.5e-2});
}
