/* One prefill pass: the sequences that it is made of, and their way into the cache. */
#ifndef ROLLOUT_PREFILL_H
#define ROLLOUT_PREFILL_H

#include "model/cache.h"
#include "rollout/generator.h"
#include "rollout/places.h"
#include "tensor/packed.h"

/* A source may reuse its memory, so all is copied. */
typedef struct {
  memory_pool_t pool;
  const model_config_t *config;
  int32_t most, n;          /* sequences */
  int64_t tokens;           /* positions at most, where there are several sequences */
  int64_t positions;        /* so far */
  packed_source_t *sources; /* (most) */
  int32_t *places, *rows;   /* (most): of the all; the hidden state that is drawn from */
  float *features;          /* (images, P * vision hidden) */
  int32_t images;
  packed_t packed;
} prefill_t;

/* For at most MOST sequences of CONFIG's model and, if there are several, TOKENS positions. PREFILL is zero
 * but for the arena of its pool. Free with prefill_free, also after an error. Local. */
status_t prefill_create(const model_config_t *config, int32_t most, int64_t tokens, prefill_t *prefill);
void prefill_free(prefill_t *prefill);

/* Whether one of LENGTH positions may be added. Local. */
bool prefill_has_room(const prefill_t *prefill, int32_t length);

/* PROMPT and the DRAWN tokens RESPONSE behind it, which belong to place PLACE. Local. */
status_t prefill_add(prefill_t *prefill, int32_t place, const generator_prompt_t *prompt, int32_t drawn,
                     const int32_t *response);

/* Runs it under ROLE: keys and values of all positions go to the places' pages. Collective on tp. */
status_t prefill_pass(prefill_t *prefill, pass_t *pass, const role_t *role, cache_t *cache,
                      const places_t *all);

#endif
