/* Published configurations (config.json, preprocessor_config.json) as a model's sizes. What changes what a
 * model computes, and is not computed here, is refused by name. */
#ifndef CONVERT_CONFIG_READ_H
#define CONVERT_CONFIG_READ_H

#include "model/config.h"

enum { TOWER_NAME_MAX = 256, PILLOW_BICUBIC = 3 /* `resample` of preprocessor_config.json */ };

typedef struct {
  model_config_t model;
  bool has_tower;                  /* the tower's sizes are known */
  bool has_projector;              /* it is a LLaVA: which projector and which hidden states are known */
  bool says_projector;             /* original LLaVA's mm_projector_type says which */
  char tower_name[TOWER_NAME_MAX]; /* mm_vision_tower: a published name, or a folder; "" */
} published_config_t;

/* Reads FOLDER/config.json: LLaMA (Vicuna), Qwen2, original LLaVA (mm_* fields), or transformers' LLaVA
 * (text_config, vision_config); and FOLDER/preprocessor_config.json where there is one. The published
 * towers that original LLaVA names have the sizes known here. Errors: STATUS_DATA. Local. */
status_t config_read(const char *folder, published_config_t *out);

/* Adds kind and sizes of the tower in FOLDER (a vision model's config.json, or that of all of CLIP or
 * SigLIP). Errors: STATUS_DATA. Local. */
status_t config_read_tower(const char *folder, published_config_t *config);

#endif
