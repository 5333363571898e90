/* The token that stands for an image in transformers' LLaVA. */
#ifndef CONVERT_IMAGE_TOKEN_H
#define CONVERT_IMAGE_TOKEN_H

#include "model/config.h"
#include "session/published.h"
#include "text/template.h"

enum { IMAGE_TOKEN_TEXT_MAX = 64 };
typedef struct {
  int32_t id;
  char text[IMAGE_TOKEN_TEXT_MAX]; /* as a prompt spells it; where ID has no piece it is a new token */
} image_token_t;

/* One that no text has: a piece for images, the model's own before "<image>"; else a row of the embedding
 * without a piece, the model's own before the first; else another piece for images; else the last special
 * piece that neither TEMPLATE nor the ends of texts use. With none of these it is token 0, which texts may
 * have: a warning says so. Local. */
status_t image_token_choose(const tokenizer_t *tokenizer, const model_config_t *config,
                            const published_t *published, template_t template, image_token_t *out);

#endif
