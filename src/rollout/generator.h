/* Generation: continuous batching over slots with a paged key-value cache; dp groups draw prompts from a
 * shared queue. Which sequences run, and on which pages: rollout/places.h; their state on the device:
 * rollout/decoding.h. */
#ifndef ROLLOUT_GENERATOR_H
#define ROLLOUT_GENERATOR_H

#include "parallel/queue.h"
#include "parallel/stop_vote.h"
#include "rollout/sampler.h"
#include "text/answers.h"

typedef struct {
  sampler_options_t sampler;
  int32_t max_tokens;     /* of one response */
  int32_t slots;          /* sequences in flight per dp group */
  int32_t page_size;      /* positions of a page */
  int32_t longest_query;  /* positions (images expanded) */
  int64_t prefill_tokens; /* positions of one prefill pass at most (one longer prompt is taken alone) */
  bool deterministic;     /* prompts dealt statically */
  response_end_t end;     /* the tokens that end a response, kept */
} generator_options_t;

/* A prompt as the source gives it; memory is the source's, valid until its next call. */
typedef struct {
  int64_t sample;        /* key of its random numbers */
  int64_t question;      /* prompts of one question are the same, and are computed once where they meet */
  const int32_t *tokens; /* (n), TOKEN_IMAGE once per image */
  int32_t n;
  const float *features; /* (P, vision hidden) tower features; NULL without an image */
} generator_prompt_t;

/* A response; memory is the generator's until the sink returns. */
typedef struct {
  int64_t prompt; /* index given to the source */
  const int32_t *tokens;
  int32_t n;
  const double *logprobs;  /* (n) the sampler's */
  const double *entropies; /* (n) of the distributions drawn from, before top-k and top-p */
  bool stopped;            /* ended by one of the tokens that end it, not by max_tokens */
} generator_response_t;

/* Where prompts come from and responses go. REQUEST (NULL: nothing is to be done ahead) is called for a run
 * of queue items once it is known that they will come, LOAD, collective on tp, for the same run before the
 * first GET of one of them; GET may be called again as long as there was no PUT. Responses arrive in no
 * particular order; the same on all ranks of a tp group. */
typedef struct {
  void *context;
  int32_t together; /* runs of so many items have one question: they should go to one group; 0 or 1: none */
  status_t (*request)(void *context, const int64_t *prompts, int32_t n);
  status_t (*load)(void *context, const int64_t *prompts, int32_t n);
  status_t (*get)(void *context, int64_t prompt, generator_prompt_t *out);
  status_t (*put)(void *context, const generator_response_t *response);
  stop_request_t stop; /* this rank asks to stop; looked at between decode steps. NULL: never */
} generator_source_t;

typedef struct generator generator_t;

/* Allocates slots and, in the memory of PASS's activations, the cache, for runs under ROLE. The cache holds
 * the worst case of all slots, or as many pages as CACHE_BYTES (0: no bound; the same on all ranks of a tp
 * group) has room for: sequences then wait, and the youngest ones give their pages back and are computed
 * again, which changes no result. STATUS_INPUT where it does not hold one sequence. Free with generator_free,
 * before PASS. Local. */
status_t generator_create(pass_t *pass, const role_t *role, const generator_options_t *options,
                          size_t cache_bytes, generator_t **out);
void generator_free(generator_t *generator);

/* Answers prompts 0..n-1 under ROLE, that of generator_create. Collective on the grid's world. STATUS_STOPPED
 * on all ranks where the source of any rank said stop: within two tenths of a second and a few decode steps
 * all groups break off; prompts that have no response yet are forgotten, and the generator may run again. */
status_t generator_run(generator_t *generator, const role_t *role, int64_t n,
                       const generator_source_t *source);

#endif
