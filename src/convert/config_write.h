/* A model's sizes as a published configuration. */
#ifndef CONVERT_CONFIG_WRITE_H
#define CONVERT_CONFIG_WRITE_H

#include "convert/names.h"
#include "io/tensors/tensor_type.h"
#include "model/config.h"
#include "text/tokenizer.h"

typedef struct {
  const model_config_t *model;
  const tokenizer_t *tokenizer;
  tensor_type_t type; /* of most weights */
  const char *tower;  /* folder of the tower, for original LLaVA (mm_vision_tower) */
  bool pools;         /* the tower is written with SigLIP's pooling head */
} written_config_t;

/* Writes FOLDER/config.json in the fields of NAMING (NAMING_TOWER: of the tower alone; LLaMA's for a model
 * without one) and, where there is a tower in the folder, preprocessor_config.json. Local. */
status_t config_write(const char *folder, naming_t naming, const written_config_t *config);

#endif
