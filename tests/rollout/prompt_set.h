/* A few prompts with and without images over the tiny model's vocabulary, as a source for the generator that
 * checks how it is used, and as a collection of the responses. */
#ifndef TESTS_ROLLOUT_PROMPT_SET_H
#define TESTS_ROLLOUT_PROMPT_SET_H

#include "model/tiny.h"
#include "rollout/generator.h"

enum { PROMPTS = 8, PROMPT_MAX = 8, RESPONSE_MAX = 8 };

typedef struct {
  int32_t n;
  int32_t tokens[RESPONSE_MAX];
  double logprobs[RESPONSE_MAX], entropies[RESPONSE_MAX];
  bool stopped;
} response_t;

typedef struct {
  int32_t tokens[PROMPTS][PROMPT_MAX], lengths[PROMPTS];
  int32_t image[PROMPTS]; /* 0 or 1; -1: none */
  float *features;        /* (2, P, vision hidden) */
  size_t per_image;
  int32_t together;     /* so many prompts, one after the other, are the first of them; 0: each its own */
  bool apart;           /* which the generator is not told */
  bool loaded[PROMPTS]; /* by this group, and not yet answered */
  int32_t answered[PROMPTS];
  response_t responses[PROMPTS];
  int32_t looks, stop_at; /* stop() says so at its look number stop_at (0: never) */
} prompt_set_t;

/* The prompts; features by MODEL's tower. Collective on MODEL's tp. */
status_t prompt_set_create(tiny_t *model, prompt_set_t *out);
void prompt_set_free(prompt_set_t *set);

/* Forgets the responses. */
void prompt_set_clear(prompt_set_t *set);

/* The set as a source. A use that breaks the generator's promises is STATUS_INTERNAL. */
generator_source_t prompt_set_source(prompt_set_t *set);

/* Makes the responses of all dp groups known to all; each must have been given exactly once. */
status_t prompt_set_share(prompt_set_t *set, const grid_t *grid);

#endif
