/* Checkpoints of a run: run_dir/checkpoints/step_00000010.h5, the small text files `latest` and `best` that
 * name one of them for people, and the choice of the one to continue from. A file of a final name is
 * complete: it is written beside, synced by all ranks that wrote, agreed, renamed, and never changed
 * afterwards. */
#ifndef IO_CHECKPOINT_H
#define IO_CHECKPOINT_H

#include "io/file.h"
#include "io/formats/weights.h"

/* The checkpoint that a run began at because it was told to (job.restart); none: 0 and "". */
typedef struct {
  uint64_t identity; /* of all its tensors */
  char path[FILE_MAX_PATH];
} checkpoint_origin_t;

/* Where a checkpoint stands among those of its run directory: attributes of its root. */
typedef struct {
  int64_t step;
  int64_t serial; /* counts them as they are written: the newest has the highest, also in a run that was taken
                     back to an earlier step */
  checkpoint_origin_t origin;
} checkpoint_place_t;

/* Writes the name of step STEP's checkpoint to PATH. Errors: STATUS_INPUT where it is too long. Local. */
status_t checkpoint_path(char path[FILE_MAX_PATH], const char *run_dir, int64_t step);

/* Writes ITEMS (count) as the checkpoint of PLACE in two halves (io/formats/weights.h: weights_write_begin);
 * the second makes it one that counts, and moves `latest` to it. Both are collective on COMM. Errors, agreed:
 * as weights_write; the checkpoints that were there are untouched then. */
typedef struct checkpoint_writing checkpoint_writing_t;
status_t checkpoint_write_begin(comm_t *comm, const char *run_dir, const checkpoint_place_t *place,
                                const weights_spec_t *spec, const weights_item_t *items, int64_t count,
                                checkpoint_writing_t **out);
status_t checkpoint_write_end(checkpoint_writing_t *writing);
/* As of weights_writing_t: whether this rank's part is on storage; in place of the second half. Local. */
bool checkpoint_writing_is_done(const checkpoint_writing_t *writing);
void checkpoint_writing_drop(checkpoint_writing_t *writing);

/* Removes the checkpoints of steps before STEP's beyond the KEEP newest, STEP's included (0: keeps all);
 * never the best. Those of later steps belong to a run that continued from there before it was taken back:
 * they are not ours to remove. Collective on COMM. Errors, agreed: STATUS_DATA. */
status_t checkpoint_prune(comm_t *comm, const char *run_dir, int64_t step, int64_t keep);

/* Makes `best` name the checkpoint of STEP; where there is none (-1, or its file is gone) there is no `best`
 * and *THERE is false. Collective on COMM. Errors, agreed: STATUS_DATA. */
status_t checkpoint_mark_best(comm_t *comm, const char *run_dir, int64_t step, bool *there);

/* Takes the checkpoint of STEP out of those that can be continued: what it holds has proved broken. It stays
 * under the name ASIDE ("" if there was no such file). *BEFORE: the highest step below it that has one, -1 if
 * none has. Any rank may call it, even several at once. Local. Errors: STATUS_DATA. */
status_t checkpoint_set_aside(const char *run_dir, int64_t step, char aside[FILE_MAX_PATH], int64_t *before);

/* Finds the checkpoint to continue from: the newest, by serial, whose blocks' hashes all fit, which all ranks
 * verify together; damaged ones are reported and passed over. With ORIGIN only among those of a run that
 * began there: at a checkpoint of that identity or, where that is 0, of that path. PATH and *PLACE are set
 * where *FOUND, and `latest` names it then; PLACE->serial is always the highest there is. FORMAT as in
 * weights_open. Collective on COMM. Errors, agreed: STATUS_DATA where there are checkpoints and
 * none is sound (without ORIGIN). */
status_t checkpoint_find(comm_t *comm, const char *run_dir, const checkpoint_origin_t *origin,
                         const h5_format_t *format, char path[FILE_MAX_PATH], checkpoint_place_t *place,
                         bool *found);

#endif
