/* Tensors of a model file on their way to safetensors, all ranks sharing the work, a bounded piece at a time:
 * blocks of the file where nothing changes, else shares of rows. */
#ifndef CONVERT_COPYING_H
#define CONVERT_COPYING_H

#include "io/formats/weights.h"
#include "io/tensors/safetensors_writer.h"
#include "model/params.h"
#include "session/session.h"

enum { COPY_PATH_MAX = PARAM_NAME_MAX + 64 };

/* A tensor to write. */
typedef struct {
  char path[COPY_PATH_MAX]; /* in the model file; "": all elements are FILL */
  float fill;
  char name[PARAM_NAME_MAX]; /* in the safetensors */
  tensor_type_t type;
  int dims;
  int64_t shape[H5_MAX_DIMS];
  /* Of what is merged into it: a (r, columns) and b (rows, r), of LORA; "": nothing. */
  char a[COPY_PATH_MAX], b[COPY_PATH_MAX];
  int64_t r;
  double scale; /* alpha / r */
} copy_t;

typedef struct {
  copy_t *items; /* (count), the same on all ranks */
  int64_t count, capacity;
} copy_list_t;

/* One more, all zero. Local. */
status_t copy_list_add(copy_list_t *list, copy_t **out);
void copy_list_free(copy_list_t *list);
/* Bytes that LIST takes as it will be written. Local. */
double copy_list_bytes(const copy_list_t *list);

/* Notes in the dry run SESSION the memory that copying LIST from WEIGHTS would take. Local. Errors:
 * STATUS_MEMORY. */
status_t copying_estimate(const copy_list_t *list, weights_file_t *weights, session_t *session);

/* Writes LIST to FOLDER/STEM (safetensors_create) from WEIGHTS, and LORA (NULL: nothing is merged). Looks for
 * asks to stop. Collective. Errors, agreed: STATUS_DATA, also for a number that the type written cannot
 * hold; STATUS_STOPPED. */
status_t copying_run(session_t *session, weights_file_t *weights, weights_file_t *lora,
                     const copy_list_t *list, const char *folder, const char *stem, int64_t shard_bytes);

#endif
