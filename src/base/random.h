/* Counter-based random numbers (Philox 4x32-10, Salmon et al. 2011, by Random123): a number is a pure
 * function of (seed, purpose, index a, index b, draw), never of a rank or of what was drawn before. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

/* What a number is for: streams of different purposes never meet. Values are part of a run's identity: add at
 * the end, never renumber. */
typedef enum {
  RANDOM_INIT = 1,    /* weights: a = hash of the name, b = element */
  RANDOM_ORDER,       /* order of samples: a = epoch */
  RANDOM_SAMPLING,    /* Gumbel noise: a = sample, b = position << 32 | token id */
  RANDOM_FACTS,       /* order of facts: a = sample, b = use */
  RANDOM_WORLD_SCENE, /* shapes world: a = scene */
  RANDOM_WORLD_TEXT,  /* a = scene, b = text */
  RANDOM_ANNOTATE,    /* label noise: a = pair */
  RANDOM_SPLIT,       /* held-out sets: a = sample */
  RANDOM_TEST
} random_purpose_t;

/* Four independent 32-bit words for (seed, purpose, a, b, draw). */
typedef struct {
  uint32_t v[4];
} random_words_t;
random_words_t random_words(uint64_t seed, random_purpose_t purpose, uint64_t a, uint64_t b);

/* A sequence for one (seed, purpose, a): the n-th draw is the n-th whoever asks. Plain value, copy freely. */
typedef struct {
  uint64_t seed, a, next;
  random_purpose_t purpose;
} random_stream_t;
random_stream_t random_stream(uint64_t seed, random_purpose_t purpose, uint64_t a);

uint32_t random_u32(random_stream_t *stream);
/* Uniform in [0, 1), 53 bits. */
double random_uniform(random_stream_t *stream);
/* Uniform integer in [0, n), n > 0, without modulo bias. */
uint32_t random_below(random_stream_t *stream, uint32_t n);
/* Standard normal (Box-Muller). */
double random_normal(random_stream_t *stream);

/* Uniform in the open interval (0, 1) from one word, as used for Gumbel noise: (word + 0.5) / 2^32. */
double random_open_unit(uint32_t word);

/* Writes a permutation of 0..n-1 to ORDER (n), a function of (seed, purpose, a) alone (Fisher-Yates). */
void random_permutation(uint64_t seed, random_purpose_t purpose, uint64_t a, int64_t n, int64_t *order);

#endif
