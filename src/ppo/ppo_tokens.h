/* Response tokens of a step's samples, and numbers for each of them. A group has those of the samples that it
 * has drawn, and for a while those of samples that it works on; no rank has those of all. */
#ifndef PPO_PPO_TOKENS_H
#define PPO_PPO_TOKENS_H

#include "base/memory_pool.h"
#include "io/formats/rollout_file.h"
#include "parallel/comm.h"

/* Arrays with an element for each token: the tokens themselves, and the numbers of a rollout file. */
enum {
  PPO_LOGPROB = 1 << ROLLOUT_LOGPROB,
  PPO_SAMPLER_LOGPROB = 1 << ROLLOUT_SAMPLER_LOGPROB,
  PPO_REF_LOGPROB = 1 << ROLLOUT_REF_LOGPROB,
  PPO_VALUE = 1 << ROLLOUT_VALUE,
  PPO_ENTROPY = 1 << ROLLOUT_ENTROPY,
  PPO_REF_ENTROPY = 1 << ROLLOUT_REF_ENTROPY,
  PPO_ADVANTAGE = 1 << ROLLOUT_ADVANTAGE,
  PPO_RETURN = 1 << ROLLOUT_RETURN,
  PPO_TOKENS = 1 << ROLLOUT_TOKEN_COUNT,
  PPO_ALL_ARRAYS = (1 << (ROLLOUT_TOKEN_COUNT + 1)) - 1
};

/* Token T of the K-th sample is element offsets[k] + t of each array, or at[which[k]] + t. */
typedef struct {
  int32_t n;        /* samples of the step */
  int32_t count;    /* of which are here */
  int32_t *which;   /* (count): ascending */
  int64_t *offsets; /* (count + 1) */
  int64_t *at;      /* (n); -1 for those that are not here */
  int32_t *tokens;
  double *numbers[ROLLOUT_TOKEN_COUNT]; /* nats, values, rewards; NULL where there is no such array */
  memory_pool_t pool;
} ppo_tokens_t;

/* Room for the arrays WHAT of those samples of N, of LENGTHS (n), whose GROUP (n) is MINE. Free with
 * ppo_tokens_free, also after an error. Errors: STATUS_MEMORY. Local. */
status_t ppo_tokens_create(int32_t n, const int32_t *lengths, const int32_t *group, int32_t mine, int what,
                           ppo_tokens_t *out);
void ppo_tokens_free(ppo_tokens_t *tokens);

/* Gives each sample that FROM has to its GROUP (n; -1: nobody), where TO has room for it: its part of the
 * arrays WHAT, which both have. A sample is in one group's FROM. Collective on DP. Errors: STATUS_MEMORY,
 * agreed; STATUS_COMM, STATUS_INTERNAL (no room), a rank's own. */
status_t ppo_tokens_send(comm_t *dp, const ppo_tokens_t *from, int what, const int32_t *group,
                         ppo_tokens_t *to);

/* The sums of the COLUMNS of TABLE (n, columns), whose rows are one group's each and zero on the others, to
 * SUMS (columns): row by row, so that they do not depend on who has which. Collective on DP. */
status_t ppo_table_sums(comm_t *dp, double *table, int32_t n, int32_t columns, double *sums);

#endif
