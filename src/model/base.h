/* A base: decoder, vision tower and projector weights that roles share; adapters and heads that set roles
 * apart. */
#ifndef MODEL_BASE_H
#define MODEL_BASE_H

#include "model/config.h"
#include "model/params.h"

/* The seven projections that adapters may target, in the order of the forward pass. */
typedef enum { PROJ_Q, PROJ_K, PROJ_V, PROJ_O, PROJ_GATE, PROJ_UP, PROJ_DOWN, PROJ_COUNT } proj_t;
/* "self_attn.q_proj", ... */
const char *proj_name(proj_t proj);

/* Param ids of one decoder layer. */
typedef struct {
  int32_t input_norm, post_norm;
  int32_t proj[PROJ_COUNT];
  int32_t bias[PROJ_COUNT]; /* -1: none; those of projections that read the same input lie side by side */
} decoder_layer_t;

/* Param ids of a linear layer with bias. */
typedef struct {
  int32_t weight, bias;
} linear_t;

typedef struct {
  linear_t norm1, norm2, q, k, v, out, fc1, fc2;
} tower_layer_t;

/* Which parts are trained (model.train). */
typedef enum { TRAIN_NOTHING, TRAIN_LORA, TRAIN_PROJECTOR, TRAIN_DECODER, TRAIN_ALL } train_mode_t;

/* In which formats a base's weights are kept: those of the seven projections, and the other matrices that
 * operations take in any format (embedding, output head, tower, projector). What MODE trains, and all else,
 * is kept in the compute type. HALF_KEYS: the decoder's keys and values are rounded to bf16 in every pass,
 * and caches hold them in 16 bits: log-probabilities of decode steps and of training passes stay the same
 * numbers. Gradients go through the rounding as if it were not there. */
typedef struct {
  weight_format_t projections, matrices;
  train_mode_t mode;
  bool half_keys;
} base_storage_t;

typedef struct {
  model_config_t config;
  base_storage_t storage;
  params_t params;
  /* Decoder. */
  int32_t embed, final_norm, lm_head; /* lm_head == embed where tied */
  decoder_layer_t *layers;            /* (config.layers) */
  /* Tower: only the layers that are run. */
  int32_t class_embedding;  /* CLIP's */
  linear_t patch_embedding; /* bias: SigLIP's, else -1 */
  int32_t position_embedding;
  linear_t pre_norm;     /* CLIP's */
  tower_layer_t *tower;  /* (config_tower_layers) */
  linear_t projector[2]; /* the second unused where linear */
  /* This rank's share of the decoder. */
  int32_t heads, kv_heads; /* local */
  int32_t mlp;             /* local */
  int64_t vocab_begin;     /* of this shard */
  int64_t vocab_count;     /* true ids of this shard */
  int64_t vocab_rows;      /* stored, padded */
} base_t;

/* Describes and allocates a base for this rank; contents undefined until initialised or loaded. STORAGE NULL:
 * all in the compute type. Local. Errors: STATUS_INPUT where tp does not divide. Free with base_free. */
status_t base_create(device_t *device, const grid_t *grid, const model_config_t *config,
                     const base_storage_t *storage, base_t *out);
/* The same without memory for the weights: their names, shapes and shares. Local. */
status_t base_outline(device_t *device, const grid_t *grid, const model_config_t *config,
                      const base_storage_t *storage, base_t *out);
void base_free(base_t *base);
/* Whether published weights under NAME may lie beside those of a model of CONFIG without being used: tower
 * layers behind those that are run, the tower's last norm and pooling head, tables that are computed here.
 * Local. */
bool base_leaves_unused(const model_config_t *config, const char *name);
/* Gradients for the parts MODE trains (none for TRAIN_LORA). Local. */
status_t base_set_trainable(base_t *base, train_mode_t mode);

typedef struct {
  int32_t r;
  double alpha;
  bool targets[PROJ_COUNT];
} adapter_config_t;

typedef struct {
  adapter_config_t config;
  params_t params;
  int32_t (*a)[PROJ_COUNT]; /* (layers): param ids of A (r, in) and B (out, r); -1 where not targeted */
  int32_t (*b)[PROJ_COUNT];
} adapter_t;

/* A LoRA adapter for BASE: A Kaiming-uniform (a = sqrt 5), B zero once initialised. Free with adapter_free.
 * Local. */
status_t adapter_create(const base_t *base, const adapter_config_t *config, const char *name, adapter_t *out);
/* The same without memory for the weights. Local. */
status_t adapter_outline(const base_t *base, const adapter_config_t *config, const char *name,
                         adapter_t *out);
void adapter_free(adapter_t *adapter);
/* Sets TO's weights to FROM's; both for the same base and config. Local. */
status_t adapter_copy(const adapter_t *from, adapter_t *to);

/* A scalar head: weight (1, C), bias (1). */
typedef struct {
  params_t params;
  int32_t weight, bias;
} head_t;

/* ZERO: weight zero (value head), else PyTorch's default for a linear layer; bias zero either way, once
 * initialised. Local. */
status_t head_create(const base_t *base, const char *name, bool zero, head_t *out);
/* The same without memory for the weights. Local. */
status_t head_outline(const base_t *base, const char *name, bool zero, head_t *out);
void head_free(head_t *head);

/* A role: what makes one of policy, reference, reward, value out of a base. Nothing is owned. */
typedef struct {
  base_t *base;
  adapter_t *adapter; /* NULL: none */
  head_t *head;       /* NULL: none */
} role_t;

#endif
