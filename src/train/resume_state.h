/* The group /state of a checkpoint: attributes that say how far the run had come and what it was made from.
 * step, optimizer_steps, best, best_step, waited, owes_evaluation; ended (how the run ended, 'no' before);
 * metrics, metric_values and metric_seconds (the line of the step in metrics.jsonl); sample_lines; task,
 * seed, layout (dp, tp; for information); samples (of an epoch), batch (samples of a step), epoch and
 * position (the epoch that the next step begins in, and the samples of it that are behind); counters:
 * samples_seen, skipped (bad samples left out); NAME_identity and NAME_path of each file that the run was
 * made from; settings (as input.nml). */
#ifndef TRAIN_RESUME_STATE_H
#define TRAIN_RESUME_STATE_H

#include "train/resume.h"

/* Writes the group to FILE. Local. */
status_t resume_state_write(h5_file_t *file, const session_t *session, const resume_state_t *state);

/* Compares what FILE's run was made from with this run: STATUS_DATA where continuing would make something
 * else of the saved state. Other settings may differ; *DIFFERENCES lists those that change the result ("" if
 * none), freed by the caller with memory_free. Local. */
status_t resume_state_check(h5_file_t *file, const session_t *session, const store_contents_t *contents,
                            const resume_state_t *state, char **differences);

/* Fills what the run counts: step, best, best_step, waited, owes_evaluation, ended, line and sample_lines of
 * STATE, the optimiser's steps, the session's skipped samples. Local. */
status_t resume_state_read(h5_file_t *file, session_t *session, resume_state_t *state);

#endif
