/* Score files (task 'score'): teacher-forced log-probabilities of given answers, and rewards where the model
 * has a reward head. Layout: INTERFACE, Scores. */
#ifndef IO_SCORES_FILE_H
#define IO_SCORES_FILE_H

#include "io/file.h"

/* Samples of one rank (writing), or a range of the file (reading). For writing the arrays are the caller's;
 * after reading scores_file_free frees them. */
typedef struct {
  int64_t samples;
  int64_t *index;   /* (samples): place in the file; over all ranks 0 .. total - 1, each once */
  int64_t *id;      /* (samples) row of the dataset */
  int64_t *offsets; /* (samples + 1), the first is 0 */
  int32_t *tokens;  /* (offsets[samples]) the answers' tokens */
  float *logprob;   /* (offsets[samples]) nats */
  bool has_reward;  /* the same on every rank */
  float *reward;    /* (samples) if has_reward */
} scores_file_t;

/* Writes the samples of all ranks to PATH (its folder is made), which appears when it is complete; MODEL (its
 * path or hash) becomes an attribute. Collective on COMM. Errors, agreed: STATUS_DATA (disk), STATUS_INTERNAL
 * (indices), STATUS_MEMORY. */
status_t scores_file_write(comm_t *comm, const char *path, const char *model, const scores_file_t *scores);

/* About the size of a file of SAMPLES samples with TOKENS tokens in all. Local. */
double scores_file_bytes(double samples, double tokens, bool has_reward);

/* Reads samples BEGIN .. BEGIN + COUNT - 1 (COUNT -1: all from BEGIN on). Local. Free with scores_file_free.
 * Errors: STATUS_DATA; nothing is left to free then. */
status_t scores_file_read(const char *path, int64_t begin, int64_t count, scores_file_t *scores);
void scores_file_free(scores_file_t *scores);

#endif
