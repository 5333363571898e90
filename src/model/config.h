/* Sizes of a model: decoder, vision tower, projector. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include "base/status.h"
#include "tensor/rope.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum { PROJECTOR_LINEAR, PROJECTOR_MLP2X_GELU } projector_t;

/* A CLIP tower has a class token, a norm before its layers and quick GELU; a SigLIP tower has a bias of its
 * patch embedding and GELU (tanh) instead. */
typedef enum { TOWER_CLIP, TOWER_SIGLIP } tower_kind_t;

typedef struct {
  /* Decoder (LLaMA, Qwen2). */
  int32_t hidden;    /* C */
  int32_t layers;    /* L */
  int32_t heads;     /* H */
  int32_t kv_heads;  /* K, divides H */
  int32_t head_size; /* D, even */
  int32_t mlp;       /* F */
  int32_t vocab;     /* V: rows of the embedding, at least the tokenizer's pieces */
  double rope_base;
  rope_scaling_t rope_scaling;
  double norm_eps;
  bool tied; /* the output head is the embedding */
  /* Which projections have biases: q, k and v (Qwen2); o as well (LLaMA's attention_bias); gate, up and down
   * (mlp_bias). */
  bool qkv_bias, o_bias, mlp_bias;
  /* Vision tower; a model that only reads has none, and all sizes are 0. */
  tower_kind_t tower;
  int32_t vision_hidden;
  int32_t vision_layers;
  int32_t vision_heads;
  int32_t vision_mlp;
  int32_t vision_patch;         /* pixels */
  int32_t vision_image_size;    /* pixels; what is left behind the last whole patch is not looked at */
  int32_t vision_feature_layer; /* hidden states used: 0 entering the first layer, 1 after it, ...; or from
                                   the end: -1 after the last layer, -2 entering it, ... */
  double vision_norm_eps;
  projector_t projector;
} model_config_t;

/* Whether there is a vision tower, and a projector behind it. */
bool config_sees(const model_config_t *config);
/* Patches of one image: the slots it takes in a sequence (P); 0 without a tower. */
int32_t config_patches(const model_config_t *config);
/* Tokens of one image in the tower: its patches and, in CLIP's, the class token in front. */
int32_t config_tower_tokens(const model_config_t *config);
/* Tower layers that are run, maybe none. */
int32_t config_tower_layers(const model_config_t *config);
/* Numbers of a flattened patch: 3 * patch * patch. */
int32_t config_patch_size(const model_config_t *config);

/* Errors: STATUS_INPUT where sizes contradict each other. Local. */
status_t config_check(const model_config_t *config);
/* As config_check, and that tp divides heads, MLP and (or is a multiple of) key-value heads. Local. */
status_t config_check_tp(const model_config_t *config, int tp);

/* Weights of decoder (with embedding and head), tower and projector. */
int64_t config_decoder_weights(const model_config_t *config);
int64_t config_tower_weights(const model_config_t *config);

#endif
