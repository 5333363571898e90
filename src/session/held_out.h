/* What training is evaluated on as it goes: the samples of eval.dataset or, where that is empty, those held
 * out in the dataset that is trained on; of either the first eval.limit. */
#ifndef RUN_HELD_OUT_H
#define RUN_HELD_OUT_H

#include "session/source.h"

typedef struct {
  source_t separate;   /* eval.dataset, if given */
  source_t *source;    /* the caller's or &separate; NULL where eval.every = 0 */
  dataset_rows_t rows; /* of the source's dataset, ascending */
} held_out_t;

/* Opens them; DATA, the source of data.dataset, is the caller's, and OUT stays where it is until it is
 * closed. Empty, without an error, where eval.every = 0. Collective. Close with held_out_close. Errors,
 * agreed: STATUS_INPUT where there is nothing to evaluate on; those of source_open. */
status_t held_out_open(session_t *session, const model_t *model, source_t *data, held_out_t *out);
void held_out_close(held_out_t *held);

#endif
