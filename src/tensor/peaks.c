#include "tensor/peaks.h"

#include "perf/perf.h"
#include "tensor/ops.h"

enum { TRIES = 3 };

/* Seconds of an operation, the least of a few tries. Past the counters: this is no work. */
static status_t least_seconds(device_t *device, op_number_t number, const void *arguments, double *least) {
  for (int t = 0; t <= TRIES; t++) {
    TRY(device_synchronize(device));
    double begin = perf_now();
    TRY(device->run(device, number, arguments));
    TRY(device_synchronize(device));
    double seconds = perf_now() - begin;
    if (t == 1 || seconds < *least) *least = seconds; /* the first one warms up */
  }
  return STATUS_OK;
}

/* The product of two square matrices in the compute type. */
static status_t measure_gemm(device_t *device, real_t *block, device_peaks_t *peaks) {
  const int64_t n = device->peak_matrix;
  double seconds = 0.0;
  TRY(least_seconds(device, op_gemm,
                    &(op_gemm_t){.trans_b = true,
                                 .m = n,
                                 .n = n,
                                 .k = n,
                                 .a = block,
                                 .lda = n,
                                 .b = real_at(device, block, n * n),
                                 .ldb = n,
                                 .c = real_at(device, block, 2 * n * n),
                                 .ldc = n,
                                 .alpha = 1.0},
                    &seconds));
  peaks->flops[device->real_type] = 2.0 * (double)n * (double)n * (double)n / seconds;
  return STATUS_OK;
}

static status_t measure_copy(device_t *device, int64_t n, real_t *block, device_peaks_t *peaks) {
  double seconds = 0.0;
  TRY(least_seconds(device, op_copy, &(op_copy_t){.n = n, .x = block, .y = real_at(device, block, n)},
                    &seconds));
  peaks->bytes = 2.0 * (double)n * (double)dtype_size(device->real_type) / seconds;
  return STATUS_OK;
}

status_t device_measure_peaks(device_t *device, int64_t elements, device_peaks_t *peaks) {
  const int64_t matrices = 3 * device->peak_matrix * device->peak_matrix;
  const int64_t copied = elements > 0 ? elements : device->peak_elements;
  const int64_t n = matrices > 2 * copied ? matrices : 2 * copied;
  real_t *block;
  *peaks = (device_peaks_t){0};
  if (device->peak_matrix == 0) return STATUS_OK;
  TRY(real_alloc(device, ARENA_SCRATCH, (size_t)n, &block));
  status_code_t status = OP(device, fill_real, &(op_fill_real_t){.n = n, .value = 0.5, .x = block});
  if (status == STATUS_OK) status = measure_gemm(device, block, peaks);
  if (status == STATUS_OK && device->measure_peaks) status = device->measure_peaks(device, peaks);
  if (status == STATUS_OK) status = measure_copy(device, copied, block, peaks);
  device_release(device, block);
  return status;
}
