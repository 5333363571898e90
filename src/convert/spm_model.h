/* The parts of a SentencePiece model that its library does not hand out, read from its bytes (protocol
 * buffers). */
#ifndef CONVERT_SPM_MODEL_H
#define CONVERT_SPM_MODEL_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER_DEFINED, SPM_UNUSED, SPM_BYTE } spm_kind_t;

typedef struct {
  const char *text; /* (n), no '\0' at its end */
  size_t n;
  float score;
  spm_kind_t kind;
} spm_piece_t;

typedef struct {
  spm_piece_t *pieces; /* (count), by id; their texts lie in the model's bytes */
  int32_t count;
  bool bpe, byte_fallback;
  bool prefix;    /* a space in front of each text */
  bool plain;     /* beyond that texts stay as they are: no mapping of characters, no spaces removed */
  bool suffixing; /* spaces belong to the word before them */
} spm_model_t;

/* Reads BYTES (n), which a tokenizer has been made of. Free with spm_model_free, also after an error. Errors:
 * STATUS_DATA where they are cut short. Local. */
status_t spm_model_read(const void *bytes, size_t n, spm_model_t *out);
void spm_model_free(spm_model_t *model);

#endif
