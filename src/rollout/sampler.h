/* Draws the next token of each row: Gumbel-max with noise keyed by (seed, sample, position, token id), so
 * that it does not depend on how the vocabulary is split, with temperature, top-k and top-p. */
#ifndef ROLLOUT_SAMPLER_H
#define ROLLOUT_SAMPLER_H

#include "model/pass.h"
#include "text/tokenizer.h"

typedef struct {
  double temperature; /* above 0; ignored where greedy */
  double top_p;       /* 1: off */
  int32_t top_k;      /* 0: off */
  bool greedy;
  uint64_t seed;
  const token_range_t *drawable; /* (ranges), ascending: the ids that may be drawn; NULL: all */
  int32_t ranges;
} sampler_options_t;

typedef struct sampler sampler_t;

/* For at most MOST_ROWS rows at once. Free with sampler_free. Local. */
status_t sampler_create(pass_t *pass, device_t *device, const grid_t *grid, const base_t *base,
                        const sampler_options_t *options, int32_t most_rows, sampler_t **out);
void sampler_free(sampler_t *sampler);

/* For ROWS (n) of the last pass: TOKENS (n) drawn for sample SAMPLES[i] at response position POSITIONS[i],
 * and their LOGPROBS (n) and ENTROPIES (n) under the whole temperature-scaled distribution (what the training
 * forward computes). As Hugging Face's order: temperature, top-k (ties kept), top-p (the smallest set of mass
 * >= top_p), each over the ids that may be drawn. Greedy: scale 1. Collective on tp; the same on all its
 * ranks. */
status_t sampler_draw(sampler_t *sampler, int32_t n, const int32_t *rows, const int64_t *samples,
                      const int32_t *positions, int32_t *tokens, double *logprobs, double *entropies);

/* The bucket walk of a radix selection, one row: HISTOGRAM (256) of a measure by bucket, buckets from the
 * top; *REACHED is what lies above so far, in and out. Returns the bucket in which the measure reaches TARGET
 * (the lowest that is not empty if it never does). */
int32_t sampler_walk(const double *histogram, double target, double *reached);

#endif
