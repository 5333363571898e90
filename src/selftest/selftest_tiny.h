/* A tiny model with images, the batch that it learns, and steps of training on any layout, for the self-test.
 */
#ifndef SELFTEST_TINY_H
#define SELFTEST_TINY_H

#include "model/pass.h"
#include "selftest/selftest_checks.h"

enum { TINY_SEQUENCES = 6, TINY_IMAGES = 3, TINY_PREDICTIONS_MOST = 128 };

typedef struct {
  base_t base;
  adapter_t adapter;
  pass_t *pass;
  role_t role;
  packed_t packed;     /* this group's sequences; none of them where sequences is 0 */
  float *patches;      /* (TINY_IMAGES, P, patch size) */
  int32_t predictions; /* of this group */
  int32_t all;         /* of all groups */
  int32_t rows[TINY_PREDICTIONS_MOST], targets[TINY_PREDICTIONS_MOST];
  double logprobs[TINY_PREDICTIONS_MOST];
} tiny_t;

/* How many ranks may share it: a divisor of heads and MLP. */
bool tiny_splits(int tp);

/* Makes model and batch on DEVICE: the whole model is trained, or with ADAPTERS a LoRA on it. A function of
 * nothing but the grid. Free with tiny_free, also where it failed. Collective on tp. */
status_t tiny_create(device_t *device, const grid_t *grid, bool adapters, tiny_t *tiny);
void tiny_free(tiny_t *tiny);

/* What is trained. */
params_t *tiny_trained(tiny_t *tiny);

/* Forward and backward over this group's sequences; the loss is the mean over all groups' predictions. *LOSS:
 * this group's part of it; tiny->logprobs are filled in. DONE: see pass_backward. Collective on tp. */
status_t tiny_pass(tiny_t *tiny, pass_done_t done, void *context, double *loss);

/* Losses and gradient norms of STEPS steps of AdamW. Collective on the grid's world. */
enum { TINY_STEPS = 3 };
status_t tiny_train(device_t *device, const grid_t *grid, bool adapters, double losses[TINY_STEPS],
                    double norms[TINY_STEPS]);

#endif
