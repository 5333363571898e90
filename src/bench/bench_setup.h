/* What task bench works with: a random decoder, a batch of random tokens, a cache to decode with. */
#ifndef BENCH_BENCH_SETUP_H
#define BENCH_BENCH_SETUP_H

#include "bench/bench_cases.h"
#include "rollout/decoding.h"
#include "train/optimizer.h"

typedef struct {
  session_t *session;
  bench_result_t *result;
  base_t base;
  base_storage_t storage; /* of it */
  adapter_t adapter;
  pass_t *pass;
  role_t role; /* its base is NULL as long as there is none */
  optimizer_t *optimizer;
  packed_t packed;
  int32_t *rows, *targets; /* (T - B): each token but the last of a sequence predicts the next */
  int32_t predictions;
  cache_t cache;
  sampler_t *sampler;
  int32_t max_pages;
  decoding_t decoding;
  int32_t *pages;  /* (B, max_pages) */
  int32_t *which;  /* (B): 0, 1, 2, ... */
  int32_t *slots;  /* (T): of the prompts */
  int32_t decoded; /* sequences that are decoded at once */
} bench_t;

/* Nothing yet but a pass. End it with bench_take_down, whether it succeeds or not. Local. */
status_t bench_set_up(session_t *session, bench_result_t *result, bench_t *bench);
void bench_take_down(bench_t *bench);

/* A base of the settings' sizes in which all weights can be TRAINED, or else kept as model.base_format and
 * parallel.dtype say; the one that is there where it is such a one. There is no adapter or cache on it.
 * Local. */
status_t bench_set_base(bench_t *bench, bool trained);
/* How its projections are kept: "f32", "bf16", "nf4". */
const char *bench_format_name(const bench_t *bench);

/* An optimiser of PARAMS in place of what is there; NULL: none. Collective on dp. */
status_t bench_set_optimizer(bench_t *bench, params_t *params);

/* SEQUENCES of LENGTH random tokens as the batch, others on each dp group. Local. */
status_t bench_set_batch(bench_t *bench, int64_t sequences, int64_t length);

/* An empty cache for the batch and bench.decode_tokens behind each of its sequences, and what decodes with
 * it. Local. */
status_t bench_set_cache(bench_t *bench);
void bench_free_cache(bench_t *bench);

#endif
