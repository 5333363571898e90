/* A sequence of tokens on its way to a packed batch. An image place is one token, TOKEN_IMAGE
 * (tensor/packed.h). */
#ifndef TEXT_SEQUENCE_H
#define TEXT_SEQUENCE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* All zero is the empty sequence. */
typedef struct {
  int32_t *tokens; /* (n) */
  uint8_t *learnt; /* (n): 1 where the token is a target of the loss (answers and what ends them), else 0 */
  int32_t n, capacity;
} sequence_t;

/* Appends TOKENS (N), all of them learnt or none. On error the sequence is as before. Local. */
status_t sequence_append(sequence_t *sequence, const int32_t *tokens, int32_t n, bool learnt);

/* Makes *OUT a copy of FROM. Free with sequence_free. Local. */
status_t sequence_copy(const sequence_t *from, sequence_t *out);

/* Cuts the sequence after MAX_LEN tokens; 0 means no limit. Returns how many tokens went. Local. */
int32_t sequence_cut(sequence_t *sequence, int32_t max_len);

/* Number of learnt tokens. Local. */
int32_t sequence_learnt(const sequence_t *sequence);

/* Number of image places. Local. */
int32_t sequence_images(const sequence_t *sequence);
void sequence_free(sequence_t *sequence);

#endif
