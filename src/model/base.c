#include "model/base.h"

#include "base/memory.h"
#include "tensor/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const proj_names[PROJ_COUNT] = {
    [PROJ_Q] = "self_attn.q_proj", [PROJ_K] = "self_attn.k_proj", [PROJ_V] = "self_attn.v_proj",
    [PROJ_O] = "self_attn.o_proj", [PROJ_GATE] = "mlp.gate_proj", [PROJ_UP] = "mlp.up_proj",
    [PROJ_DOWN] = "mlp.down_proj",
};

const char *proj_name(proj_t proj) {
  return proj_names[proj];
}

/* (out, in) of a projection. */
static void proj_shape(const model_config_t *config, proj_t proj, int64_t *out, int64_t *in) {
  *out = *in = config->hidden;
  if (proj == PROJ_Q) *out = (int64_t)config->heads * config->head_size;
  if (proj == PROJ_K || proj == PROJ_V) *out = (int64_t)config->kv_heads * config->head_size;
  if (proj == PROJ_O) *in = (int64_t)config->heads * config->head_size;
  if (proj == PROJ_GATE || proj == PROJ_UP) *out = config->mlp;
  if (proj == PROJ_DOWN) *in = config->mlp;
}

/* How a projection is split: its outputs over tp where the next operation works on shares, else its inputs.
 */
static split_t proj_split(proj_t proj) {
  if (proj == PROJ_O || proj == PROJ_DOWN) return SPLIT_COLUMNS;
  return proj == PROJ_K || proj == PROJ_V ? SPLIT_KV_ROWS : SPLIT_ROWS;
}

static bool proj_has_bias(const model_config_t *config, proj_t proj) {
  if (proj >= PROJ_GATE) return config->mlp_bias;
  return proj == PROJ_O ? config->o_bias : config->qkv_bias;
}

/* A shard held by several ranks, whose queries differ, gets a part of its gradient on each. */
static complete_t proj_complete(const model_config_t *config, proj_t proj, int tp) {
  return proj_split(proj) == SPLIT_KV_ROWS && tp > config->kv_heads ? COMPLETE_SUM : COMPLETE_LOCAL;
}

static const char tower_prefix[] = "model.vision_tower.vision_tower.vision_model";

static bool is_trained_in(train_mode_t mode, const char *name) {
  if (mode == TRAIN_ALL) return true;
  bool tower = strncmp(name, tower_prefix, strlen(tower_prefix)) == 0;
  bool projector = strncmp(name, "model.mm_projector", 18) == 0;
  if (mode == TRAIN_PROJECTOR) return projector;
  return mode == TRAIN_DECODER && !tower;
}

static weight_format_t base_format(const base_t *base, const char *name, weight_format_t frozen) {
  return is_trained_in(base->storage.mode, name) ? WEIGHT_REAL : frozen;
}

static status_t base_add_matrix(base_t *base, const char *name, split_t split, complete_t complete,
                                int64_t rows, int64_t cols, double scale, int32_t *id) {
  return params_add(&base->params,
                    &(param_spec_t){.name = name,
                                    .split = split,
                                    .complete = complete,
                                    .ndim = 2,
                                    .shape = {rows, cols},
                                    .format = base_format(base, name, base->storage.matrices),
                                    .init = INIT_NORMAL,
                                    .init_scale = scale},
                    id);
}

static status_t base_add_vector(params_t *params, const char *name, complete_t complete, int64_t n,
                                init_t init, double scale, int32_t *id) {
  return params_add(params,
                    &(param_spec_t){.name = name,
                                    .split = SPLIT_NONE,
                                    .complete = complete,
                                    .ndim = 1,
                                    .shape = {n},
                                    .init = init,
                                    .init_scale = scale},
                    id);
}

/* A linear layer of the tower or projector: replicated, run on a share of the images, so gradients are
 * summed. */
static status_t base_add_linear(base_t *base, const char *prefix, const char *name, int64_t out, int64_t in,
                                double scale, linear_t *linear) {
  char full[PARAM_NAME_MAX];
  snprintf(full, sizeof full, "%s.%s.weight", prefix, name);
  TRY(base_add_matrix(base, full, SPLIT_NONE, COMPLETE_SUM, out, in, scale, &linear->weight));
  snprintf(full, sizeof full, "%s.%s.bias", prefix, name);
  return base_add_vector(&base->params, full, COMPLETE_SUM, out, INIT_ZERO, 0.0, &linear->bias);
}

static status_t base_add_layernorm(params_t *params, const char *prefix, const char *name, int64_t n,
                                   linear_t *norm) {
  char full[PARAM_NAME_MAX];
  snprintf(full, sizeof full, "%s.%s.weight", prefix, name);
  TRY(base_add_vector(params, full, COMPLETE_SUM, n, INIT_ONE, 0.0, &norm->weight));
  snprintf(full, sizeof full, "%s.%s.bias", prefix, name);
  return base_add_vector(params, full, COMPLETE_SUM, n, INIT_ZERO, 0.0, &norm->bias);
}

static status_t base_add_tower_layer(base_t *base, int32_t index) {
  const model_config_t *config = &base->config;
  params_t *params = &base->params;
  tower_layer_t *layer = &base->tower[index];
  int64_t c = config->vision_hidden, f = config->vision_mlp;
  double in_scale = 1.0 / sqrt((double)c);
  double residual = 1.0 / sqrt(2.0 * config->vision_layers);
  char prefix[PARAM_NAME_MAX / 2];
  snprintf(prefix, sizeof prefix, "%s.encoder.layers.%d", tower_prefix, index);
  TRY(base_add_layernorm(params, prefix, "layer_norm1", c, &layer->norm1));
  TRY(base_add_linear(base, prefix, "self_attn.q_proj", c, c, in_scale, &layer->q));
  TRY(base_add_linear(base, prefix, "self_attn.k_proj", c, c, in_scale, &layer->k));
  TRY(base_add_linear(base, prefix, "self_attn.v_proj", c, c, in_scale, &layer->v));
  TRY(base_add_linear(base, prefix, "self_attn.out_proj", c, c, in_scale * residual, &layer->out));
  TRY(base_add_layernorm(params, prefix, "layer_norm2", c, &layer->norm2));
  TRY(base_add_linear(base, prefix, "mlp.fc1", f, c, in_scale, &layer->fc1));
  return base_add_linear(base, prefix, "mlp.fc2", c, f, residual / sqrt((double)f), &layer->fc2);
}

/* Class, patch and position embeddings, as many of them as the tower's kind has. */
static status_t base_add_tower_embeddings(base_t *base) {
  const model_config_t *config = &base->config;
  params_t *params = &base->params;
  int64_t c = config->vision_hidden, patch = config->vision_patch;
  char name[PARAM_NAME_MAX];
  if (config->tower == TOWER_CLIP) {
    snprintf(name, sizeof name, "%s.embeddings.class_embedding", tower_prefix);
    TRY(base_add_vector(params, name, COMPLETE_SUM, c, INIT_NORMAL, 0.02, &base->class_embedding));
  }
  snprintf(name, sizeof name, "%s.embeddings.patch_embedding.weight", tower_prefix);
  TRY(params_add(params,
                 &(param_spec_t){.name = name,
                                 .split = SPLIT_NONE,
                                 .complete = COMPLETE_SUM,
                                 .ndim = 4,
                                 .shape = {c, 3, patch, patch},
                                 .format = base_format(base, name, base->storage.matrices),
                                 .init = INIT_NORMAL,
                                 .init_scale = 1.0 / sqrt((double)config_patch_size(config))},
                 &base->patch_embedding.weight));
  base->patch_embedding.bias = -1;
  if (config->tower == TOWER_SIGLIP) {
    snprintf(name, sizeof name, "%s.embeddings.patch_embedding.bias", tower_prefix);
    TRY(base_add_vector(params, name, COMPLETE_SUM, c, INIT_ZERO, 0.0, &base->patch_embedding.bias));
  }
  snprintf(name, sizeof name, "%s.embeddings.position_embedding.weight", tower_prefix);
  return params_add(params,
                    &(param_spec_t){.name = name,
                                    .split = SPLIT_NONE,
                                    .complete = COMPLETE_SUM,
                                    .ndim = 2,
                                    .shape = {config_tower_tokens(config), c},
                                    .init = INIT_NORMAL,
                                    .init_scale = 0.5},
                    &base->position_embedding);
}

static status_t base_add_tower(base_t *base) {
  const model_config_t *config = &base->config;
  int64_t c = config->vision_hidden;
  TRY(base_add_tower_embeddings(base));
  if (config->tower == TOWER_CLIP)
    TRY(base_add_layernorm(&base->params, tower_prefix, "pre_layrnorm", c, &base->pre_norm));
  for (int32_t l = 0; l < config_tower_layers(config); l++)
    TRY(base_add_tower_layer(base, l));
  int64_t h = config->hidden;
  if (config->projector == PROJECTOR_LINEAR)
    return base_add_linear(base, "model", "mm_projector", h, c, 1.0 / sqrt((double)c), &base->projector[0]);
  TRY(base_add_linear(base, "model", "mm_projector.0", h, c, 1.0 / sqrt((double)c), &base->projector[0]));
  return base_add_linear(base, "model", "mm_projector.2", h, h, 1.0 / sqrt((double)h), &base->projector[1]);
}

static status_t base_add_projection(base_t *base, int32_t index, proj_t proj, bool follows) {
  const model_config_t *config = &base->config;
  int64_t out, in;
  char name[PARAM_NAME_MAX];
  proj_shape(config, proj, &out, &in);
  double scale = 1.0 / sqrt((double)in);
  if (proj_split(proj) == SPLIT_COLUMNS) scale /= sqrt(2.0 * config->layers);
  snprintf(name, sizeof name, "model.layers.%d.%s.weight", index, proj_names[proj]);
  return params_add(&base->params,
                    &(param_spec_t){.name = name,
                                    .split = proj_split(proj),
                                    .complete = proj_complete(config, proj, base->params.grid->tp_size),
                                    .ndim = 2,
                                    .shape = {out, in},
                                    .heads = config->kv_heads,
                                    .format = base_format(base, name, base->storage.projections),
                                    .follows = follows,
                                    .init = INIT_NORMAL,
                                    .init_scale = scale},
                    &base->layers[index].proj[proj]);
}

/* A bias is split as the outputs are; where ranks add up parts of all outputs, each has the whole of it. */
static status_t base_add_projection_bias(base_t *base, int32_t index, proj_t proj) {
  const model_config_t *config = &base->config;
  int64_t out, in;
  char name[PARAM_NAME_MAX];
  bool whole = proj_split(proj) == SPLIT_COLUMNS;
  int32_t *id = &base->layers[index].bias[proj];
  *id = -1;
  if (!proj_has_bias(config, proj)) return STATUS_OK;
  proj_shape(config, proj, &out, &in);
  snprintf(name, sizeof name, "model.layers.%d.%s.bias", index, proj_names[proj]);
  return params_add(&base->params,
                    &(param_spec_t){.name = name,
                                    .split = whole ? SPLIT_NONE : proj_split(proj),
                                    .complete = whole
                                                    ? COMPLETE_EQUAL
                                                    : proj_complete(config, proj, base->params.grid->tp_size),
                                    .ndim = 1,
                                    .shape = {out},
                                    .heads = config->kv_heads,
                                    .init = INIT_ZERO},
                    id);
}

/* The projections that read the same input as FIRST: their weights side by side, and then their biases. */
static status_t base_add_projections(base_t *base, int32_t index, proj_t first) {
  static const proj_t firsts[PROJ_COUNT] = {PROJ_Q, PROJ_Q, PROJ_Q, PROJ_O, PROJ_GATE, PROJ_GATE, PROJ_DOWN};
  for (int p = 0; p < PROJ_COUNT; p++)
    if (firsts[p] == first) TRY(base_add_projection(base, index, (proj_t)p, p > (int)first));
  for (int p = 0; p < PROJ_COUNT; p++)
    if (firsts[p] == first) TRY(base_add_projection_bias(base, index, (proj_t)p));
  return STATUS_OK;
}

static status_t base_add_decoder_norm(base_t *base, int32_t index, const char *norm, int32_t *id) {
  char name[PARAM_NAME_MAX];
  snprintf(name, sizeof name, "model.layers.%d.%s.weight", index, norm);
  return base_add_vector(&base->params, name, COMPLETE_EQUAL, base->config.hidden, INIT_ONE, 0.0, id);
}

static status_t base_add_decoder_layer(base_t *base, int32_t index) {
  decoder_layer_t *layer = &base->layers[index];
  TRY(base_add_decoder_norm(base, index, "input_layernorm", &layer->input_norm));
  TRY(base_add_projections(base, index, PROJ_Q));
  TRY(base_add_projections(base, index, PROJ_O));
  TRY(base_add_decoder_norm(base, index, "post_attention_layernorm", &layer->post_norm));
  TRY(base_add_projections(base, index, PROJ_GATE));
  return base_add_projections(base, index, PROJ_DOWN);
}

static status_t base_add_decoder(base_t *base) {
  const model_config_t *config = &base->config;
  double scale = 1.0 / sqrt((double)config->hidden);
  /* A row of the embedding is as large as what the layers add to it, unless it is the output head as well. */
  TRY(base_add_matrix(base, "model.embed_tokens.weight", SPLIT_VOCAB, COMPLETE_LOCAL, config->vocab,
                      config->hidden, config->tied ? scale : 1.0, &base->embed));
  for (int32_t l = 0; l < config->layers; l++)
    TRY(base_add_decoder_layer(base, l));
  TRY(base_add_vector(&base->params, "model.norm.weight", COMPLETE_EQUAL, config->hidden, INIT_ONE, 0.0,
                      &base->final_norm));
  base->lm_head = base->embed;
  if (config->tied) return STATUS_OK;
  return base_add_matrix(base, "lm_head.weight", SPLIT_VOCAB, COMPLETE_LOCAL, config->vocab, config->hidden,
                         scale, &base->lm_head);
}

static status_t base_describe(base_t *base) {
  const model_config_t *config = &base->config;
  TRY(memory_alloc(&base->layers, ARENA_OTHER, (size_t)config->layers, sizeof *base->layers));
  TRY(memory_alloc(&base->tower, ARENA_OTHER, (size_t)config_tower_layers(config), sizeof *base->tower));
  if (config_sees(config)) TRY(base_add_tower(base));
  TRY(base_add_decoder(base));
  const partition_t *vocab = &base->params.items[base->embed].partition;
  const partition_t *q = &base->params.items[base->layers[0].proj[PROJ_Q]].partition;
  const partition_t *k = &base->params.items[base->layers[0].proj[PROJ_K]].partition;
  const partition_t *gate = &base->params.items[base->layers[0].proj[PROJ_GATE]].partition;
  base->heads = (int32_t)(q->local_rows / config->head_size);
  base->kv_heads = (int32_t)(k->local_rows / config->head_size);
  base->mlp = (int32_t)gate->local_rows;
  base->vocab_begin = vocab->row_begin;
  base->vocab_count = vocab->row_count;
  base->vocab_rows = vocab->local_rows;
  return STATUS_OK;
}

status_t base_outline(device_t *device, const grid_t *grid, const model_config_t *config,
                      const base_storage_t *storage, base_t *out) {
  *out = (base_t){.config = *config};
  if (storage) out->storage = *storage;
  TRY(config_check_tp(config, grid->tp_size));
  params_create(device, grid, "base", &out->params);
  status_code_t status = base_describe(out);
  if (status != STATUS_OK) base_free(out);
  return status;
}

status_t base_create(device_t *device, const grid_t *grid, const model_config_t *config,
                     const base_storage_t *storage, base_t *out) {
  TRY(base_outline(device, grid, config, storage, out));
  status_code_t status = params_allocate(&out->params);
  if (status != STATUS_OK) base_free(out);
  return status;
}

void base_free(base_t *base) {
  params_free(&base->params);
  memory_free(base->layers);
  memory_free(base->tower);
  base->layers = NULL;
  base->tower = NULL;
}

/* What follows "PREFIX.INDEX." in NAME, with the index; NULL where NAME begins otherwise. */
static const char *after_index(const char *name, const char *prefix, int32_t *index) {
  size_t n = strlen(prefix);
  char *end;
  if (strncmp(name, prefix, n) != 0 || name[n] < '0' || name[n] > '9') return NULL;
  long number = strtol(name + n, &end, 10);
  *index = number < INT32_MAX ? (int32_t)number : INT32_MAX;
  return *end == '.' ? end + 1 : NULL;
}

static bool base_is_one_of(const char *name, const char *const *modules, size_t count) {
  static const char *const kinds[] = {".weight", ".bias"};
  for (size_t m = 0; m < count; m++)
    for (int k = 0; k < 2; k++) {
      size_t n = strlen(modules[m]);
      if (strncmp(name, modules[m], n) == 0 && strcmp(name + n, kinds[k]) == 0) return true;
    }
  return false;
}

/* SigLIP pools its last hidden states by attention. */
static bool is_of_pooling_head(const model_config_t *config, const char *name) {
  static const char *const tensors[] = {"head.probe", "head.attention.in_proj_weight",
                                        "head.attention.in_proj_bias"};
  static const char *const modules[] = {"head.attention.out_proj", "head.layernorm", "head.mlp.fc1",
                                        "head.mlp.fc2"};
  if (config->tower != TOWER_SIGLIP) return false;
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
    if (strcmp(name, tensors[i]) == 0) return true;
  return base_is_one_of(name, modules, sizeof modules / sizeof *modules);
}

bool base_leaves_unused(const model_config_t *config, const char *name) {
  static const char *const in_layer[] = {"layer_norm1",      "layer_norm2",      "self_attn.q_proj",
                                         "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj",
                                         "mlp.fc1",          "mlp.fc2"};
  static const char *const last_norm[] = {"post_layernorm"};
  size_t n = strlen(tower_prefix);
  int32_t index;
  const char *rest = after_index(name, "model.layers.", &index);
  if (rest) return index < config->layers && strcmp(rest, "self_attn.rotary_emb.inv_freq") == 0;
  if (strncmp(name, tower_prefix, n) != 0 || name[n] != '.') return false;
  name += n + 1;
  rest = after_index(name, "encoder.layers.", &index);
  if (rest)
    return index >= config_tower_layers(config) && index < config->vision_layers &&
           base_is_one_of(rest, in_layer, sizeof in_layer / sizeof *in_layer);
  return base_is_one_of(name, last_norm, 1) || is_of_pooling_head(config, name) ||
         strcmp(name, "embeddings.position_ids") == 0;
}

static bool trained_in(const param_t *param, const void *context) {
  return is_trained_in(*(const train_mode_t *)context, param->name);
}

status_t base_set_trainable(base_t *base, train_mode_t mode) {
  return params_set_trainable(&base->params, trained_in, &mode);
}

/* Adds A or B of one projection of one layer. Over tp each rank has a share of A's columns and of B's rows,
 * whichever way the projection is split: the ranks make parts of u = x A^T, whose sum all of them need, and
 * of the columns of u B^T. So no product is made twice, and gradients are whole where their weights are; but
 * for B beside a key-value head that several ranks hold. */
static status_t base_add_lora(const base_t *base, adapter_t *adapter, int32_t layer, proj_t proj, bool is_a) {
  params_t *params = &adapter->params;
  int64_t out, in, r = adapter->config.r;
  proj_shape(&base->config, proj, &out, &in);
  char name[PARAM_NAME_MAX];
  snprintf(name, sizeof name, "model.layers.%d.%s.lora_%c.weight", layer, proj_names[proj], is_a ? 'A' : 'B');
  param_spec_t spec = {.name = name, .ndim = 2, .heads = base->config.kv_heads};
  if (is_a) {
    spec.split = SPLIT_COLUMNS;
    spec.complete = COMPLETE_LOCAL;
    spec.shape[0] = r;
    spec.shape[1] = in;
    spec.init = INIT_UNIFORM;
    spec.init_scale = 1.0 / sqrt((double)in);
    return params_add(params, &spec, &adapter->a[layer][proj]);
  }
  spec.split = proj_split(proj) == SPLIT_KV_ROWS ? SPLIT_KV_ROWS : SPLIT_ROWS;
  spec.complete = proj_complete(&base->config, proj, params->grid->tp_size);
  spec.shape[0] = out;
  spec.shape[1] = r;
  spec.init = INIT_ZERO;
  return params_add(params, &spec, &adapter->b[layer][proj]);
}

/* All A of one layer, then all B: those of projections that read the same input are one matrix. */
static status_t base_add_lora_layer(const base_t *base, adapter_t *adapter, int32_t layer) {
  for (int p = 0; p < PROJ_COUNT; p++)
    adapter->a[layer][p] = adapter->b[layer][p] = -1;
  for (int is_a = 1; is_a >= 0; is_a--)
    for (int p = 0; p < PROJ_COUNT; p++)
      if (adapter->config.targets[p]) TRY(base_add_lora(base, adapter, layer, (proj_t)p, is_a == 1));
  return STATUS_OK;
}

static status_t adapter_describe(const base_t *base, adapter_t *adapter) {
  size_t layers = (size_t)base->config.layers;
  TRY(memory_alloc(&adapter->a, ARENA_OTHER, layers, sizeof *adapter->a));
  TRY(memory_alloc(&adapter->b, ARENA_OTHER, layers, sizeof *adapter->b));
  for (int32_t l = 0; l < base->config.layers; l++)
    TRY(base_add_lora_layer(base, adapter, l));
  return STATUS_OK;
}

status_t adapter_outline(const base_t *base, const adapter_config_t *config, const char *name,
                         adapter_t *out) {
  *out = (adapter_t){.config = *config};
  if (config->r < 1) return error_set(STATUS_INPUT, "adapter.r is %d, expected at least 1", config->r);
  params_create(base->params.device, base->params.grid, name, &out->params);
  status_code_t status = adapter_describe(base, out);
  if (status != STATUS_OK) adapter_free(out);
  return status;
}

status_t adapter_create(const base_t *base, const adapter_config_t *config, const char *name,
                        adapter_t *out) {
  TRY(adapter_outline(base, config, name, out));
  status_code_t status = params_allocate(&out->params);
  if (status != STATUS_OK) adapter_free(out);
  return status;
}

void adapter_free(adapter_t *adapter) {
  params_free(&adapter->params);
  memory_free(adapter->a);
  memory_free(adapter->b);
  adapter->a = adapter->b = NULL;
}

status_t adapter_copy(const adapter_t *from, adapter_t *to) {
  if (from->params.elements != to->params.elements)
    return error_set(STATUS_INTERNAL, "adapters '%s' and '%s' have %lld and %lld weights", from->params.name,
                     to->params.name, (long long)from->params.elements, (long long)to->params.elements);
  return OP(to->params.device, copy,
            &(op_copy_t){.n = from->params.elements, .x = from->params.data, .y = to->params.data});
}

static status_t base_head_describe(const base_t *base, bool zero, head_t *head) {
  double scale = 1.0 / sqrt((double)base->config.hidden);
  TRY(params_add(&head->params,
                 &(param_spec_t){.name = "weight",
                                 .split = SPLIT_NONE,
                                 .complete = COMPLETE_EQUAL,
                                 .ndim = 2,
                                 .shape = {1, base->config.hidden},
                                 .init = zero ? INIT_ZERO : INIT_UNIFORM,
                                 .init_scale = scale},
                 &head->weight));
  return base_add_vector(&head->params, "bias", COMPLETE_EQUAL, 1, INIT_ZERO, 0.0, &head->bias);
}

status_t head_outline(const base_t *base, const char *name, bool zero, head_t *out) {
  *out = (head_t){0};
  params_create(base->params.device, base->params.grid, name, &out->params);
  status_code_t status = base_head_describe(base, zero, out);
  if (status != STATUS_OK) head_free(out);
  return status;
}

status_t head_create(const base_t *base, const char *name, bool zero, head_t *out) {
  TRY(head_outline(base, name, zero, out));
  status_code_t status = params_allocate(&out->params);
  if (status != STATUS_OK) head_free(out);
  return status;
}

void head_free(head_t *head) {
  params_free(&head->params);
}
