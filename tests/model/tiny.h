/* A tiny model with everything in it (images, grouped-query attention, adapters, heads) and a loss over a
 * small packed batch, for the tests of the model. */
#ifndef TESTS_MODEL_TINY_H
#define TESTS_MODEL_TINY_H

#include "model/pass.h"

typedef struct {
  model_config_t config;
  train_mode_t mode;      /* TRAIN_LORA: adapter and heads */
  base_storage_t storage; /* all zero: the compute type */
  recompute_t recompute;
  int64_t largest_logits; /* small: several chunks */
  int32_t lora_r;         /* 0: 3 */
} tiny_options_t;

/* Sizes that nothing divides by accident: hidden 24, 2 layers, 4 heads of 6 on KV_HEADS key-value heads,
 * vocabulary 37. */
model_config_t tiny_config(int32_t kv_heads, bool tied, projector_t projector);

/* The same with biases on all projections and a SigLIP tower, in whose images no whole number of patches
 * fits. */
model_config_t tiny_config_biased(int32_t kv_heads, projector_t projector);

typedef struct {
  tiny_options_t options;
  base_t base;
  adapter_t adapter; /* B is not zero */
  head_t head;
  pass_t *pass;
  role_t role;
  packed_t packed;
  float *patches; /* (2, P, patch size) */
  /* Log-probabilities wanted: rows, targets, weights of the loss. */
  int32_t n;
  int32_t rows[64], targets[64];
  double weights[64];
  /* Scalars wanted. */
  int32_t scalars;
  int32_t scalar_rows[8];
  double scalar_weights[8];
} tiny_t;

/* All frozen weights that may be are kept in bf16, where MODE is trained. */
base_storage_t tiny_halves(train_mode_t mode);
/* And keys and values are rounded, as they are in runs with parallel.dtype = 'bf16'. */
base_storage_t tiny_half_keys(train_mode_t mode);

/* The projections are kept in NF4, the other frozen matrices in bf16. */
base_storage_t tiny_quantised(void);

/* The same model and batch (a function of the options alone) on any device and grid. */
status_t tiny_create(device_t *device, const grid_t *grid, const tiny_options_t *options, tiny_t *out);
void tiny_free(tiny_t *tiny);

/* LOSS = - sum weights * scale-2 logprobs + sum scalar_weights * values, forward only; LOGPROBS (n) and
 * VALUES (scalars) where not NULL. */
status_t tiny_loss(tiny_t *tiny, double *loss, double *logprobs, double *values);
/* The same with gradients, which are zeroed first. */
status_t tiny_gradients(tiny_t *tiny, double *loss);

/* The trained sets: up to 3. */
int32_t tiny_sets(tiny_t *tiny, params_t *sets[3]);

#endif
