/* Timing of operations and the peaks that they are held against. */
#ifndef BENCHMARKS_OPS_MEASURE_H
#define BENCHMARKS_OPS_MEASURE_H

#include "tensor/op_cost.h"
#include "tensor/ops.h"

enum { BENCH_BLOCKS = 512, BENCH_SHAPE_MAX = 64 };

typedef struct {
  device_t *device;
  int threads;               /* of device cpu */
  bool large;                /* the shapes of a model of 7B parameters, with arrays that no cache holds */
  const char *filter;        /* only cases whose name contains it; NULL: all */
  double seconds;            /* measured per case */
  double flops, bytes;       /* the peaks per second; 0: not known */
  real_t *pattern;           /* what arrays are filled with */
  void *block[BENCH_BLOCKS]; /* of the case, on the device; host memory in the second list */
  void *host[BENCH_BLOCKS];
  int blocks, hosts;
  uint64_t key; /* of the last case that was replayed */
} bench_t;

/* One operation of one shape. MAKE fills in the arguments (SIZE bytes, all 0 before) with arrays of their
 * own, from OF, whatever that is; it is called several times where a cache would hold one set of arrays. */
typedef struct {
  const char *name;
  char shape[BENCH_SHAPE_MAX];
  op_number_t number;
  size_t size;
  void (*make)(bench_t *bench, const void *of, void *arguments);
  const void *of;
  double flops; /* 0: as the program counts them (tensor/op_cost.h) */
} bench_case_t;

/* The case of operation NAME (op_NAME_t); then the format of its shape, with arguments. */
#define BENCH_CASE(bench, text, name, make, of, ...)                                                         \
  do {                                                                                                       \
    bench_case_t case_ = {text, "", op_##name, sizeof(op_##name##_t), make, of, 0.0};                        \
    snprintf(case_.shape, sizeof case_.shape, __VA_ARGS__);                                                  \
    bench_measure(bench, &case_);                                                                            \
  } while (0)

/* Ends the program with the error's message unless STATUS is OK. */
void bench_check(status_code_t status);

/* True where the case NAME is to be measured. */
bool bench_wants(const bench_t *bench, const char *name);

/* Least seconds of CALL over bench->seconds of calls after a first one. */
double bench_time(bench_t *bench, void (*call)(bench_t *bench, const void *op), const void *op);

/* Measures the case, if it is wanted, and prints a line: name, shape, time, B/s, FLOP/s, each with its share
 * of the peak. On a device that works behind the host many calls are measured together, replayed as one where
 * it can. What was made for the case is released. */
void bench_measure(bench_t *bench, const bench_case_t *c);

/* A line of numbers that were measured. */
void bench_print(const bench_t *bench, const char *name, const char *shape, double seconds, op_cost_t cost);

/* Measures and prints the peaks. */
void bench_peaks(bench_t *bench);

/* Arrays of N numbers in -1 .. 1 on the device, which live as long as the case. */
real_t *bench_real(bench_t *bench, int64_t n);
wide_t *bench_wide(bench_t *bench, int64_t n);
half_t *bench_half(bench_t *bench, int64_t n);
/* The integers VALUES; or FIRST, FIRST + STEP, ... modulo PERIOD. */
index_t *bench_index(bench_t *bench, const int32_t *values, int64_t n);
index_t *bench_count(bench_t *bench, int64_t n, int32_t first, int32_t step, int32_t period);
/* BYTES of the host's memory, all 0, which live as long. */
void *bench_host(bench_t *bench, size_t bytes);
/* Ends the life of all of these. */
void bench_release(bench_t *bench);

/* The cases. */
void bench_gemm(bench_t *bench); /* beside OpenBLAS: device cpu only */
void bench_linear(bench_t *bench);
void bench_elementwise(bench_t *bench);
void bench_attention(bench_t *bench);
void bench_vocab(bench_t *bench);

#endif
