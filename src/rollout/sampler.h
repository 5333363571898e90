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

/* For at most MOST_ROWS rows at once. Errors: STATUS_INPUT where the ids that may be drawn are more than
 * VOCAB_RANGES runs. Free with sampler_free. Local. */
status_t sampler_create(pass_t *pass, device_t *device, const grid_t *grid, const base_t *base,
                        const sampler_options_t *options, int32_t most_rows, sampler_t **out);
void sampler_free(sampler_t *sampler);

/* For ROWS (n) of the last pass: TOKENS (n) drawn for the samples SAMPLES (n, 2: low and high word) at
 * response positions POSITIONS (n), and their LOGPROBS (n) and ENTROPIES (n) under the whole
 * temperature-scaled distribution (what the training forward computes, to the bit). All are device memory;
 * nothing is copied between host and device, and nothing is waited for. Any n: rows are taken as many at a
 * time as there is room for. Row -1 is padding: it may hold any sample and position, and any numbers come
 * out. Token -1: the row's logits are not finite, which is for the caller to find. As Hugging Face's order:
 * temperature, top-k (ties kept), top-p (the smallest set of mass >= top_p), each over the ids that may be
 * drawn. Greedy: scale 1. Collective on tp; the same on all its ranks. */
status_t sampler_draw(sampler_t *sampler, int64_t n, const index_t *rows, const index_t *samples,
                      const index_t *positions, index_t *tokens, wide_t *logprobs, wide_t *entropies);

#endif
