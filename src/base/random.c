#include "base/random.h"

#include <Random123/philox.h>
#include <assert.h>
#include <math.h>

enum { ROUNDS = 10, PURPOSE_SHIFT = 56 };

random_words_t random_words(uint64_t seed, random_purpose_t purpose, uint64_t a, uint64_t b) {
  /* The purpose sits in the key's top byte, so that for one seed no two purposes share a key. */
  uint64_t key_bits = seed ^ ((uint64_t)purpose << PURPOSE_SHIFT);
  philox4x32_ctr_t counter = {{(uint32_t)a, (uint32_t)(a >> 32), (uint32_t)b, (uint32_t)(b >> 32)}};
  philox4x32_key_t key = {{(uint32_t)key_bits, (uint32_t)(key_bits >> 32)}};
  philox4x32_ctr_t words = philox4x32_R(ROUNDS, counter, key);
  return (random_words_t){{words.v[0], words.v[1], words.v[2], words.v[3]}};
}

random_stream_t random_stream(uint64_t seed, random_purpose_t purpose, uint64_t a) {
  return (random_stream_t){.seed = seed, .a = a, .next = 0, .purpose = purpose};
}

/* Each draw has a block of four words of its own. */
static random_words_t next_words(random_stream_t *stream) {
  return random_words(stream->seed, stream->purpose, stream->a, stream->next++);
}

static uint64_t random_join(uint32_t high, uint32_t low) {
  return (uint64_t)high << 32 | low;
}

/* Uniform in [0, 1): the top 53 bits. */
static double random_unit(uint64_t bits) {
  return (double)(bits >> 11) * 0x1p-53;
}

uint32_t random_u32(random_stream_t *stream) {
  return next_words(stream).v[0];
}

double random_uniform(random_stream_t *stream) {
  random_words_t words = next_words(stream);
  return random_unit(random_join(words.v[0], words.v[1]));
}

/* Lemire, "Fast random integer generation in an interval" (2019): the high half of a product, low remainders
 * redrawn. */
static uint64_t stream_below(random_stream_t *stream, uint64_t n) {
  assert(n > 0);
  uint64_t threshold = -n % n;
  for (;;) {
    random_words_t words = next_words(stream);
    unsigned __int128 product = (unsigned __int128)random_join(words.v[0], words.v[1]) * n;
    if ((uint64_t)product >= threshold) return (uint64_t)(product >> 64);
  }
}

uint32_t random_below(random_stream_t *stream, uint32_t n) {
  return (uint32_t)stream_below(stream, n);
}

double random_normal(random_stream_t *stream) {
  static const double two_pi = 6.283185307179586476925;
  random_words_t words = next_words(stream);
  double radius = sqrt(-2.0 * log(1.0 - random_unit(random_join(words.v[0], words.v[1]))));
  return radius * cos(two_pi * random_unit(random_join(words.v[2], words.v[3])));
}

double random_open_unit(uint32_t word) {
  return ((double)word + 0.5) * 0x1p-32;
}

void random_permutation(uint64_t seed, random_purpose_t purpose, uint64_t a, int64_t n, int64_t *order) {
  random_stream_t stream = random_stream(seed, purpose, a);
  for (int64_t i = 0; i < n; i++)
    order[i] = i;
  for (int64_t i = n - 1; i > 0; i--) {
    int64_t j = (int64_t)stream_below(&stream, (uint64_t)i + 1);
    int64_t kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
}
