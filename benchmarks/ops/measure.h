/* Timing of operations and the peaks that they are held against. */
#ifndef BENCHMARKS_OPS_MEASURE_H
#define BENCHMARKS_OPS_MEASURE_H

#include "tensor/cpu/cpu.h"
#include "tensor/ops.h"

typedef struct {
  device_t *device;
  int threads;
  const char *filter; /* only cases whose name contains it; NULL: all */
  double seconds;     /* measured per case */
  cpu_peaks_t peaks;
} bench_t;

/* One call of what is measured; ends the program with a message where it fails. */
typedef void (*bench_call_t)(bench_t *bench, const void *op);

/* Ends the program with the error's message unless STATUS is OK. */
void bench_check(status_code_t status);

/* True where the case NAME is to be measured. */
bool bench_wants(const bench_t *bench, const char *name);

/* Least seconds of one call over bench->seconds of calls after a first one. */
double bench_time(bench_t *bench, bench_call_t call, const void *op);

/* Measures CALL and prints a line: name, shape, time, FLOP/s and share of the sgemm peak (where FLOPS > 0),
 * B/s and share of the stream (where BYTES > 0). */
void bench_line(bench_t *bench, const char *name, const char *shape, bench_call_t call, const void *op,
                double flops, double bytes);

/* Measures and prints the two peaks. */
void bench_peaks(bench_t *bench);

/* Arrays of N numbers in -1 .. 1 on the device. */
real_t *bench_real(bench_t *bench, int64_t n);
wide_t *bench_wide(bench_t *bench, int64_t n);
index_t *bench_index(bench_t *bench, const int32_t *values, int64_t n);

/* The cases. */
void bench_gemm(bench_t *bench);
void bench_weights(bench_t *bench);
void bench_elementwise(bench_t *bench);
void bench_attention(bench_t *bench);
void bench_vocab(bench_t *bench);

#endif
