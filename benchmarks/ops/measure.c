#include "measure.h"

#include "perf/perf.h"
#include "tensor/cpu/cpu.h"
#include "tensor/peaks.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of the pattern; sets of arrays of a case, and the bytes that all of them have together so that no
 * cache holds them; calls that are measured together. */
enum { PATTERN = 1 << 20, SETS_MOST = 16, SETS_BYTES = 384 << 20, CALLS_MOST = 400, LEAST_TRIES = 5 };
static const double together_seconds = 0.01;

void bench_check(status_code_t status) {
  if (status == STATUS_OK) return;
  fprintf(stderr, "bench_ops: %s\n", error_message());
  exit(status_exit(status));
}

bool bench_wants(const bench_t *bench, const char *name) {
  return !bench->filter || strstr(name, bench->filter);
}

/* ---- Timing ---- */

double bench_time(bench_t *bench, void (*call)(bench_t *bench, const void *op), const void *op) {
  double best = INFINITY, start = perf_now();
  call(bench, op);
  for (int calls = 0; calls < LEAST_TRIES || perf_now() - start < bench->seconds; calls++) {
    double before = perf_now();
    call(bench, op);
    best = fmin(best, perf_now() - before);
  }
  return best;
}

/* The calls that are measured together, each set of arguments in turn. */
typedef struct {
  bench_t *bench;
  const bench_case_t *c;
  char *arguments; /* (sets, size) */
  int sets, calls;
} calls_t;

static status_t calls_body(void *context) {
  const calls_t *calls = context;
  for (int i = 0; i < calls->calls; i++)
    TRY(device_run(calls->bench->device, (int)calls->c->number,
                   calls->arguments + (size_t)(i % calls->sets) * calls->c->size));
  return STATUS_OK;
}

static void calls_once(bench_t *bench, const void *context) {
  bench_check(device_graph(bench->device, bench->key, calls_body, (void *)(uintptr_t)context));
  bench_check(device_synchronize(bench->device));
}

/* How many of them: all sets, and enough to hide what waiting for them takes. */
static int calls_together(calls_t *calls) {
  device_t *device = calls->bench->device;
  if (!device_works_behind(device)) return calls->sets;
  double before = 0.0;
  for (int i = 0; i < 2; i++) { /* the first one warms up */
    before = perf_now();
    bench_check(calls_body(calls));
    bench_check(device_synchronize(device));
  }
  double wanted = together_seconds / ((perf_now() - before) / calls->calls);
  if (wanted > CALLS_MOST) wanted = CALLS_MOST;
  return calls->sets * (1 + (int)(wanted / calls->sets));
}

static double calls_seconds(calls_t *calls) {
  calls->calls = calls->sets;
  calls->calls = calls_together(calls);
  calls->bench->key++;
  return bench_time(calls->bench, calls_once, calls) / calls->calls;
}

static int sets_of(const bench_t *bench, double bytes) {
  if (!bench->large || bytes >= SETS_BYTES) return 1;
  double sets = ceil(SETS_BYTES / bytes);
  return sets > SETS_MOST ? SETS_MOST : (int)sets;
}

void bench_measure(bench_t *bench, const bench_case_t *c) {
  if (!bench_wants(bench, c->name)) return;
  calls_t calls = {bench, c, bench_host(bench, SETS_MOST * c->size), 1, 1};
  c->make(bench, c->of, calls.arguments);
  op_cost_t cost = op_cost(bench->device, c->number, calls.arguments);
  if (c->flops > 0.0) cost.flops = c->flops;
  calls.sets = sets_of(bench, cost.bytes);
  for (int s = 1; s < calls.sets; s++)
    c->make(bench, c->of, calls.arguments + (size_t)s * c->size);
  bench_print(bench, c->name, c->shape, calls_seconds(&calls), cost);
  bench_release(bench);
}

/* ---- Lines ---- */

static void print_rate(double rate, double unit, const char *name, double peak) {
  printf("  %8.1f %s", rate / unit, name);
  if (peak > 0.0) printf(" %4.0f%%", 100.0 * rate / peak);
}

void bench_print(const bench_t *bench, const char *name, const char *shape, double seconds, op_cost_t cost) {
  const double tera = 1e12, giga = 1e9;
  printf("%-20s %-40s %10.4f ms", name, shape, seconds * 1e3);
  print_rate(cost.bytes / seconds, giga, "GB/s", bench->bytes);
  if (cost.flops > 0.0 && bench->flops > tera)
    print_rate(cost.flops / seconds, tera, "TFLOP/s", bench->flops);
  else if (cost.flops > 0.0)
    print_rate(cost.flops / seconds, giga, "GFLOP/s", bench->flops);
  printf("\n");
  fflush(stdout);
}

/* OpenBLAS is what device cpu is held against, with the kernels that it takes for this processor: of one that
 * is newer than it, those for an old one, unless OPENBLAS_CORETYPE says better. */
static void peaks_of_cpu(bench_t *bench) {
  cpu_peaks_t peaks;
  bench_check(cpu_measure_peaks(bench->threads, 1.0, &peaks));
  openblas_set_num_threads(bench->threads);
  bench->flops = peaks.sgemm;
  bench->bytes = peaks.stream;
  printf("cpu, %d threads, level %s; sgemm peak (OpenBLAS for %s, %d^3) %.1f GFLOP/s, stream (read) %.1f "
         "GB/s\n\n",
         bench->threads, bench->device->detail, openblas_get_corename(), CPU_PEAK_SIZE, peaks.sgemm * 1e-9,
         peaks.stream * 1e-9);
}

void bench_peaks(bench_t *bench) {
  device_peaks_t peaks;
  if (strcmp(bench->device->name, "cpu") == 0) {
    peaks_of_cpu(bench);
    return;
  }
  bench_check(device_measure_peaks(bench->device, 0, &peaks));
  bench_check(device_measure_formats(bench->device, &peaks));
  bench->flops = peaks.flops[WEIGHT_REAL];
  bench->bytes = peaks.bytes;
  printf("%s (%s); products %.1f GFLOP/s (with weights in NF4 %.1f), stream (copy) %.1f GB/s\n\n",
         bench->device->name, bench->device->detail, bench->flops * 1e-9, peaks.flops[WEIGHT_NF4] * 1e-9,
         bench->bytes * 1e-9);
}

/* ---- Arrays ---- */

static void *block_keep(bench_t *bench, void *block) {
  if (bench->blocks == BENCH_BLOCKS) {
    fprintf(stderr, "bench_ops: a case has more than %d arrays\n", BENCH_BLOCKS);
    exit(1);
  }
  bench->block[bench->blocks++] = block;
  return block;
}

void *bench_host(bench_t *bench, size_t bytes) {
  void *block = calloc(1, bytes);
  if (!block || bench->hosts == BENCH_BLOCKS) {
    fprintf(stderr, "bench_ops: no %zu bytes of memory on the host\n", bytes);
    exit(1);
  }
  return bench->host[bench->hosts++] = block;
}

void bench_release(bench_t *bench) {
  while (bench->blocks > 0)
    device_release(bench->device, bench->block[--bench->blocks]);
  while (bench->hosts > 0)
    free(bench->host[--bench->hosts]);
}

static float *numbers_new(bench_t *bench, int64_t n) {
  float *values = bench_host(bench, (size_t)n * sizeof *values);
  uint32_t state = 12345;
  for (int64_t i = 0; i < n; i++) {
    state = state * 1664525u + 1013904223u;
    values[i] = (float)(state >> 8) * 0x1p-23f - 1.0f;
  }
  return values;
}

static const real_t *pattern_of(bench_t *bench) {
  if (bench->pattern) return bench->pattern;
  const float *values = numbers_new(bench, PATTERN);
  bench_check(real_alloc(bench->device, ARENA_OTHER, PATTERN, &bench->pattern));
  bench_check(real_upload(bench->device, bench->pattern, values, DTYPE_F32, PATTERN));
  return bench->pattern;
}

static int64_t pattern_part(int64_t n, int64_t done) {
  return n - done < PATTERN ? n - done : PATTERN;
}

real_t *bench_real(bench_t *bench, int64_t n) {
  device_t *device = bench->device;
  const real_t *pattern = pattern_of(bench);
  real_t *real = NULL;
  bench_check(real_alloc(device, ARENA_OTHER, (size_t)n, &real));
  for (int64_t i = 0; i < n; i += PATTERN)
    bench_check(
        OP(device, copy, &(op_copy_t){.n = pattern_part(n, i), .x = pattern, .y = real_at(device, real, i)}));
  return block_keep(bench, real);
}

wide_t *bench_wide(bench_t *bench, int64_t n) {
  device_t *device = bench->device;
  const real_t *pattern = pattern_of(bench);
  wide_t *wide = NULL;
  bench_check(wide_alloc(device, ARENA_OTHER, (size_t)n, &wide));
  for (int64_t i = 0; i < n; i += PATTERN)
    bench_check(OP(device, widen,
                   &(op_widen_t){.n = pattern_part(n, i), .from = pattern, .to = wide_at(device, wide, i)}));
  return block_keep(bench, wide);
}

half_t *bench_half(bench_t *bench, int64_t n) {
  const arena_t arena = ARENA_OTHER;
  void *half = NULL;
  const float *values = numbers_new(bench, n);
  bench_check(device_alloc(bench->device, &arena, (size_t)n * dtype_size(DTYPE_BF16), &half));
  bench_check(half_upload(bench->device, half, values, DTYPE_F32, (size_t)n));
  return block_keep(bench, half);
}

index_t *bench_index(bench_t *bench, const int32_t *values, int64_t n) {
  index_t *index = NULL;
  bench_check(index_alloc(bench->device, ARENA_OTHER, (size_t)n, &index));
  bench_check(index_upload(bench->device, index, values, (size_t)n));
  return block_keep(bench, index);
}

index_t *bench_count(bench_t *bench, int64_t n, int32_t first, int32_t step, int32_t period) {
  int32_t *values = bench_host(bench, (size_t)n * sizeof *values);
  for (int64_t i = 0; i < n; i++)
    values[i] = (int32_t)((first + i * step) % period);
  return bench_index(bench, values, n);
}
