#include "model/traffic.h"

static double real_bytes(const params_t *params) {
  return (double)dtype_size(params->device->real_type);
}

static double wide_bytes(const params_t *params) {
  return (double)dtype_size(params->device->wide_type);
}

static void add(const params_t *params, int32_t id, traffic_t *traffic) {
  const param_t *param = &params->items[id];
  traffic->weights += (double)param->elements * real_bytes(params);
  if (param->trainable) traffic->gradients += 2.0 * (double)param->elements * wide_bytes(params);
}

static void add_linear(const params_t *params, linear_t ids, traffic_t *traffic) {
  add(params, ids.weight, traffic);
  add(params, ids.bias, traffic);
}

traffic_t traffic_decoder(const role_t *role) {
  const base_t *base = role->base;
  traffic_t traffic = {0};
  for (int32_t l = 0; l < base->config.layers; l++) {
    const decoder_layer_t *layer = &base->layers[l];
    add(&base->params, layer->input_norm, &traffic);
    add(&base->params, layer->post_norm, &traffic);
    for (int p = 0; p < PROJ_COUNT; p++)
      add(&base->params, layer->proj[p], &traffic);
  }
  add(&base->params, base->final_norm, &traffic);
  for (int32_t i = 0; role->adapter && i < role->adapter->params.count; i++)
    add(&role->adapter->params, i, &traffic);
  return traffic;
}

traffic_t traffic_head(const base_t *base) {
  traffic_t traffic = {0};
  add(&base->params, base->lm_head, &traffic);
  return traffic;
}

traffic_t traffic_tower(const base_t *base) {
  const params_t *params = &base->params;
  traffic_t traffic = {0};
  add(params, base->class_embedding, &traffic);
  add(params, base->patch_embedding, &traffic);
  add(params, base->position_embedding, &traffic);
  add_linear(params, base->pre_norm, &traffic);
  for (int32_t l = 0; l < config_tower_layers(&base->config); l++) {
    const tower_layer_t *layer = &base->tower[l];
    const linear_t all[] = {layer->norm1, layer->norm2, layer->q,   layer->k,
                            layer->v,     layer->out,   layer->fc1, layer->fc2};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
      add_linear(params, all[i], &traffic);
  }
  return traffic;
}

traffic_t traffic_projector(const base_t *base) {
  traffic_t traffic = {0};
  add_linear(&base->params, base->projector[0], &traffic);
  if (base->config.projector != PROJECTOR_LINEAR) add_linear(&base->params, base->projector[1], &traffic);
  return traffic;
}

double traffic_cache(const base_t *base, double positions) {
  return 2.0 * base->config.layers * base->kv_heads * base->config.head_size * positions *
         real_bytes(&base->params);
}

/* As pass_saved_t of pass_internal.h: x, n1, mid, n2 | q, attended | k, v | gate, up, act | u. */
static double kept_reals(const role_t *role) {
  const base_t *base = role->base;
  double reals = 4.0 * base->config.hidden + 2.0 * base->heads * base->config.head_size +
                 2.0 * base->kv_heads * base->config.head_size + 3.0 * base->mlp;
  for (int p = 0; role->adapter && p < PROJ_COUNT; p++)
    if (role->adapter->config.targets[p]) reals += role->adapter->config.r;
  return reals;
}

double traffic_kept(const role_t *role, double rows, bool recompute) {
  const base_t *base = role->base;
  const params_t *params = &base->params;
  if (recompute) return rows * base->config.layers * base->config.hidden * real_bytes(params);
  double wides = 2.0 + base->heads; /* the norms' deviations, the attention's sums */
  return rows * base->config.layers * (kept_reals(role) * real_bytes(params) + wides * wide_bytes(params));
}

/* As tower_saved_t of tower.c: x, n1, q, k, v, attended, mid, n2 | pre, hidden. */
double traffic_tower_kept(const base_t *base, double rows) {
  const model_config_t *config = &base->config;
  double reals = 8.0 * config->vision_hidden + 2.0 * config->vision_mlp;
  double wides = 4.0 + config->vision_heads; /* two norms' means and deviations, the attention's sums */
  return rows * config_tower_layers(config) *
         (reals * real_bytes(&base->params) + wides * wide_bytes(&base->params));
}
