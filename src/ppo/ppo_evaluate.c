/* How good the policy is on questions that it does not train on. */
#include "ppo/ppo_step.h"

#include "base/memory.h"
#include "session/rewards.h"

/* Sums over an evaluation's answers. */
typedef struct {
  ppo_task_t *task;
  double rewards, tokens;
  int64_t answers; /* whose image is whole */
} sums_t;

typedef struct {
  ppo_task_t *task;
  const responses_t *responses;
} judged_t;

/* Query, answer I, judging prompt. */
static status_t build_judged(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  const judged_t *judged = context;
  ppo_task_t *task = judged->task;
  prompts_t *prompts = &task->evaluator.prompts;
  int64_t row = prompts->rows[judged->responses->begin + i];
  dataset_sample_t sample;
  TRY(prompts_answered(prompts, judged->responses, i, sequence, image));
  TRY(dataset_sample_read(task->held.source->dataset, row, &sample));
  status_code_t status = criteria_append(&task->criteria, task->held.source->tokenizer, sample.facts,
                                         sample.fact_count, (uint64_t)row, 0, sequence);
  dataset_sample_free(&sample);
  return status;
}

static status_t score(ppo_task_t *task, const responses_t *responses, double *rewards) {
  judged_t judged = {task, responses};
  const session_t *session = task->session;
  int64_t skipped;
  batch_t batch;
  TRY(batch_create(&session->grid, task->held.source, &task->value_model->base.config, (int32_t)responses->n,
                   1, session->settings->optim.micro_tokens, build_judged, &judged, &batch));
  status_code_t status =
      rewards_of_batch(task->session, task->value_model, &task->reward, &batch, rewards, &skipped);
  batch_free(&batch);
  return status;
}

static status_t add_round(void *context, const responses_t *responses) {
  sums_t *sums = context;
  double *rewards;
  TRY(memory_alloc(&rewards, ARENA_ROLLOUT, (size_t)responses->n, sizeof *rewards));
  status_code_t status = score(sums->task, responses, rewards);
  for (int64_t i = 0; i < responses->n && status == STATUS_OK; i++) {
    if (responses->broken[i]) continue;
    sums->rewards += rewards[i];
    sums->tokens += (double)(responses->offsets[i + 1] - responses->offsets[i]);
    sums->answers++;
  }
  memory_free(rewards);
  return status;
}

status_t ppo_evaluate_open(ppo_task_t *task) {
  return evaluator_open(task->session, &task->model, task->held.source, task->held.rows, task->held.count,
                        &task->evaluator);
}

status_t ppo_evaluate(void *context, int64_t step, metrics_t *metrics, double *score) {
  ppo_task_t *task = context;
  sums_t sums = {.task = task};
  judge_table_t table;
  task->evaluator.step = step;
  task->evaluator.answered = add_round;
  task->evaluator.context = &sums;
  TRY(evaluate_answers(&task->evaluator, &task->policy, "policy, likeliest answers", "", &table));
  double answers = (double)sums.answers; /* there are some (evaluate_answers) */
  *score = sums.rewards / answers;
  metrics_add(metrics, "eval/reward", sums.rewards / answers);
  metrics_add(metrics, "eval/response_length", sums.tokens / answers);
  if (!task->evaluator.judged) return STATUS_OK;
  judge_summary_t summary = judge_table_summary(&table);
  metrics_add(metrics, "eval/rating", summary.rating);
  metrics_add(metrics, "eval/hallucination", summary.hallucination);
  metrics_add(metrics, "eval/open_hallucination", summary.open_hallucination);
  metrics_add(metrics, "eval/claims_right", summary.claims_right);
  metrics_add(metrics, "eval/recall", summary.recall);
  metrics_add(metrics, "eval/words", summary.words);
  *score = summary.rating;
  return STATUS_OK;
}
