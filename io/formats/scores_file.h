/* Score files (task 'score'): teacher-forced log-probabilities of given answers, and rewards where the model
 * has a reward head. Layout: docs/files.md. */
#ifndef IO_SCORES_FILE_H
#define IO_SCORES_FILE_H

#include "io/file.h"

/* Samples of one rank in a round (writing), or a range of the file (reading). For writing the arrays are the
 * caller's; after reading scores_file_free frees them. */
typedef struct {
  int64_t samples;
  int64_t *index;        /* (samples): place in the round or file; over all ranks 0 .. total - 1, each once */
  int64_t *id;           /* (samples) row of the dataset */
  int64_t *name_offsets; /* (samples + 1) bytes, the first is 0 */
  char *names;           /* the samples' ids in the dataset, UTF-8, end to end */
  int64_t *offsets;      /* (samples + 1), the first is 0 */
  int32_t *tokens;       /* (offsets[samples]) the answers' tokens */
  float *logprob;        /* (offsets[samples]) nats */
  bool has_reward;       /* the same on every rank */
  float *reward;         /* (samples) if has_reward */
} scores_file_t;

/* What was scored. */
typedef struct {
  char *model;   /* path */
  char *dataset; /* path */
  uint64_t dataset_identity;
} scores_info_t;

/* A file that is written round by round; its memory is that of a round. */
typedef struct scores_writer scores_writer_t;

/* Starts PATH (its folder is made), which appears when it is complete. HAS_REWARD as of all rounds to come.
 * Collective on COMM. Errors, agreed: STATUS_DATA (disk), STATUS_MEMORY. */
status_t scores_writer_open(comm_t *comm, const char *path, const scores_info_t *info, bool has_reward,
                            scores_writer_t **out);

/* Adds the samples of all ranks, whose indices count from the first of this round. Collective. Errors,
 * agreed: STATUS_DATA (disk), STATUS_INTERNAL (indices), STATUS_MEMORY. */
status_t scores_writer_append(scores_writer_t *writer, const scores_file_t *round);

/* Completes the file; frees WRITER in any case. Collective. Errors, agreed: STATUS_DATA. */
status_t scores_writer_close(scores_writer_t *writer);
/* Removes what was written and frees WRITER; NULL is fine. Local, after errors too that other ranks do not
 * know of. */
void scores_writer_abandon(scores_writer_t *writer);

/* Free with scores_info_free. Errors: STATUS_DATA; nothing is left to free then. Local. */
status_t scores_info_read(const char *path, scores_info_t *info);
void scores_info_free(scores_info_t *info);

/* About the size of a file of SAMPLES samples with TOKENS tokens in all. Local. */
int64_t scores_file_bytes(int64_t samples, int64_t tokens, bool has_reward);

/* Reads samples BEGIN .. BEGIN + COUNT - 1 (COUNT -1: all from BEGIN on). Local. Free with scores_file_free.
 * Errors: STATUS_DATA; nothing is left to free then. */
status_t scores_file_read(const char *path, int64_t begin, int64_t count, scores_file_t *scores);
void scores_file_free(scores_file_t *scores);

#endif
