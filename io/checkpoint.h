/* Checkpoints of a run: run_dir/checkpoints/step_00000010.h5, the small text files `latest` and `best` that
 * name one of them, and the choice of the one to continue from. A file of a final name is complete: it is
 * written beside, synced by all ranks that wrote, agreed, renamed, and never changed afterwards. */
#ifndef IO_CHECKPOINT_H
#define IO_CHECKPOINT_H

#include "io/file.h"
#include "io/weights.h"

/* Writes the name of step STEP's checkpoint to PATH. Errors: STATUS_INPUT where it is too long. Local. */
status_t checkpoint_path(char path[FILE_MAX_PATH], const char *run_dir, int64_t step);

/* Writes ITEMS (count) as the checkpoint of STEP (io/weights.h: weights_write), moves `latest` to it, and
 * removes older checkpoints beyond the KEEP newest (0: keeps all), never the latest or the best. Collective
 * on COMM. Errors, agreed: as weights_write; the checkpoints that were there are untouched then. */
status_t checkpoint_write(comm_t *comm, const char *run_dir, int64_t step, const weights_spec_t *spec,
                          const weights_item_t *items, int64_t count, int64_t keep);

/* Makes `best` name the checkpoint of STEP, which exists. Collective on COMM. Errors, agreed: STATUS_DATA. */
status_t checkpoint_mark_best(comm_t *comm, const char *run_dir, int64_t step);

/* Where checkpoint_find may look further. */
typedef enum {
  CHECKPOINT_LATEST,     /* only the newest; a damaged one is an error */
  CHECKPOINT_OR_PREVIOUS /* a damaged one is reported and passed over for the one before it (job.restart =
                            'auto') */
} checkpoint_choice_t;

/* Finds the checkpoint to continue from: the one that `latest` names, or where that file is missing the one
 * of the highest step; every block's hash is verified, by all ranks together. PATH and *STEP are set where
 * *FOUND. *FOUND is false where the run has no checkpoint at all. FORMAT as in weights_open.
 * Collective on COMM. Errors, agreed: STATUS_DATA where there are checkpoints and none is sound. */
status_t checkpoint_find(comm_t *comm, const char *run_dir, checkpoint_choice_t choice,
                         const h5_format_t *format, char path[FILE_MAX_PATH], int64_t *step, bool *found);

#endif
