#include "convert/names.h"

#include <stdio.h>
#include <string.h>

#define TOWER "model.vision_tower.vision_tower.vision_model."
#define PROJECTOR "model.mm_projector."

/* A name that begins with OUTSIDE in this naming begins with OURS here; the first row that fits counts. */
static const struct {
  naming_t naming;
  const char *outside, *ours;
} rows[] = {
    {NAMING_LLAVA, TOWER, TOWER},
    {NAMING_TRANSFORMERS, "language_model.model.", "model."},
    {NAMING_TRANSFORMERS, "language_model.lm_head.", "lm_head."},
    {NAMING_TRANSFORMERS, "multi_modal_projector.linear_1.", PROJECTOR "0."},
    {NAMING_TRANSFORMERS, "multi_modal_projector.linear_2.", PROJECTOR "2."},
    {NAMING_TRANSFORMERS, "vision_tower.vision_model.", TOWER},
    {NAMING_TRANSFORMERS, "vision_tower.", TOWER},
    {NAMING_TRANSFORMERS_5, "model.language_model.", "model."},
    {NAMING_TRANSFORMERS_5, "model.multi_modal_projector.linear_1.", PROJECTOR "0."},
    {NAMING_TRANSFORMERS_5, "model.multi_modal_projector.linear_2.", PROJECTOR "2."},
    {NAMING_TRANSFORMERS_5, "model.vision_tower.vision_model.", TOWER},
    {NAMING_TRANSFORMERS_5, "model.vision_tower.", TOWER},
    {NAMING_TRANSFORMERS_5, "lm_head.", "lm_head."},
    {NAMING_TOWER, "vision_model.", TOWER},
    {NAMING_TOWER, "embeddings.", TOWER "embeddings."},
    {NAMING_TOWER, "encoder.", TOWER "encoder."},
    {NAMING_TOWER, "pre_layrnorm.", TOWER "pre_layrnorm."},
    {NAMING_TOWER, "post_layernorm.", TOWER "post_layernorm."},
    {NAMING_TOWER, "head.", TOWER "head."},
    {NAMING_LLAVA, "model.", "model."},
    {NAMING_LLAVA, "lm_head.", "lm_head."},
};
enum { ROWS = sizeof rows / sizeof *rows };

static bool names_begins(const char *text, const char *begin) {
  return strncmp(text, begin, strlen(begin)) == 0;
}

part_t name_part(const char *ours) {
  if (names_begins(ours, TOWER)) return PART_TOWER;
  return names_begins(ours, PROJECTOR) ? PART_PROJECTOR : PART_DECODER;
}

/* Writes NAME with TO in the place of the FROM that it begins with; false where it becomes too long. */
static bool names_rename_begin(const char *name, const char *from, const char *to, char out[PARAM_NAME_MAX]) {
  int n = snprintf(out, PARAM_NAME_MAX, "%s%s", to, name + strlen(from));
  return n < PARAM_NAME_MAX;
}

/* Behind what wraps a model: PEFT's, LLaVA's non_lora_trainables, a parallel one's. */
static const char *names_unwrapped(const char *outside) {
  static const char *const wrappers[] = {"module.", "base_model.model.", "base_model."};
  for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
    if (names_begins(outside, wrappers[i])) outside += strlen(wrappers[i]);
  return outside;
}

bool name_from_outside(const char *outside, char ours[PARAM_NAME_MAX]) {
  outside = names_unwrapped(outside);
  for (int i = 0; i < ROWS; i++)
    if (names_begins(outside, rows[i].outside))
      return names_rename_begin(outside, rows[i].outside, rows[i].ours, ours);
  return false;
}

bool name_to_outside(naming_t naming, const char *ours, char outside[PARAM_NAME_MAX]) {
  for (int i = 0; i < ROWS; i++) {
    if (rows[i].naming != naming || !names_begins(ours, rows[i].ours)) continue;
    /* The decoder's rows take names that begin as the tower's and the projector's do. */
    if (strcmp(rows[i].ours, "model.") == 0 && naming != NAMING_LLAVA && name_part(ours) != PART_DECODER)
      continue;
    return names_rename_begin(ours, rows[i].ours, rows[i].outside, outside);
  }
  return false;
}

static bool names_ends(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

bool name_is_ignored(const char *outside) {
  static const char *const beginnings[] = {"text_model.", "text_projection.", "visual_projection.",
                                           "logit_scale", "logit_bias"};
  static const char *const endings[] = {".rotary_emb.inv_freq", "embeddings.position_ids"};
  outside = names_unwrapped(outside);
  for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
    if (names_begins(outside, beginnings[i])) return true;
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
    if (names_ends(outside, endings[i])) return true;
  return false;
}
