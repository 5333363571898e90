/* How published weights call the tensors of a model: one table for both directions. Ours are the names of
 * original LLaVA, below which the vision tower lies as well. */
#ifndef CONVERT_NAMES_H
#define CONVERT_NAMES_H

#include "model/params.h"

typedef enum {
  NAMING_LLAVA,          /* original LLaVA; LLaMA and Vicuna, whose names are a part of it */
  NAMING_TRANSFORMERS,   /* llava-hf: language_model., vision_tower., multi_modal_projector. */
  NAMING_TRANSFORMERS_5, /* the modules of later releases: model.language_model., ... */
  NAMING_TOWER, /* a CLIP or SigLIP repository: vision_model., or nothing before embeddings. and so on */
  NAMING_COUNT
} naming_t;

/* Where a tensor belongs. */
typedef enum { PART_DECODER, PART_PROJECTOR, PART_TOWER } part_t;
part_t name_part(const char *ours);

/* OURS: what the program calls OUTSIDE, a name of any naming, maybe behind the wrappers "base_model.",
 * "base_model.model." or "module."; false for names of no naming. Local. */
bool name_from_outside(const char *outside, char ours[PARAM_NAME_MAX]);

/* OUTSIDE: what NAMING calls OURS; false where it has no such tensor. Local. */
bool name_to_outside(naming_t naming, const char *ours, char outside[PARAM_NAME_MAX]);

/* Tensors of published files that no model here needs: the text half of CLIP or SigLIP, and tables that are
 * computed. Local. */
bool name_is_ignored(const char *outside);

#endif
