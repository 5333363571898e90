/* Inside io: the parts of a dataset file, for its reader and its writer. */
#ifndef IO_DATASET_LAYOUT_H
#define IO_DATASET_LAYOUT_H

#include "io/h5.h"

#include <stdbool.h>

extern const h5_format_t dataset_format;

/* One HDF5 dataset each, all with one dimension. */
typedef enum {
  PART_TEXT_BYTES,
  PART_TEXT_OFFSETS,
  PART_TEXT_KIND,
  PART_IMAGE_BYTES,
  PART_IMAGE_OFFSETS,
  PART_IMAGE_NAME,
  PART_IMAGE_WIDTH,
  PART_IMAGE_HEIGHT,
  PART_IMAGE_HASH,
  PART_FACT_BYTES,
  PART_FACT_OFFSETS,
  PART_ID,
  PART_FIRST_TURN,
  PART_TURNS,
  PART_OUTPUT,
  PART_PREFERENCE,
  PART_IMAGE,
  PART_CAPTION_TYPE,
  PART_LENGTH_BONUS,
  PART_FACT,
  PART_FACTS,
  PART_HELD_OUT,
  PART_COUNT,
  PART_SAMPLE_BEGIN = PART_ID, /* the columns of /sample */
  PART_SAMPLE_END = PART_COUNT
} part_t;

typedef struct {
  const char *object;
  h5_type_t type;
  const char *meaning; /* its attribute */
} part_layout_t;

/* Local. */
const part_layout_t *part_layout(part_t part);

/* Whether rank 0 writes PART, from its first row to its last: such a part has an attribute xxh3, the XXH3
 * hash of its bytes. The others are the images' bytes, which all ranks write; each image has its hash in a
 * row of another part. Local. */
bool part_is_serial(part_t part);

/* The identity of a dataset whose parts have HASHES, 0 for those that are not serial: equal for equal
 * contents, whoever wrote them. Local. */
uint64_t dataset_identity(const uint64_t hashes[PART_COUNT]);

#endif
