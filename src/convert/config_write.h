/* A model's sizes as a published configuration. */
#ifndef CONVERT_CONFIG_WRITE_H
#define CONVERT_CONFIG_WRITE_H

#include "convert/image_token.h"
#include "convert/names.h"
#include "io/tensors/tensor_type.h"
#include "model/config.h"
#include "text/tokenizer.h"

typedef struct {
  const model_config_t *model;
  const tokenizer_t *tokenizer;
  const published_t *published; /* what the model's own configuration said */
  template_t template;          /* of conversations */
  const image_token_t *image;   /* what stands for an image; NULL: no token does */
  tensor_type_t type;           /* of most weights */
  const char *tower;            /* folder of the tower, for original LLaVA (mm_vision_tower) */
  bool pools;                   /* the tower is written with SigLIP's pooling head */
  bool pads;                    /* images to a square; else they are resized and cropped */
} written_config_t;

/* Writes FOLDER/config.json in the fields of NAMING (NAMING_TOWER: of the tower alone; LLaMA's for a model
 * without one) and, where there is a tower in the folder, preprocessor_config.json; beside a decoder
 * generation_config.json; beside all of transformers' LLaVA processor_config.json. Special tokens are those
 * that the model's own configuration named; the tokenizer's where it named none. Local. */
status_t config_write(const char *folder, naming_t naming, const written_config_t *config);

/* What WRITER, in memory, has written becomes FOLDER/NAME; it is freed. Local. */
status_t config_write_store(json_writer_t *writer, const char *folder, const char *name);

#endif
