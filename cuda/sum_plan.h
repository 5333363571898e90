/* How sums over the rows of a matrix are divided: by the sizes alone, so that the same bits come every time.
 * Plain C, without CUDA: tested on the host. */
#ifndef CUDA_SUM_PLAN_H
#define CUDA_SUM_PLAN_H

#include <stdint.h>

enum { SUM_CHUNKS_MOST = 128, SUM_CHUNK_ROWS = 64 };

/* Of ROWS rows, those r with r % PERIOD == p are summed, in CHUNKS runs of CHUNK of them. */
typedef struct {
  int64_t chunk;
  int32_t chunks;
} sum_plan_t;

static inline sum_plan_t sum_plan(int64_t rows, int64_t period) {
  int64_t each = (rows + period - 1) / period, chunks = (each + SUM_CHUNK_ROWS - 1) / SUM_CHUNK_ROWS;
  sum_plan_t plan;
  if (chunks > SUM_CHUNKS_MOST) chunks = SUM_CHUNKS_MOST;
  if (chunks < 1) chunks = 1;
  plan.chunk = (each + chunks - 1) / chunks;
  plan.chunks = (int32_t)(plan.chunk > 0 ? (each + plan.chunk - 1) / plan.chunk : 1);
  if (plan.chunks < 1) plan.chunks = 1;
  return plan;
}

#endif
