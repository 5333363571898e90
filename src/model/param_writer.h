/* The values of one weight on their way into its memory, piece by piece, in whatever format it is kept. */
#ifndef MODEL_PARAM_WRITER_H
#define MODEL_PARAM_WRITER_H

#include "model/params.h"

typedef struct {
  params_t *params;
  int32_t id;
  int64_t col_begin, col_count; /* the columns of the whole weight that it takes: the shard's, or, in NF4,
                                   those of all blocks that the shard touches */
  float *row;                   /* (col_count): a row that has not come whole; NF4 */
  int64_t come;                 /* elements that have */
  float *absmax;                /* of all blocks of the whole weight, this rank's filled in; NF4 */
} param_writer_t;

/* Begins weight ID. Free with param_writer_free, also after an error. Local. Errors: STATUS_MEMORY. */
status_t param_writer_begin(params_t *params, int32_t id, param_writer_t *out);
void param_writer_free(param_writer_t *writer);

/* Elements FIRST .. FIRST + N - 1 of (row_count, col_count), row-major: each once, in ascending order. WRITER
 * is a param_writer_t. Local. */
status_t param_writer_take(void *writer, int64_t first, int64_t n, const float *values);

/* When all have come: what depends on the whole weight. Collective on tp for NF4, else nothing. */
status_t param_writer_end(param_writer_t *writer);

#endif
