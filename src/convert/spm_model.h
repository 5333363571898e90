/* The parts of a SentencePiece model that its library does not hand out, read from its bytes (protocol
 * buffers). */
#ifndef CONVERT_SPM_MODEL_H
#define CONVERT_SPM_MODEL_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { SPM_UNIGRAM = 1, SPM_BPE, SPM_WORD, SPM_CHAR } spm_algorithm_t;
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
  spm_algorithm_t algorithm;
  bool byte_fallback;
  bool prefix;     /* a space in front of each text */
  bool removes;    /* spaces at a text's ends, and all but one between words */
  bool escapes;    /* other spaces become U+2581 */
  bool suffixing;  /* spaces belong to the word before them */
  const void *map; /* (map_n): of characters, in the model's bytes; no bytes: they stay as they are */
  size_t map_n;
  bool map_known; /* the map is one of those that SentencePiece itself has: NFKC, with changes */
} spm_model_t;

/* Reads BYTES (n), which a tokenizer has been made of. Free with spm_model_free, also after an error. Errors:
 * STATUS_DATA where they are cut short. Local. */
status_t spm_model_read(const void *bytes, size_t n, spm_model_t *out);
void spm_model_free(spm_model_t *model);

#endif
