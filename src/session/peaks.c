#include "session/peaks.h"

#include "perf/perf.h"
#include "tensor/ops.h"

#include <string.h>

enum { MATRIX = 768, COPY = 1 << 23, TRIES = 3 };

/* Best of a few products of N x N matrices. */
static status_t peaks_measure_gemm(device_t *device, real_t *a, real_t *b, real_t *c, double *flops) {
  const int64_t n = MATRIX;
  for (int t = 0; t <= TRIES; t++) {
    TRY(device_synchronize(device));
    double begin = perf_now();
    /* Past the counters: this is no work. */
    TRY(device->run(device, op_gemm,
                    &(op_gemm_t){.trans_b = true,
                                 .m = n,
                                 .n = n,
                                 .k = n,
                                 .a = a,
                                 .lda = n,
                                 .b = b,
                                 .ldb = n,
                                 .c = c,
                                 .ldc = n,
                                 .alpha = 1.0}));
    TRY(device_synchronize(device));
    double rate = 2.0 * (double)n * (double)n * (double)n / (perf_now() - begin);
    if (t > 0 && rate > *flops) *flops = rate;
  }
  return STATUS_OK;
}

static status_t peaks_measure_copy(device_t *device, int64_t n, const real_t *from, real_t *to,
                                   double *bytes) {
  for (int t = 0; t <= TRIES; t++) {
    TRY(device_synchronize(device));
    double begin = perf_now();
    TRY(device->run(device, op_copy, &(op_copy_t){.n = n, .x = from, .y = to}));
    TRY(device_synchronize(device));
    double rate = 2.0 * (double)n * (double)dtype_size(device->real_type) / (perf_now() - begin);
    if (t > 0 && rate > *bytes) *bytes = rate;
  }
  return STATUS_OK;
}

/* Copies N elements and, unless FLOPS is NULL, multiplies matrices; the plain device is not for speed. */
static status_t peaks_measure_inner(device_t *device, int64_t n, double *flops, double *bytes) {
  const int64_t square = (int64_t)MATRIX * MATRIX;
  real_t *block;
  if (strcmp(device->name, "plain") == 0) return STATUS_OK;
  TRY(real_alloc(device, ARENA_SCRATCH, 2 * (size_t)n, &block));
  status_code_t status = OP(device, fill_real, &(op_fill_real_t){.n = 2 * n, .value = 0.5, .x = block});
  if (status == STATUS_OK && flops)
    status = peaks_measure_gemm(device, block, real_at(device, block, square),
                                real_at(device, block, 2 * square), flops);
  if (status == STATUS_OK) status = peaks_measure_copy(device, n, block, real_at(device, block, n), bytes);
  device_release(device, block);
  return status;
}

status_t peaks_measure(device_t *device, double *flops, double *bytes) {
  *flops = *bytes = 0.0;
  return peaks_measure_inner(device, COPY, flops, bytes);
}

status_t peaks_measure_stream(device_t *device, int64_t elements, double *bytes) {
  *bytes = 0.0;
  return peaks_measure_inner(device, elements, NULL, bytes);
}
