/* Chat templates: the words and special tokens around the turns of a conversation. */
#ifndef TEXT_TEMPLATE_H
#define TEXT_TEMPLATE_H

#include "text/tokenizer.h"

#include <stdbool.h>

typedef enum {
  TEMPLATE_V1,          /* training */
  TEMPLATE_LLAVA_V1,    /* published evaluation */
  TEMPLATE_PLAIN,       /* projector pretraining: image, caption, line end */
  TEMPLATE_CHATML,      /* Qwen2 */
  TEMPLATE_SMOLLM2,     /* SmolLM2 */
  TEMPLATE_LLAMA3,      /* LLaMA 3 */
  TEMPLATE_LLAVA_LLAMA3 /* LLaVA on LLaMA 3 */
} template_t;

/* system, then for each turn: before question after before_answer answer end, with `between` in front of the
 * turns after the first. */
typedef struct {
  const char *name; /* the value of model.template */
  const char *system;
  const char *before_question, *after_question; /* a query ends with the latter */
  const char *before_answer;
  const char *end; /* the special token that ends an answer, learnt; NULL: the tokenizer's EOS */
  const char *between;
  bool stripped;        /* questions and answers lose the white space at their ends */
  const char *needs[3]; /* special tokens that the tokenizer must have; NULL ends them */
} template_row_t;

/* The template of a setting's value ('v1', 'chatml', ...). Errors: STATUS_INPUT. Local. */
status_t template_from_name(const char *name, template_t *out);

const template_row_t *template_row(template_t template);

/* That TOKENIZER has the special tokens of TEMPLATE. Errors: STATUS_INPUT, which names what it lacks. Local.
 */
status_t template_check(template_t template, const tokenizer_t *tokenizer);

/* Id of what ends an answer under TEMPLATE. Local. */
int32_t template_end(template_t template, const tokenizer_t *tokenizer);

#endif
