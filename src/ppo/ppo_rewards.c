/* Rewards and advantages of a step's samples, each where its tokens are. */
#include "ppo/ppo_step.h"

#include <math.h>
#include <string.h>

/* How what the owners have of their samples is added over all groups. */
typedef struct {
  comm_t *dp;
  const ppo_step_t *step;
  double *table; /* (n, PPO_SAMPLE_SUMS) */
} ppo_addition_t;

static status_t add_over_groups(void *context, const double *rows, int32_t columns, double *sums) {
  const ppo_addition_t *addition = context;
  const ppo_tokens_t *own = &addition->step->own;
  size_t row = (size_t)columns * sizeof *rows;
  memset(addition->table, 0, (size_t)own->n * row);
  for (int32_t k = 0; k < own->count; k++)
    memcpy(addition->table + (size_t)own->which[k] * (size_t)columns, rows + (size_t)k * (size_t)columns,
           row);
  return ppo_table_sums(addition->dp, addition->table, own->n, columns, sums);
}

static ppo_samples_t samples_of(const ppo_step_t *step) {
  const ppo_tokens_t *own = &step->own;
  double *const *numbers = own->numbers;
  return (ppo_samples_t){.samples = step->n,
                         .lengths = step->rollout.lengths,
                         .raw_reward = step->raw_reward,
                         .length_multiplier = step->length_multiplier,
                         .correct = step->correct,
                         .stopped = step->stopped,
                         .reward = step->reward,
                         .length_bonus = step->length_bonus,
                         .count = own->count,
                         .which = own->which,
                         .offsets = own->offsets,
                         .logprob = numbers[ROLLOUT_LOGPROB],
                         .ref_logprob = numbers[ROLLOUT_REF_LOGPROB],
                         .value = numbers[ROLLOUT_VALUE],
                         .entropy = numbers[ROLLOUT_ENTROPY],
                         .ref_entropy = numbers[ROLLOUT_REF_ENTROPY],
                         .kl = numbers[ROLLOUT_KL],
                         .shaped_reward = numbers[ROLLOUT_SHAPED_REWARD],
                         .advantage = numbers[ROLLOUT_ADVANTAGE],
                         .ret = numbers[ROLLOUT_RETURN]};
}

status_t ppo_step_rewards(const ppo_task_t *task, ppo_step_t *step, ppo_objective_t *objective) {
  comm_t *world = task->session->world;
  ppo_samples_t samples = samples_of(step);
  ppo_addition_t addition = {.dp = task->session->grid.dp, .step = step};
  POOL(pool, ARENA_ROLLOUT);
  size_t row = PPO_SAMPLE_SUMS * sizeof(double);
  status_code_t status = memory_pool_alloc(&pool, &samples.sums, (size_t)samples.count, row);
  if (status == STATUS_OK) status = memory_pool_alloc(&pool, &addition.table, (size_t)step->n, row);
  if (status == STATUS_OK) status = ppo_rewards(&task->options, &samples);
  TRY(comm_agree(world, status));
  samples.adder = (ppo_adder_t){add_over_groups, &addition};
  TRY(ppo_advantages(&task->options, &samples));
  return ppo_objective(&task->options, &samples, objective);
}

double ppo_logprob_gap(const ppo_step_t *step) {
  const ppo_tokens_t *own = &step->own;
  double gap = 0.0;
  for (int64_t t = 0; t < own->offsets[own->count]; t++)
    gap = fmax(gap, fabs(own->numbers[ROLLOUT_LOGPROB][t] - own->numbers[ROLLOUT_SAMPLER_LOGPROB][t]));
  return gap;
}
