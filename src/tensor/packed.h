/* A packed batch: sequences of different lengths end to end, no padding. Host memory; the model uploads what
 * it needs. */
#ifndef TENSOR_PACKED_H
#define TENSOR_PACKED_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* B sequences, T = offsets[B] positions. An image takes P positions (its slots) whose token is TOKEN_IMAGE.
 */
enum { TOKEN_IMAGE = -200 };

typedef struct {
  int32_t sequences;    /* B */
  int32_t *offsets;     /* (B + 1), offsets[0] = 0, offsets[B] = T */
  int32_t *tokens;      /* (T): token ids, TOKEN_IMAGE at image slots */
  int32_t *positions;   /* (T): 0.. within each sequence */
  int32_t images;       /* N image places, in order of position */
  int32_t *image_start; /* (N): first slot of each in 0..T-1 */
  int32_t *image_index; /* (N): which image of the batch's image set is shown there (several places may share
                           one) */
  int32_t image_slots;  /* P: slots of one image */
} packed_t;

/* One sequence to pack. TOKENS (n) holds TOKEN_IMAGE once per image place (it counts as one token here). */
typedef struct {
  const int32_t *tokens;
  int32_t n;
  int32_t image_index; /* of all its image places; -1 where it has none */
} packed_source_t;

/* Positions of a sequence once its image places are expanded to SLOTS each. Local. */
int32_t packed_length(const int32_t *tokens, int32_t n, int32_t slots);

/* Packs SOURCES (count), expanding each TOKEN_IMAGE to SLOTS positions. Free with packed_free. Errors:
 * STATUS_INTERNAL where a sequence has an image place but no image_index, or SLOTS is 0 (a model without
 * vision tower). Local. */
status_t packed_create(const packed_source_t *sources, int32_t count, int32_t slots, packed_t *out);
void packed_free(packed_t *packed);

#endif
