/* Samples of a step whose tokens are all on one rank. */
#ifndef TESTS_PPO_ONE_RANK_H
#define TESTS_PPO_ONE_RANK_H

#include "ppo/ppo_math.h"

enum { ONE_RANK_SAMPLES = 16 };

typedef struct {
  int32_t count, lengths[ONE_RANK_SAMPLES], which[ONE_RANK_SAMPLES];
  double sums[ONE_RANK_SAMPLES * PPO_SAMPLE_SUMS];
} one_rank_t;

static inline status_t one_rank_add(void *context, const double *rows, int32_t columns, double *sums) {
  const one_rank_t *rank = context;
  for (int32_t c = 0; c < columns; c++) {
    sums[c] = 0.0;
    for (int32_t k = 0; k < rank->count; k++)
      sums[c] += rows[k * columns + c];
  }
  return STATUS_OK;
}

/* Gives SAMPLES, whose offsets (COUNT + 1) are there, what else they need; RANK lives as long. */
static inline void one_rank(one_rank_t *rank, int32_t count, ppo_samples_t *samples) {
  rank->count = samples->samples = samples->count = count;
  for (int32_t s = 0; s < count; s++) {
    rank->which[s] = s;
    rank->lengths[s] = (int32_t)(samples->offsets[s + 1] - samples->offsets[s]);
  }
  samples->which = rank->which;
  samples->lengths = rank->lengths;
  samples->sums = rank->sums;
  samples->adder = (ppo_adder_t){one_rank_add, rank};
}

#endif
