/* The sequences of a packed batch as attention needs them, prepared once for all layers and both directions:
 * where each lies, on the host and on the device, and the device's own list of the work over them, in its
 * memory. */
#ifndef TENSOR_SEQUENCES_H
#define TENSOR_SEQUENCES_H

#include "tensor/device.h"

typedef struct sequences {
  device_t *device;
  int32_t heads, kv_heads, head_size; /* of the attention: H, K (H % K == 0), D */
  int32_t count;                      /* B */
  int32_t longest;                    /* positions of the longest one */
  double squares;                     /* sum of the squares of their positions */
  const int32_t *offsets_host;        /* (B + 1): ascending from 0 to T */
  const index_t *offsets;             /* (B + 1): the same */
  int64_t listed;                     /* numbers of the work list */
  const index_t *work; /* (listed): what the device's list_work wrote; NULL where it has none */
  /* Its memory: offsets, then work. */
  int32_t *host;
  index_t *memory;
  size_t room;
} sequences_t;

/* No sequences, without memory. Free with sequences_free, before the device. Local. */
sequences_t sequences_create(device_t *device);
void sequences_free(sequences_t *sequences);

/* COUNT sequences at OFFSETS (count + 1; copied) for attention with HEADS, KV_HEADS and HEAD_SIZE: in one
 * upload, or none where they are the same as before; memory is got where it does not suffice. Errors:
 * STATUS_INTERNAL where offsets do not ascend from 0; STATUS_MEMORY. Local. */
status_t sequences_prepare(sequences_t *sequences, int32_t count, const int32_t *offsets, int32_t heads,
                           int32_t kv_heads, int32_t head_size);

/* Positions of all: T. */
static inline int64_t sequences_positions(const sequences_t *sequences) {
  return sequences->count > 0 ? sequences->offsets_host[sequences->count] : 0;
}

/* Pairs of a query and a key of one head that attention over them is about. */
static inline double sequences_pairs(const sequences_t *sequences, bool causal) {
  return causal ? 0.5 * (sequences->squares + (double)sequences_positions(sequences)) : sequences->squares;
}

#endif
