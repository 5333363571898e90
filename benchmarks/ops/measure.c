#include "measure.h"

#include "perf/perf.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bench_check(status_code_t status) {
  if (status == STATUS_OK) return;
  fprintf(stderr, "bench_ops: %s\n", error_message());
  exit(status_exit(status));
}

bool bench_wants(const bench_t *bench, const char *name) {
  return !bench->filter || strstr(name, bench->filter);
}

double bench_time(bench_t *bench, bench_call_t call, const void *op) {
  double best = INFINITY, start = perf_now();
  call(bench, op);
  for (int calls = 0; calls < 3 || perf_now() - start < bench->seconds; calls++) {
    double before = perf_now();
    call(bench, op);
    double taken = perf_now() - before;
    if (taken < best) best = taken;
  }
  return best;
}

void bench_line(bench_t *bench, const char *name, const char *shape, bench_call_t call, const void *op,
                double flops, double bytes) {
  double seconds = bench_time(bench, call, op);
  printf("%-20s %-34s %10.4f ms", name, shape, seconds * 1e3);
  if (flops > 0.0)
    printf("  %7.1f GFLOP/s %4.0f%%", flops / seconds * 1e-9, 100.0 * flops / seconds / bench->peaks.sgemm);
  if (bytes > 0.0)
    printf("  %6.1f GB/s %4.0f%%", bytes / seconds * 1e-9, 100.0 * bytes / seconds / bench->peaks.stream);
  printf("\n");
  fflush(stdout);
}

void bench_peaks(bench_t *bench) {
  bench_check(cpu_measure_peaks(bench->threads, 1.0, &bench->peaks));
  openblas_set_num_threads(bench->threads);
  printf("%d threads, level %s; sgemm peak (OpenBLAS, %d^3) %.1f GFLOP/s, stream (read) %.1f GB/s\n\n",
         bench->threads, bench->device->detail, CPU_PEAK_SIZE, bench->peaks.sgemm * 1e-9,
         bench->peaks.stream * 1e-9);
}

/* ---- Arrays ---- */

static float *numbers_new(int64_t n) {
  float *values = NULL;
  uint32_t state = 12345;
  bench_check(memory_alloc(&values, ARENA_OTHER, (size_t)n, sizeof *values));
  for (int64_t i = 0; i < n; i++) {
    state = state * 1664525u + 1013904223u;
    values[i] = (float)(state >> 8) * 0x1p-23f - 1.0f;
  }
  return values;
}

real_t *bench_real(bench_t *bench, int64_t n) {
  real_t *real = NULL;
  float *values = numbers_new(n);
  bench_check(real_alloc(bench->device, ARENA_OTHER, (size_t)n, &real));
  bench_check(real_upload(bench->device, real, values, DTYPE_F32, (size_t)n));
  memory_free(values);
  return real;
}

wide_t *bench_wide(bench_t *bench, int64_t n) {
  wide_t *wide = NULL;
  float *values = numbers_new(n);
  bench_check(wide_alloc(bench->device, ARENA_OTHER, (size_t)n, &wide));
  bench_check(wide_upload(bench->device, wide, values, DTYPE_F32, (size_t)n));
  memory_free(values);
  return wide;
}

index_t *bench_index(bench_t *bench, const int32_t *values, int64_t n) {
  index_t *index = NULL;
  bench_check(index_alloc(bench->device, ARENA_OTHER, (size_t)n, &index));
  bench_check(index_upload(bench->device, index, values, (size_t)n));
  return index;
}
