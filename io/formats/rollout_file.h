/* Rollout files: everything that made one PPO step, so that its update can be replayed. One HDF5 file per
 * step (layout: docs/files.md), samples in the step's order whichever rank had them. */
#ifndef IO_ROLLOUT_FILE_H
#define IO_ROLLOUT_FILE_H

#include "io/file.h"

/* What is stored per response token. */
typedef enum {
  ROLLOUT_LOGPROB,         /* of the policy before the update ("old") */
  ROLLOUT_SAMPLER_LOGPROB, /* as the sampler saw it */
  ROLLOUT_REF_LOGPROB,
  ROLLOUT_VALUE,
  ROLLOUT_ENTROPY,
  ROLLOUT_REF_ENTROPY,
  ROLLOUT_KL,
  ROLLOUT_SHAPED_REWARD, /* before scaling or whitening */
  ROLLOUT_ADVANTAGE,     /* whitened */
  ROLLOUT_RETURN,        /* of scaled or whitened rewards */
  ROLLOUT_TOKEN_COUNT
} rollout_token_t;

/* Samples of one rank (writing), or a range of the file (reading). Tokens and texts lie end to end. For
 * writing the arrays are the caller's; after reading rollout_file_free frees them. */
typedef struct {
  int64_t samples;
  int64_t *index; /* (samples): place in the step's order; over all ranks 0 .. total - 1, each once */

  int64_t *query_offsets;            /* (samples + 1), the first is 0 */
  int32_t *query_tokens;             /* (query_offsets[samples]); an image is one token, TOKEN_IMAGE */
  int64_t *response_offsets;         /* (samples + 1) */
  int32_t *response_tokens;          /* (response_offsets[samples]), cut, with the token it was cut at */
  float *token[ROLLOUT_TOKEN_COUNT]; /* each (response_offsets[samples]), nats or rewards */

  int64_t *id;              /* (samples) row of the dataset */
  int64_t *image;           /* (samples) image of the dataset, -1: none */
  int32_t *answer_type;     /* (samples) 1 general, 2..5 option A..D, 6 truth is No, 7 truth is Yes */
  float *raw_reward;        /* (samples) the reward model's */
  float *reward;            /* (samples) with the penalty where that token is missing */
  float *length_bonus;      /* (samples) the term added, with all its factors */
  float *length_multiplier; /* (samples) the sample's own factor in it */
  float *correct;           /* (samples) -0.5, 0, 0.5 or 1 */
  uint8_t *stopped;         /* (samples) 1: the response ends with the end-of-sequence token */
  int64_t fact_width;       /* facts of the sample that has most */
  int32_t
      *fact_order; /* (samples, fact_width) order in which the reward model read the facts, -1 beyond them */

  int64_t *query_text_offsets; /* (samples + 1) bytes */
  char *query_text;            /* UTF-8 */
  int64_t *response_text_offsets;
  char *response_text;
} rollout_file_t;

typedef struct {
  int64_t step;
  char *policy_hash; /* of the policy's trained weights that answered (store_params_identity), in hexadecimal;
                        those of the checkpoint of STEP - 1 have it too */
  char *settings;    /* the run's settings, as input.nml */
} rollout_info_t;

/* Name of STEP's file in RUN_DIR. Local. */
status_t rollout_file_path(char path[FILE_MAX_PATH], const char *run_dir, int64_t step);

/* Writes the samples of all ranks to PATH (its folder is made), which appears when it is complete. A rank may
 * have none. Collective on COMM. Errors, agreed: STATUS_DATA (disk), STATUS_INTERNAL (indices),
 * STATUS_MEMORY. */
status_t rollout_file_write(comm_t *comm, const char *path, const rollout_info_t *info,
                            const rollout_file_t *rollout);

/* Reads samples BEGIN .. BEGIN + COUNT - 1 (COUNT -1: all from BEGIN on) and, where INFO is not NULL, the
 * attributes. Local: each rank reads what it needs. Free with rollout_file_free and rollout_info_free.
 * Errors: STATUS_DATA; nothing is left to free then. */
status_t rollout_file_read(const char *path, int64_t begin, int64_t count, rollout_info_t *info,
                           rollout_file_t *rollout);
void rollout_file_free(rollout_file_t *rollout);
void rollout_info_free(rollout_info_t *info);

#endif
