/* Passes through the network of a role: packed batch and images -> final hidden states, and back. A pass
 * object holds the activations and scratch, reused from call to call: one is enough for all bases, since what
 * a forward pass keeps is needed until its backward pass only. */
#ifndef MODEL_PASS_H
#define MODEL_PASS_H

#include "model/base.h"
#include "tensor/ops_head.h"
#include "tensor/packed.h"

typedef struct pass pass_t;

/* Images of a batch, host memory, the same on all ranks of the tp group: each rank works on its share. One of
 * the two is not NULL if count > 0. */
typedef struct {
  int32_t count;         /* N */
  const float *patches;  /* (N, P, patch size): tower_patches of the pixels */
  const float *features; /* (N, P, vision hidden): pass_features of a frozen tower */
} pass_images_t;

/* Key-value pages of a generator (model/cache.h). */
struct cache;

/* What of a layer the backward pass computes again instead of keeping it: nothing; norms and the gated
 * activation, which are cheap (about a third of the memory); or all but the layer's input, the sum behind its
 * attention, and the adapters' u. No sum over tp is made again. */
typedef enum { RECOMPUTE_NONE, RECOMPUTE_SELECTIVE, RECOMPUTE_FULL } recompute_t;

/* LARGEST_LOGITS bounds the elements of one chunk of logits (0: a default). Free with pass_free. Local. */
typedef struct {
  recompute_t recompute;
  int64_t largest_logits;
} pass_options_t;
status_t pass_create(device_t *device, const grid_t *grid, const pass_options_t *options, pass_t **out);
void pass_free(pass_t *pass);

/* A key-value cache (model/cache.h) in the memory of the activations: the phases of a run that answers and
 * learns in turn take the same memory. With it that of passes under ROLE is taken, without backward pass, of
 * up to ROWS rows and SEQUENCES sequences with IMAGES images. Free with cache_free, before the pass. What
 * passes have left is lost both times. Errors: STATUS_MEMORY. Local. */
typedef struct {
  int32_t pages, page_size;
  int64_t rows;
  int32_t sequences, images;
} pass_cache_t;
status_t pass_create_cache(pass_t *pass, const role_t *role, const pass_cache_t *options, struct cache *out);
/* Bytes of the memory that a cache would share with activations. Local. */
size_t pass_memory(const pass_t *pass);

/* Features (count, P, vision hidden) under BASE's tower of PATCHES (count, P, patch size), both host memory:
 * the tp group shares the images and gathers. Collective on tp. */
status_t pass_features(pass_t *pass, const base_t *base, int32_t count, const float *patches,
                       float *features);

/* Final hidden states of PACKED under ROLE. KEEP holds what pass_backward needs.
 * With CACHE, keys and values go to its pages as well: SLOTS (T) on the host, page * page_size + place, -1 =
 * none. Collective on tp. */
status_t pass_forward(pass_t *pass, const role_t *role, const packed_t *packed, const pass_images_t *images,
                      bool keep, struct cache *cache, const int32_t *slots);

/* One token per sequence against the cache, all in device memory; padding is a row of length 0, slot -1 and
 * token -1. */
typedef struct {
  int32_t rows, max_pages;
  int64_t cached;                            /* sum of the lengths, for those who count */
  const index_t *tokens, *positions, *slots; /* (n) of the new tokens */
  const index_t *pages, *lengths;            /* (n, max_pages), (n): the new token included */
} pass_decode_t;
/* Hidden states become rows 0..n-1. Nothing is copied between host and device. Collective on tp. */
status_t pass_decode(pass_t *pass, const role_t *role, struct cache *cache, const pass_decode_t *step);

/* What a pass's hidden states predict: for ROWS (n) of the last pass_forward/pass_decode, the log-probability
 * of TARGETS (n) under softmax(scale * logits), and the entropy (NULL: not wanted); host, F64. Logits exist
 * one chunk of rows at a time. Collective on tp. */
status_t pass_logprobs(pass_t *pass, int64_t n, const int32_t *rows, const int32_t *targets, double scale,
                       double *logprobs, double *entropies);

/* A loss of log-probabilities, host memory that is read during the call. Linear, the sum of SLOPES (n) times
 * log-probability; or, with OLD_LOGPROBS (n), PPO's clipped one, the sum of max(slope r, slope clip(r)), r =
 * exp(logprob - old logprob), clipped to 1 - CLIP .. 1 + CLIP: slopes are minus the advantages times the
 * tokens' weights. */
typedef struct {
  const double *slopes, *old_logprobs;
  double clip;
} pass_token_loss_t;
/* Where the numbers of the rows go (n each, NULL: not wanted), host memory. TIES: see pass_hit. */
typedef struct {
  double *logprobs, *entropies, *ties;
} pass_token_numbers_t;
/* As pass_logprobs, and its backward pass into the gradient of the hidden states (and of the output head, if
 * trained). NUMBERS are there after pass_synchronize, not before. Needs a kept forward pass. Collective on
 * tp.
 */
status_t pass_logprobs_backward(pass_t *pass, int64_t n, const int32_t *rows, const int32_t *targets,
                                double scale, const pass_token_loss_t *loss,
                                const pass_token_numbers_t *numbers);
/* 1 where the target is the most likely token, its share of equals, else 0. */
static inline double pass_hit(double ties) {
  return ties > 0.0 ? 1.0 / ties : 0.0;
}

/* The role's scalar head on ROWS (n): VALUES (n), host. Local. */
status_t pass_scalars(pass_t *pass, int64_t n, const int32_t *rows, double *values);
/* A loss of values, host memory that is read during the call. Linear, the sum of WEIGHTS (n) times value; or,
 * with RETURNS (n), the clipped value loss against OLD_VALUES (n); or, with PREFERRED (n / 2), that of pairs
 * of rewards: see op_value_loss_t and op_pair_loss_t. */
typedef struct {
  const double *weights;
  const double *old_values, *returns;
  double clip;
  const int32_t *preferred;
  int32_t group;
  double center_coef, weight;
} pass_scalar_loss_t;
/* As pass_scalars, and its backward pass: adds to the gradients of the head and of the hidden states. Rows
 * are distinct. VALUES are there after pass_synchronize, not before. Needs a kept forward pass. Local. */
status_t pass_scalars_backward(pass_t *pass, int64_t n, const int32_t *rows, const pass_scalar_loss_t *loss,
                               double *values);

/* Waits for all that was asked of the pass's device: what the calls above read is there. Local. */
status_t pass_synchronize(pass_t *pass);
/* Waits for what was asked of it before this was called the last time. Between micro-batches: the device has
 * the next one before it is done with this one, and the host is no further ahead of it. Local. */
status_t pass_pace(pass_t *pass);

/* Backward pass of the last kept pass_forward, after the *_backward calls above: adds to the gradients of
 * whatever the role trains. DONE (may be NULL) is called after each layer (layers-1 .. 0, then -1 for
 * embedding and images) with CONTEXT. Collective on tp. */
typedef status_t (*pass_done_t)(void *context, int32_t layer);
status_t pass_backward(pass_t *pass, pass_done_t done, void *context);

/* What samplers read, all of it device memory, and nothing is waited for: the shard's LOGITS of the last pass
 * for ROWS (n, at most pass_logit_rows; -1: padding, whose logits are any row's), with SCALE, valid until the
 * next call of this or of the functions above. Local. */
status_t pass_logits(pass_t *pass, int64_t n, const index_t *rows, double scale, vocab_shard_t *logits);
int64_t pass_logit_rows(const pass_t *pass, const base_t *base);
/* From the LOGITS of the last pass_logits: TOKENS (n) drawn as DRAW says (-1 where logits are not finite),
 * their LOGPROBS (n), to the bit those of pass_logprobs, and ENTROPIES (n), of the whole distribution.
 * Collective on tp. */
status_t pass_draw(pass_t *pass, const vocab_shard_t *logits, const vocab_draw_t *draw, index_t *tokens,
                   wide_t *logprobs, wide_t *entropies);

#endif
