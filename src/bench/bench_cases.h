/* What task bench measures, and what came out. */
#ifndef BENCH_BENCH_CASES_H
#define BENCH_BENCH_CASES_H

#include "bench/bench_ops.h"
#include "model/pass.h"
#include "session/session.h"
#include "tensor/peaks.h"

enum { BENCH_CASES_MAX = 8, BENCH_NAME_MAX = 48 };

/* Per repetition and rank, of the fastest repetition. */
typedef struct {
  char name[BENCH_NAME_MAX];
  double seconds;                    /* of the slowest rank */
  double tokens;                     /* of all dp groups */
  double flops;                      /* recomputation is not work */
  double bytes;                      /* of the operations (tensor/op_cost.h) */
  double joules;                     /* of all ranks' devices, the mean of all repetitions; 0: not known */
  op_time_t operations[TIMED_COUNT]; /* of one further repetition */
  double operation_seconds;          /* that repetition, all in all */
} bench_case_t;

typedef struct {
  double weights;       /* of the decoder */
  char format[8];       /* of its projections where they are frozen: "f32", "bf16", "nf4" */
  device_peaks_t peaks; /* per rank: the best measured before, between and after */
  double initialise_seconds;
  int32_t count;
  bench_case_t cases[BENCH_CASES_MAX];
} bench_result_t;

/* Measures everything. Collective on the grid's world. */
status_t bench_measure(session_t *session, bench_result_t *result);

/* Rank 0 logs the tables and writes bench.json; other ranks do nothing. Local. */
status_t bench_report(const session_t *session, const bench_result_t *result);

#endif
