/* Peaks: OpenBLAS for arithmetic, a sum of squares for memory. */
#include "tensor/peaks.h"
#include "tensor/cpu/cpu.h"
#include "tensor/ops.h"

#include "perf/perf.h"

#include <cblas.h>
#include <math.h>

typedef struct {
  device_t *device;
  real_t *a, *b, *c;
  wide_t *x, *sum;
} peaks_arrays_t;

static status_t arrays_fill(peaks_arrays_t *arrays) {
  const int64_t square = (int64_t)CPU_PEAK_SIZE * CPU_PEAK_SIZE;
  const int64_t floats = CPU_PEAK_BYTES / (int64_t)sizeof(float);
  device_t *device = arrays->device;
  real_t **matrices[] = {&arrays->a, &arrays->b, &arrays->c};
  for (int i = 0; i < 3; i++) {
    TRY(real_alloc(device, ARENA_OTHER, (size_t)square, matrices[i]));
    TRY(device_fill_random(device, square, *matrices[i]));
  }
  TRY(wide_alloc(device, ARENA_OTHER, (size_t)floats, &arrays->x));
  TRY(wide_alloc(device, ARENA_OTHER, 1, &arrays->sum));
  TRY(OP(device, fill_wide, &(op_fill_wide_t){.n = floats, .value = 1e-3, .x = arrays->x}));
  return OP(device, fill_wide, &(op_fill_wide_t){.n = 1, .value = 0.0, .x = arrays->sum});
}

static status_t call_sgemm(const peaks_arrays_t *arrays) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, CPU_PEAK_SIZE, CPU_PEAK_SIZE, CPU_PEAK_SIZE, 1.0f,
              (const float *)arrays->a, CPU_PEAK_SIZE, (const float *)arrays->b, CPU_PEAK_SIZE, 0.0f,
              (float *)arrays->c, CPU_PEAK_SIZE);
  return STATUS_OK;
}

static status_t call_stream(const peaks_arrays_t *arrays) {
  return OP(
      arrays->device, sum_squares,
      &(op_sum_squares_t){.n = CPU_PEAK_BYTES / (int64_t)sizeof(float), .x = arrays->x, .sum = arrays->sum});
}

/* Least seconds of one call, after a first one that warms up. */
static status_t least_time(status_t (*call)(const peaks_arrays_t *), const peaks_arrays_t *arrays,
                           double seconds, double *least) {
  *least = INFINITY;
  TRY(call(arrays));
  double start = perf_now();
  for (int calls = 0; calls < 2 || perf_now() - start < seconds; calls++) {
    double before = perf_now();
    TRY(call(arrays));
    double taken = perf_now() - before;
    if (taken < *least) *least = taken;
  }
  return STATUS_OK;
}

static status_t peaks_measure_cpu(peaks_arrays_t *arrays, double seconds, cpu_peaks_t *peaks) {
  double least = 0.0;
  TRY(arrays_fill(arrays));
  TRY(least_time(call_sgemm, arrays, seconds / 2.0, &least));
  peaks->sgemm = 2.0 * pow(CPU_PEAK_SIZE, 3.0) / least;
  TRY(least_time(call_stream, arrays, seconds / 2.0, &least));
  peaks->stream = (double)CPU_PEAK_BYTES / least;
  return STATUS_OK;
}

status_t cpu_measure_peaks(int threads, double seconds, cpu_peaks_t *peaks) {
  peaks_arrays_t arrays = {0};
  TRY(cpu_create(threads, NULL, &arrays.device));
  openblas_set_num_threads(threads);
  status_code_t status = peaks_measure_cpu(&arrays, seconds, peaks);
  void *all[] = {arrays.a, arrays.b, arrays.c, arrays.x, arrays.sum};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    device_release(arrays.device, all[i]);
  device_free(arrays.device);
  return status;
}

const char *cpu_blas_version(void) {
  return openblas_get_config();
}
