/* Sequences as cuDNN wants them. */
#include "cuda/attention_cudnn.h"
#include "cuda/kernel.h"

enum { RAGGED_THREADS = 128 };

/* What follows is not of this program, and may not know that it could start before this has ended. */
static __global__ void ragged_kernel(const int32_t *begins, int32_t count, int64_t bound, ragged_t ragged) {
  kernel_wait();
  const int64_t i = (int64_t)blockIdx.x * RAGGED_THREADS + threadIdx.x;
  if (i > bound) return;
  const int32_t begin = begins[i < count ? i : count];
  for (int m = 0; m < RAGGED_MATRICES; m++)
    ragged.offsets[m * ragged.pitch + i] = begin * ragged.strides[m];
  if (i < bound) ragged.lengths[i] = i < count ? begins[i + 1] - begin : 0;
}

status_code_t ragged_write(device_t *device, const sequences_t *sequences, int64_t bound,
                           const ragged_t &ragged) {
  return launch(device, "attention's offsets", launch_over(bound + 1, RAGGED_THREADS, RAGGED_THREADS),
                ragged_kernel, indices(sequences->offsets), sequences->count, bound, ragged);
}
