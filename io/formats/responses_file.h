/* The responses of a PPO step that were finished when it was interrupted, so that the next start draws only
 * the others. One HDF5 file in the run directory, for as long as that step is not made (layout:
 * docs/files.md). */
#ifndef IO_RESPONSES_FILE_H
#define IO_RESPONSES_FILE_H

#include "io/file.h"

/* Responses of one rank (writing), or all of the file (reading), end to end. For writing the arrays are the
 * caller's; after reading responses_file_free frees them. */
typedef struct {
  int64_t samples;
  int64_t *index;            /* (samples): place in the file; over all ranks 0 .. total - 1, each once */
  int64_t *response;         /* (samples): place in the step's order */
  int64_t *row;              /* (samples): row of the dataset that was asked */
  int64_t *offsets;          /* (samples + 1), the first is 0 */
  int32_t *tokens;           /* (offsets[samples]), with the one that ended the response */
  double *logprob, *entropy; /* likewise, nats: the sampler's */
  uint8_t *stopped;          /* (samples): 1: ended by itself, 0: cut */
} responses_file_t;

/* Name of the file in RUN_DIR. Local. */
status_t responses_file_path(char path[FILE_MAX_PATH], const char *run_dir);

/* Writes the responses of all ranks to PATH, which appears when it is complete. A rank may have none.
 * IDENTITY: what they were drawn from, lines `name = value`. Collective on COMM. Errors, agreed: STATUS_DATA
 * (disk), STATUS_INTERNAL (indices), STATUS_MEMORY. */
status_t responses_file_write(comm_t *comm, const char *path, const char *identity,
                              const responses_file_t *responses);

/* Reads all responses of PATH, which must have been drawn from IDENTITY. Local. Free with
 * responses_file_free. Errors: STATUS_DATA, with the first difference, or what is damaged; nothing is left to
 * free then. */
status_t responses_file_read(const char *path, const char *identity, responses_file_t *responses);
void responses_file_free(responses_file_t *responses);

#endif
