#include "model/linear.h"
#include "model/tower_internal.h"
#include "perf/perf.h"

#include <math.h>
#include <string.h>

void tower_patches(const model_config_t *config, const float *pixels, float *patches) {
  int32_t size = config->vision_image_size, patch = config->vision_patch, side = size / patch;
  for (int32_t p = 0; p < side * side; p++)
    for (int32_t c = 0; c < 3; c++)
      for (int32_t y = 0; y < patch; y++) {
        const float *row = pixels + ((int64_t)c * size + (p / side) * patch + y) * size + (p % side) * patch;
        memcpy(patches, row, (size_t)patch * sizeof *row);
        patches += patch;
      }
}

static activation_t tower_activation(const base_t *base) {
  return base->config.tower == TOWER_SIGLIP ? ACTIVATION_GELU_TANH : ACTIVATION_QUICK_GELU;
}

static real_t *tower_vector(const base_t *base, int32_t id) {
  return param_real(&base->params, id);
}

static status_t tower_layernorm(tower_pass_t *pass, const base_t *base, int64_t rows, const real_t *x,
                                linear_t norm, real_t *y, wide_t *mean, wide_t *rstd) {
  return OP(pass->device, layernorm,
            &(op_layernorm_t){.rows = rows,
                              .cols = base->config.vision_hidden,
                              .x = x,
                              .weight = tower_vector(base, norm.weight),
                              .bias = tower_vector(base, norm.bias),
                              .eps = base->config.vision_norm_eps,
                              .y = y,
                              .mean = mean,
                              .rstd = rstd});
}

static op_attention_t tower_attention_of(const tower_pass_t *pass, const base_t *base,
                                         const tower_saved_t *saved) {
  const model_config_t *config = &base->config;
  return (op_attention_t){.sequences = &pass->sequences,
                          .q = saved->q,
                          .k = saved->k,
                          .v = saved->v,
                          .ldq = config->vision_hidden,
                          .ldkv = config->vision_hidden,
                          .ldo = config->vision_hidden,
                          .scale = 1.0 / sqrt((double)pass->sequences.head_size),
                          .causal = false,
                          .out = saved->attended,
                          .lse = saved->lse};
}

static status_t tower_linear(tower_pass_t *pass, const base_t *base, int64_t rows, linear_t ids,
                             const real_t *x, activation_t activation, real_t *pre, real_t *y) {
  op_linear_t op = linear_op(rows, param_weight(&base->params, ids.weight), x, y);
  if (ids.bias >= 0) op.bias = tower_vector(base, ids.bias);
  op.activation = activation;
  op.pre = pre;
  return OP(pass->device, linear, &op);
}

static status_t layer_forward(tower_pass_t *pass, const base_t *base, int32_t index,
                              const tower_saved_t *saved, int64_t rows, const real_t *x, real_t *out) {
  const tower_layer_t *layer = &base->tower[index];
  int64_t c = base->config.vision_hidden;
  TRY(tower_layernorm(pass, base, rows, x, layer->norm1, saved->n1, saved->mean1, saved->rstd1));
  TRY(tower_linear(pass, base, rows, layer->q, saved->n1, ACTIVATION_NONE, NULL, saved->q));
  TRY(tower_linear(pass, base, rows, layer->k, saved->n1, ACTIVATION_NONE, NULL, saved->k));
  TRY(tower_linear(pass, base, rows, layer->v, saved->n1, ACTIVATION_NONE, NULL, saved->v));
  op_attention_t attention = tower_attention_of(pass, base, saved);
  TRY(OP(pass->device, attention, &attention));
  TRY(tower_linear(pass, base, rows, layer->out, saved->attended, ACTIVATION_NONE, NULL, saved->mid));
  TRY(OP(pass->device, add, &(op_add_t){.n = rows * c, .x = x, .y = saved->mid}));
  TRY(tower_layernorm(pass, base, rows, saved->mid, layer->norm2, saved->n2, saved->mean2, saved->rstd2));
  TRY(tower_linear(pass, base, rows, layer->fc1, saved->n2, tower_activation(base), saved->pre,
                   saved->hidden));
  TRY(tower_linear(pass, base, rows, layer->fc2, saved->hidden, ACTIVATION_NONE, NULL, out));
  return OP(pass->device, add, &(op_add_t){.n = rows * c, .x = saved->mid, .y = out});
}

static status_t embed_patches(tower_pass_t *pass, const base_t *base, real_t *out) {
  return tower_linear(pass, base, (int64_t)pass->count * config_patches(&base->config), base->patch_embedding,
                      pass->patches, ACTIVATION_NONE, NULL, out);
}

static status_t add_positions(tower_pass_t *pass, const base_t *base, int64_t rows, real_t *x) {
  return OP(pass->device, add_periodic,
            &(op_add_periodic_t){.rows = rows,
                                 .cols = base->config.vision_hidden,
                                 .period = config_tower_tokens(&base->config),
                                 .table = tower_vector(base, base->position_embedding),
                                 .x = x});
}

/* Patch, class and position embeddings, then pre_layrnorm into the first layer's input; of SigLIP's patches
 * and positions alone. */
static status_t tower_embed(tower_pass_t *pass, const base_t *base, int64_t rows, real_t *x) {
  const model_config_t *config = &base->config;
  int64_t c = config->vision_hidden, p = (int64_t)pass->count * config_patches(config);
  if (config->tower == TOWER_SIGLIP) {
    TRY(embed_patches(pass, base, x));
    return add_positions(pass, base, rows, x);
  }
  TRY(embed_patches(pass, base, pass->patch_rows));
  TRY(rows_scatter(pass->device, p, c, pass->patch_rows, pass->patch_index, pass->embedded, false));
  TRY(rows_gather(pass->device, rows, c, tower_vector(base, base->class_embedding), pass->class_index,
                  pass->embedded, false));
  TRY(add_positions(pass, base, rows, pass->embedded));
  return tower_layernorm(pass, base, rows, pass->embedded, base->pre_norm, x, pass->mean0, pass->rstd0);
}

static status_t tower_run(tower_pass_t *pass, const base_t *base, const float *patches, bool keep) {
  const model_config_t *config = &base->config;
  int64_t rows = (int64_t)pass->count * config_tower_tokens(config);
  int64_t p = (int64_t)pass->count * config_patches(config);
  int32_t layers = config_tower_layers(config);
  TRY(real_upload(pass->device, pass->patches, patches, DTYPE_F32, (size_t)(p * config_patch_size(config))));
  /* Where nothing is kept, two buffers are input and output in turn. */
  real_t *turn[] = {layers > 0 ? pass->saved[0].x : pass->out, pass->out}, *x = turn[0];
  TRY(tower_embed(pass, base, rows, x));
  for (int32_t l = 0; l < layers; l++) {
    real_t *out = !keep ? turn[(l + 1) % 2] : l == layers - 1 ? pass->out : pass->saved[l + 1].x;
    TRY(layer_forward(pass, base, l, &pass->saved[keep ? l : 0], rows, x, out));
    x = out;
  }
  return rows_gather(pass->device, p, config->vision_hidden, x, pass->patch_index, pass->features, false);
}

status_t tower_forward(tower_pass_t *pass, const base_t *base, int32_t count, const float *patches, bool keep,
                       const real_t **features) {
  perf_begin(REGION_TOWER);
  status_code_t status = tower_reserve(pass, base, count, keep);
  pass->count = count;
  if (status == STATUS_OK && count > 0) status = tower_run(pass, base, patches, keep);
  *features = pass->features;
  perf_end(REGION_TOWER);
  return status;
}

status_t tower_restore(tower_pass_t *pass, const base_t *base, int32_t count, const float *features,
                       const real_t **on_device) {
  TRY(tower_reserve_features(pass, base, count));
  pass->count = count;
  *on_device = pass->features;
  size_t n = (size_t)count * (size_t)config_patches(&base->config) * (size_t)base->config.vision_hidden;
  if (n == 0) return STATUS_OK;
  return real_upload(pass->device, pass->features, features, DTYPE_F32, n);
}

status_t projector_forward(tower_pass_t *pass, const base_t *base, int64_t rows, const real_t *features,
                           real_t *out) {
  const model_config_t *config = &base->config;
  pass->used_features = features;
  if (rows == 0) return STATUS_OK;
  if (config->projector == PROJECTOR_LINEAR)
    return tower_linear(pass, base, rows, base->projector[0], features, ACTIVATION_NONE, NULL, out);
  TRY(tower_linear(pass, base, rows, base->projector[0], features, ACTIVATION_GELU, pass->project_pre,
                   pass->project_hidden));
  return tower_linear(pass, base, rows, base->projector[1], pass->project_hidden, ACTIVATION_NONE, NULL, out);
}

/* Gradients of one linear layer with bias: weight and bias +=, dx = (or, ADD, +=) unless NULL. */
static status_t tower_linear_backward(tower_pass_t *pass, base_t *base, int64_t rows, linear_t ids,
                                      const real_t *x, const real_t *dy, real_t *dx, bool add) {
  op_linear_backward_t op = linear_backward_op(rows, param_weight(&base->params, ids.weight), x, dy, dx);
  op.dx_add = add;
  op.segment[0].dw = param_grad(&base->params, ids.weight);
  if (ids.bias >= 0) op.dbias = param_grad(&base->params, ids.bias);
  return OP(pass->device, linear_backward, &op);
}

static status_t tower_layernorm_backward(tower_pass_t *pass, base_t *base, int64_t rows, const real_t *x,
                                         linear_t norm, const wide_t *mean, const wide_t *rstd,
                                         const real_t *dy, real_t *dx, bool add) {
  return OP(pass->device, layernorm_backward,
            &(op_layernorm_backward_t){.rows = rows,
                                       .cols = base->config.vision_hidden,
                                       .x = x,
                                       .weight = tower_vector(base, norm.weight),
                                       .dy = dy,
                                       .mean = mean,
                                       .rstd = rstd,
                                       .dx = dx,
                                       .dx_add = add,
                                       .dweight = param_grad(&base->params, norm.weight),
                                       .dbias = param_grad(&base->params, norm.bias)});
}

/* pass->dx: gradient at the layer's output on entry, at its input on return. */
static status_t layer_backward(tower_pass_t *pass, base_t *base, int32_t index, int64_t rows) {
  const tower_layer_t *layer = &base->tower[index];
  const tower_saved_t *saved = &pass->saved[index];
  int64_t f = base->config.vision_mlp;
  TRY(tower_linear_backward(pass, base, rows, layer->fc2, saved->hidden, pass->dx, pass->dhidden, false));
  TRY(OP(pass->device, activation_backward,
         &(op_activation_backward_t){.n = rows * f,
                                     .activation = tower_activation(base),
                                     .pre = saved->pre,
                                     .dy = pass->dhidden,
                                     .dx = pass->dhidden}));
  TRY(tower_linear_backward(pass, base, rows, layer->fc1, saved->n2, pass->dhidden, pass->dn, false));
  TRY(tower_layernorm_backward(pass, base, rows, saved->mid, layer->norm2, saved->mean2, saved->rstd2,
                               pass->dn, pass->dx, true));
  TRY(tower_linear_backward(pass, base, rows, layer->out, saved->attended, pass->dx, pass->dn, false));
  op_attention_backward_t attention = {.forward = tower_attention_of(pass, base, saved),
                                       .dout = pass->dn,
                                       .dq = pass->dq,
                                       .dk = pass->dk,
                                       .dv = pass->dv};
  TRY(OP(pass->device, attention_backward, &attention));
  TRY(tower_linear_backward(pass, base, rows, layer->q, saved->n1, pass->dq, pass->dn, false));
  TRY(tower_linear_backward(pass, base, rows, layer->k, saved->n1, pass->dk, pass->dn, true));
  TRY(tower_linear_backward(pass, base, rows, layer->v, saved->n1, pass->dv, pass->dn, true));
  return tower_layernorm_backward(pass, base, rows, saved->x, layer->norm1, saved->mean1, saved->rstd1,
                                  pass->dn, pass->dx, true);
}

static status_t patches_backward(tower_pass_t *pass, base_t *base, const real_t *dx) {
  return tower_linear_backward(pass, base, (int64_t)pass->count * config_patches(&base->config),
                               base->patch_embedding, pass->patches, dx, NULL, false);
}

static status_t positions_backward(tower_pass_t *pass, base_t *base, int64_t rows, const real_t *dx) {
  int64_t c = base->config.vision_hidden;
  return OP(pass->device, sum_periodic,
            &(op_sum_periodic_t){.rows = rows,
                                 .cols = c,
                                 .period = config_tower_tokens(&base->config),
                                 .x = dx,
                                 .ldx = c,
                                 .sums = param_grad(&base->params, base->position_embedding)});
}

static status_t tower_embed_backward(tower_pass_t *pass, base_t *base, int64_t rows) {
  const model_config_t *config = &base->config;
  int64_t c = config->vision_hidden, p = (int64_t)pass->count * config_patches(config);
  if (config->tower == TOWER_SIGLIP) {
    TRY(positions_backward(pass, base, rows, pass->dx));
    return patches_backward(pass, base, pass->dx);
  }
  TRY(tower_layernorm_backward(pass, base, rows, pass->embedded, base->pre_norm, pass->mean0, pass->rstd0,
                               pass->dx, pass->dn, false));
  TRY(positions_backward(pass, base, rows, pass->dn));
  /* Class rows are (P + 1) apart: a matrix of COUNT rows with that stride. */
  TRY(OP(pass->device, sum_periodic,
         &(op_sum_periodic_t){.rows = pass->count,
                              .cols = c,
                              .period = 1,
                              .x = pass->dn,
                              .ldx = c * config_tower_tokens(config),
                              .sums = param_grad(&base->params, base->class_embedding)}));
  TRY(rows_gather(pass->device, p, c, pass->dn, pass->patch_index, pass->patch_rows, false));
  return patches_backward(pass, base, pass->patch_rows);
}

/* Projector's gradients; dfeatures (rows, vision hidden) = unless NULL. */
static status_t projector_backward(tower_pass_t *pass, base_t *base, int64_t rows, const real_t *dout,
                                   real_t *dfeatures) {
  const model_config_t *config = &base->config;
  int64_t out = config->hidden;
  if (config->projector == PROJECTOR_LINEAR)
    return tower_linear_backward(pass, base, rows, base->projector[0], pass->used_features, dout, dfeatures,
                                 false);
  TRY(tower_linear_backward(pass, base, rows, base->projector[1], pass->project_hidden, dout, pass->dproject,
                            false));
  TRY(OP(pass->device, activation_backward,
         &(op_activation_backward_t){.n = rows * out,
                                     .activation = ACTIVATION_GELU,
                                     .pre = pass->project_pre,
                                     .dy = pass->dproject,
                                     .dx = pass->dproject}));
  return tower_linear_backward(pass, base, rows, base->projector[0], pass->used_features, pass->dproject,
                               dfeatures, false);
}

static status_t backward_run(tower_pass_t *pass, base_t *base, const real_t *dout) {
  const model_config_t *config = &base->config;
  int64_t c = config->vision_hidden, p = (int64_t)pass->count * config_patches(config);
  int64_t rows = (int64_t)pass->count * config_tower_tokens(config);
  bool through = param_grad(&base->params, base->patch_embedding.weight) != NULL;
  TRY(projector_backward(pass, base, p, dout, through ? pass->patch_rows : NULL));
  if (!through) return STATUS_OK;
  TRY(OP(pass->device, fill_real, &(op_fill_real_t){.n = rows * c, .value = 0.0, .x = pass->dx}));
  TRY(rows_scatter(pass->device, p, c, pass->patch_rows, pass->patch_index, pass->dx, false));
  for (int32_t l = config_tower_layers(config) - 1; l >= 0; l--)
    TRY(layer_backward(pass, base, l, rows));
  return tower_embed_backward(pass, base, rows);
}

status_t tower_backward(tower_pass_t *pass, base_t *base, int32_t count, const real_t *dout) {
  if (count == 0) return STATUS_OK;
  return backward_run(pass, base, dout);
}
