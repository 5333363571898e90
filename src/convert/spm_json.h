/* A SentencePiece model as the tokenizer.json that the tokenizers library reads. */
#ifndef CONVERT_SPM_JSON_H
#define CONVERT_SPM_JSON_H

#include "convert/spm_model.h"
#include "io/json.h"
#include "text/tokenizer.h"

/* A token beside those of the model. */
enum { SPM_ADDED_MAX = 64 };
typedef struct {
  int32_t id;
  char text[SPM_ADDED_MAX];
} spm_added_t;

/* Why the library cannot do what MODEL, of which TOKENIZER has been made, does; NULL where it can: BPE that
 * takes texts as they are, and unigram models. Local. */
const char *spm_json_hindrance(const spm_model_t *model, const tokenizer_t *tokenizer);

/* Writes MODEL, of which TOKENIZER has been made, with ADDED (count) as special tokens besides its own. As
 * here, special tokens split a text, and each piece between them has its space in front. Local. Errors:
 * STATUS_MEMORY. */
status_t spm_json_write(json_writer_t *writer, const spm_model_t *model, const tokenizer_t *tokenizer,
                        const spm_added_t *added, int32_t count);

#endif
