#include "selftest/selftest_tiny.h"

#include "base/random.h"
#include "train/optimizer.h"

static const model_config_t config = {.hidden = 48,
                                      .layers = 2,
                                      .heads = 12,
                                      .kv_heads = 6,
                                      .head_size = 8,
                                      .mlp = 60,
                                      .vocab = 61,
                                      .rope_base = 10000.0,
                                      .norm_eps = 1e-5,
                                      .vision_hidden = 16,
                                      .vision_layers = 2,
                                      .vision_heads = 2,
                                      .vision_mlp = 28,
                                      .vision_patch = 4,
                                      .vision_image_size = 8,
                                      .vision_feature_layer = -2,
                                      .vision_norm_eps = 1e-5,
                                      .projector = PROJECTOR_MLP2X_GELU};
static const adapter_config_t lora = {
    .r = 4, .alpha = 8.0, .targets = {true, true, true, true, true, true, true}};

/* Sequences of different lengths; two share an image, one has none. */
static const struct {
  int32_t n, image;
  int32_t tokens[9];
} sequences[TINY_SEQUENCES] = {
    {7, 1, {1, 5, TOKEN_IMAGE, 7, 8, 9, 30}},
    {5, 0, {1, TOKEN_IMAGE, 60, 12, 3}},
    {4, -1, {1, 20, 21, 22}},
    {9, 2, {2, TOKEN_IMAGE, 4, 4, 17, 33, 41, 50, 0}},
    {3, 1, {TOKEN_IMAGE, 14, 15}},
    {2, -1, {58, 59}},
};

bool tiny_splits(int tp) {
  if (config_check_tp(&config, tp) == STATUS_OK) return true;
  error_clear();
  return false;
}

params_t *tiny_trained(tiny_t *tiny) {
  return tiny->role.adapter ? &tiny->adapter.params : &tiny->base.params;
}

/* What is not a norm is random, adapters' B and biases included: nothing is hidden by zeros. */
static status_t tiny_fill(params_t *params) {
  for (int32_t i = 0; i < params->count; i++) {
    param_t *param = &params->items[i];
    if (param->init == INIT_ONE) continue;
    if (param->init_scale == 0.0) param->init_scale = 0.3;
    param->init = INIT_NORMAL;
  }
  TRY(params_initialise(params, 11));
  return params_clear_padding(params);
}

static status_t tiny_make_model(device_t *device, const grid_t *grid, bool adapters, tiny_t *tiny) {
  TRY(base_create(device, grid, &config, NULL, &tiny->base));
  TRY(tiny_fill(&tiny->base.params));
  tiny->role.base = &tiny->base;
  if (!adapters) {
    TRY(base_set_trainable(&tiny->base, TRAIN_ALL));
  } else {
    TRY(adapter_create(&tiny->base, &lora, "policy", &tiny->adapter));
    tiny->role.adapter = &tiny->adapter;
    TRY(params_train_all(&tiny->adapter.params));
    TRY(tiny_fill(&tiny->adapter.params));
  }
  return pass_create(device, grid, &(pass_options_t){0}, &tiny->pass);
}

static status_t tiny_make_images(tiny_t *tiny) {
  random_stream_t stream = random_stream(3, RANDOM_TEST, 1);
  size_t n = (size_t)(TINY_IMAGES * config_patches(&config) * config_patch_size(&config));
  TRY(memory_alloc(&tiny->patches, ARENA_OTHER, n, sizeof *tiny->patches));
  for (size_t i = 0; i < n; i++)
    tiny->patches[i] = (float)random_normal(&stream);
  return STATUS_OK;
}

/* Each token that is no image predicts the next one. */
static void tiny_predict(tiny_t *tiny) {
  const packed_t *packed = &tiny->packed;
  for (int32_t row = 0; row + 1 < packed->offsets[packed->sequences]; row++) {
    if (packed->positions[row + 1] == 0 || packed->tokens[row + 1] == TOKEN_IMAGE) continue;
    tiny->rows[tiny->predictions] = row;
    tiny->targets[tiny->predictions++] = packed->tokens[row + 1];
  }
}

static status_t tiny_make_batch(const grid_t *grid, tiny_t *tiny) {
  packed_source_t mine[TINY_SEQUENCES];
  int32_t count = 0;
  for (int32_t s = grid->dp_rank; s < TINY_SEQUENCES; s += grid->dp_size)
    mine[count++] = (packed_source_t){sequences[s].tokens, sequences[s].n, sequences[s].image};
  if (count > 0) {
    TRY(packed_create(mine, count, config_patches(&config), &tiny->packed));
    tiny_predict(tiny);
  }
  tiny->all = tiny->predictions;
  return comm_allreduce(grid->dp, &tiny->all, 1, COMM_I32, COMM_SUM);
}

status_t tiny_create(device_t *device, const grid_t *grid, bool adapters, tiny_t *tiny) {
  *tiny = (tiny_t){0};
  status_code_t status = tiny_make_model(device, grid, adapters, tiny);
  if (status == STATUS_OK) status = tiny_make_images(tiny);
  TRY(comm_agree(grid->world, status));
  return comm_agree(grid->world, tiny_make_batch(grid, tiny));
}

void tiny_free(tiny_t *tiny) {
  pass_free(tiny->pass);
  adapter_free(&tiny->adapter);
  base_free(&tiny->base);
  packed_free(&tiny->packed);
  memory_free(tiny->patches);
}

status_t tiny_pass(tiny_t *tiny, pass_done_t done, void *context, double *loss) {
  const pass_images_t images = {.count = TINY_IMAGES, .patches = tiny->patches};
  double slopes[TINY_PREDICTIONS_MOST];
  *loss = 0.0;
  if (tiny->packed.sequences == 0) return STATUS_OK;
  for (int32_t i = 0; i < tiny->predictions; i++)
    slopes[i] = -1.0 / tiny->all;
  TRY(pass_forward(tiny->pass, &tiny->role, &tiny->packed, &images, true, NULL, NULL));
  TRY(pass_logprobs_backward(tiny->pass, tiny->predictions, tiny->rows, tiny->targets, 1.0,
                             &(pass_token_loss_t){.slopes = slopes},
                             &(pass_token_numbers_t){.logprobs = tiny->logprobs}));
  TRY(pass_backward(tiny->pass, done, context));
  TRY(pass_synchronize(tiny->pass));
  for (int32_t i = 0; i < tiny->predictions; i++)
    *loss += slopes[i] * tiny->logprobs[i];
  return STATUS_OK;
}

/* ---- Training ---- */

static status_t tiny_step(tiny_t *tiny, const grid_t *grid, optimizer_t *optimizer, double *loss,
                          double *norm) {
  static const double learning_rate = 0.02;
  double norms[2];
  TRY(comm_agree(grid->world, tiny_pass(tiny, optimizer_only_layer_done, optimizer, loss)));
  TRY(comm_allreduce(grid->dp, loss, 1, COMM_F64, COMM_SUM));
  TRY(optimizer_step(optimizer, learning_rate, norms));
  *norm = norms[0];
  return STATUS_OK;
}

static status_t tiny_steps(tiny_t *tiny, device_t *device, const grid_t *grid, double *losses,
                           double *norms) {
  /* EPS is large beside the gradients' rounding, so that noise is not made a step of full length. */
  const optimizer_options_t options = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-2, .grad_clip = 1.0};
  SCOPED(optimizer_free_at) optimizer_t *optimizer = NULL;
  TRY(optimizer_create(device, grid, &(optimizer_set_t){tiny_trained(tiny), 0}, 1, &options, &optimizer));
  for (int step = 0; step < TINY_STEPS; step++)
    TRY(tiny_step(tiny, grid, optimizer, &losses[step], &norms[step]));
  return STATUS_OK;
}

status_t tiny_train(device_t *device, const grid_t *grid, bool adapters, double losses[TINY_STEPS],
                    double norms[TINY_STEPS]) {
  SCOPED(tiny_free) tiny_t tiny = {0};
  TRY(tiny_create(device, grid, adapters, &tiny));
  return tiny_steps(&tiny, device, grid, losses, norms);
}
