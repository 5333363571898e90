#include "model/tiny.h"

#include "base/memory.h"
#include "base/random.h"

#include <string.h>

enum { IMAGES = 2, SCALE = 2 };

model_config_t tiny_config(int32_t kv_heads, bool tied, projector_t projector) {
  return (model_config_t){.hidden = 24,
                          .layers = 2,
                          .heads = 4,
                          .kv_heads = kv_heads,
                          .head_size = 6,
                          .mlp = 20,
                          .vocab = 37,
                          .rope_base = 10000.0,
                          .norm_eps = 1e-5,
                          .tied = tied,
                          .vision_hidden = 16,
                          .vision_layers = 3,
                          .vision_heads = 2,
                          .vision_mlp = 28,
                          .vision_patch = 4,
                          .vision_image_size = 8,
                          .vision_feature_layer = -2,
                          .vision_norm_eps = 1e-5,
                          .projector = projector};
}

model_config_t tiny_config_biased(int32_t kv_heads, projector_t projector) {
  model_config_t config = tiny_config(kv_heads, false, projector);
  config.qkv_bias = config.o_bias = config.mlp_bias = true;
  config.tower = TOWER_SIGLIP;
  config.vision_image_size = 11;
  return config;
}

base_storage_t tiny_halves(train_mode_t mode) {
  return (base_storage_t){.projections = WEIGHT_BF16, .matrices = WEIGHT_BF16, .mode = mode};
}

base_storage_t tiny_half_keys(train_mode_t mode) {
  base_storage_t storage = tiny_halves(mode);
  storage.half_keys = true;
  return storage;
}

base_storage_t tiny_quantised(void) {
  return (base_storage_t){.projections = WEIGHT_NF4, .matrices = WEIGHT_BF16, .mode = TRAIN_LORA};
}

/* Adds noise to all weights of a set, so that none is zero or one: a function of (name, global element). */
static status_t roughen(params_t *params) {
  for (int32_t i = 0; i < params->count; i++) {
    param_t *param = &params->items[i];
    param->init = param->init == INIT_ONE ? INIT_ONE : INIT_NORMAL;
    if (param->init == INIT_NORMAL && param->init_scale == 0.0) param->init_scale = 0.3;
  }
  TRY(params_initialise(params, 11));
  return params_clear_padding(params);
}

static status_t make_batch(tiny_t *tiny) {
  /* Two sequences share image 1; one has no image; one is a single token. */
  static const int32_t a[] = {1, 5, TOKEN_IMAGE, 7, 8, 9, 30}, b[] = {1, TOKEN_IMAGE, 36, 12, 3},
                       c[] = {1, 20, 21, 22}, d[] = {2}, e[] = {TOKEN_IMAGE, 14, 15, 0};
  const packed_source_t sources[] = {{a, 7, 1}, {b, 5, 0}, {c, 4, -1}, {d, 1, -1}, {e, 4, 1}};
  TRY(packed_create(sources, 5, config_patches(&tiny->base.config), &tiny->packed));
  random_stream_t stream = random_stream(3, RANDOM_TEST, 1);
  size_t n = (size_t)(IMAGES * config_patches(&tiny->base.config) * config_patch_size(&tiny->base.config));
  TRY(memory_alloc(&tiny->patches, ARENA_OTHER, n, sizeof *tiny->patches));
  for (size_t i = 0; i < n; i++)
    tiny->patches[i] = (float)random_normal(&stream);
  int32_t rows = tiny->packed.offsets[5];
  for (int32_t r = 0; r < rows; r += 1 + r % 2) {
    tiny->rows[tiny->n] = r;
    tiny->targets[tiny->n] = (r * 7 + 3) % tiny->base.config.vocab;
    tiny->weights[tiny->n++] = random_normal(&stream);
  }
  for (int32_t s = 0; s < 5; s++) {
    tiny->scalar_rows[s] = tiny->packed.offsets[s + 1] - 1;
    tiny->scalar_weights[s] = random_normal(&stream);
  }
  tiny->scalars = 5;
  return STATUS_OK;
}

status_t tiny_create(device_t *device, const grid_t *grid, const tiny_options_t *options, tiny_t *out) {
  *out = (tiny_t){.options = *options};
  const adapter_config_t lora = {.r = options->lora_r ? options->lora_r : 3,
                                 .alpha = 5.0,
                                 .targets = {true, true, true, true, true, true, true}};
  TRY(base_create(device, grid, &options->config, &options->storage, &out->base));
  TRY(roughen(&out->base.params));
  TRY(adapter_create(&out->base, &lora, "policy", &out->adapter));
  TRY(roughen(&out->adapter.params));
  TRY(head_create(&out->base, "value", false, &out->head));
  TRY(roughen(&out->head.params));
  TRY(base_set_trainable(&out->base, options->mode));
  if (options->mode == TRAIN_LORA) TRY(params_train_all(&out->adapter.params));
  TRY(params_train_all(&out->head.params));
  const pass_options_t pass = {.recompute = options->recompute, .largest_logits = options->largest_logits};
  TRY(pass_create(device, grid, &pass, &out->pass));
  out->role = (role_t){&out->base, &out->adapter, &out->head};
  return make_batch(out);
}

void tiny_free(tiny_t *tiny) {
  pass_free(tiny->pass);
  head_free(&tiny->head);
  adapter_free(&tiny->adapter);
  base_free(&tiny->base);
  packed_free(&tiny->packed);
  memory_free(tiny->patches);
}

int32_t tiny_sets(tiny_t *tiny, params_t *sets[3]) {
  int32_t count = 0;
  if (tiny->base.params.trainable) sets[count++] = &tiny->base.params;
  if (tiny->adapter.params.trainable) sets[count++] = &tiny->adapter.params;
  sets[count++] = &tiny->head.params;
  return count;
}

static status_t run_forward(tiny_t *tiny, bool keep) {
  pass_images_t images = {.count = IMAGES, .patches = tiny->patches};
  return pass_forward(tiny->pass, &tiny->role, &tiny->packed, &images, keep, NULL, NULL);
}

status_t tiny_loss(tiny_t *tiny, double *loss, double *logprobs, double *values) {
  double own_logprobs[64], own_values[8];
  if (!logprobs) logprobs = own_logprobs;
  if (!values) values = own_values;
  TRY(run_forward(tiny, false));
  TRY(pass_logprobs(tiny->pass, tiny->n, tiny->rows, tiny->targets, SCALE, logprobs, NULL));
  TRY(pass_scalars(tiny->pass, tiny->scalars, tiny->scalar_rows, values));
  *loss = 0.0;
  for (int32_t i = 0; i < tiny->n; i++)
    *loss -= tiny->weights[i] * logprobs[i];
  for (int32_t i = 0; i < tiny->scalars; i++)
    *loss += tiny->scalar_weights[i] * values[i];
  return STATUS_OK;
}

status_t tiny_gradients(tiny_t *tiny, double *loss) {
  params_t *sets[3];
  int32_t count = tiny_sets(tiny, sets);
  for (int32_t s = 0; s < count; s++)
    TRY(params_zero_grad(sets[s]));
  TRY(run_forward(tiny, true));
  double values[8], logprobs[64], slopes[64];
  for (int32_t i = 0; i < tiny->n; i++)
    slopes[i] = -tiny->weights[i];
  const pass_token_loss_t tokens = {.slopes = slopes};
  const pass_scalar_loss_t scalars = {.weights = tiny->scalar_weights};
  TRY(pass_logprobs_backward(tiny->pass, tiny->n, tiny->rows, tiny->targets, SCALE, &tokens,
                             &(pass_token_numbers_t){.logprobs = logprobs}));
  TRY(pass_scalars_backward(tiny->pass, tiny->scalars, tiny->scalar_rows, &scalars, values));
  TRY(pass_backward(tiny->pass, NULL, NULL));
  TRY(pass_synchronize(tiny->pass));
  *loss = 0.0;
  for (int32_t i = 0; i < tiny->n; i++)
    *loss += slopes[i] * logprobs[i];
  for (int32_t i = 0; i < tiny->scalars; i++)
    *loss += tiny->scalar_weights[i] * values[i];
  return STATUS_OK;
}
