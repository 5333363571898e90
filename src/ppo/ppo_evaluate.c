/* How good the policy is on questions that it does not train on. */
#include "ppo/ppo_step.h"

#include "base/memory.h"
#include "session/rewards.h"

/* ---- The reward model as a judge ---- */

enum { REWARD_MEAN, REWARD_LENGTH, REWARD_METRICS };

static const judge_metric_t reward_metrics[REWARD_METRICS] = {
    [REWARD_MEAN] = {"eval/reward", ESTIMATOR_MEAN, .logged = true},
    [REWARD_LENGTH] = {"eval/response_length", ESTIMATOR_MEAN, .logged = true},
};

typedef struct {
  ppo_task_t *task;
  double *rewards; /* of the responses of the round */
} reward_state_t;

typedef struct {
  ppo_task_t *task;
  const responses_t *responses;
} judged_t;

/* Query, answer I, judging prompt. */
static status_t judged_build(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  const judged_t *judged = context;
  ppo_task_t *task = judged->task;
  prompts_t *prompts = &task->evaluator.prompts;
  int64_t row = prompts_row(prompts, judged->responses->begin + i);
  dataset_sample_t sample;
  TRY(prompts_answered(prompts, judged->responses, i, sequence, image));
  TRY(dataset_sample_read(task->held.source->dataset, row, &sample));
  status_code_t status = reward_prompt_append(&task->reward_prompt, task->held.source->tokenizer,
                                              sample.facts, sample.fact_count, (uint64_t)row, 0, sequence);
  dataset_sample_free(&sample);
  return status;
}

static status_t reward_look(judge_t *judge, const responses_t *responses) {
  reward_state_t *state = judge->state;
  ppo_task_t *task = state->task;
  judged_t judged = {task, responses};
  const session_t *session = task->session;
  int64_t skipped;
  batch_t batch;
  TRY(comm_agree(session->world, memory_resize(&state->rewards, ARENA_ROLLOUT, (size_t)responses->n,
                                               sizeof *state->rewards)));
  TRY(batch_create(&session->grid, task->held.source, &task->value_model->base.config, (int32_t)responses->n,
                   1, session->settings->optim.micro_tokens, judged_build, &judged, &batch));
  status_code_t status =
      rewards_of_batch(task->session, task->value_model, &task->reward, &batch, state->rewards, &skipped);
  batch_free(&batch);
  return status;
}

static status_t reward_judge(judge_t *judge, const answer_t *answer, json_writer_t *writer, verdict_t *out) {
  const reward_state_t *state = judge->state;
  (void)writer;
  out->counts[REWARD_MEAN] = (judge_count_t){state->rewards[answer->number], 1.0};
  out->counts[REWARD_LENGTH] = (judge_count_t){(double)answer->tokens, 1.0};
  return STATUS_OK;
}

static void reward_close(judge_t *judge) {
  reward_state_t *state = judge->state;
  memory_free(state->rewards);
  memory_free(state);
}

static status_t reward_open(ppo_task_t *task, judge_t *out) {
  reward_state_t *state;
  TRY(memory_alloc(&state, ARENA_OTHER, 1, sizeof *state));
  state->task = task;
  *out = (judge_t){.metrics = reward_metrics,
                   .metric_count = REWARD_METRICS,
                   .score = JUDGE_NO_SCORE,
                   .state = state,
                   .look = reward_look,
                   .judge = reward_judge,
                   .close = reward_close};
  return STATUS_OK;
}

/* ---- The evaluation ---- */

status_t ppo_evaluate_open(ppo_task_t *task) {
  TRY(session_path(task->session, "interrupted_evaluation", task->evaluation_path));
  evaluator_options_t options = {.rows = task->held.rows.rows,
                                 .limit = task->held.rows.count,
                                 .judges = {&task->reward_judge, &task->judge},
                                 .kept = task->evaluation_path,
                                 .shown = true};
  bool judged;
  TRY(judge_open(task->session, &task->judge, &judged));
  TRY(comm_agree(task->session->world, reward_open(task, &task->reward_judge)));
  options.judge_count = judged ? 2 : 1;
  return evaluator_open(task->session, &task->model, task->held.source, &options, &task->evaluator);
}

void ppo_evaluate_close(ppo_task_t *task) {
  evaluator_close(&task->evaluator);
  judge_close(&task->reward_judge);
  judge_close(&task->judge);
}

status_t ppo_evaluate(void *context, int64_t step, metrics_t *metrics, double *score) {
  ppo_task_t *task = context;
  const evaluator_options_t *options = &task->evaluator.options;
  tally_t tallies[EVALUATOR_JUDGES_MAX];
  task->evaluator.step = step;
  TRY(evaluate_answers(&task->evaluator, &task->policy, "policy, likeliest answers", "", tallies));
  *score = tally_metric(&tallies[0], &task->reward_judge, REWARD_MEAN).value;
  for (int32_t j = 0; j < options->judge_count; j++) {
    const judge_t *judge = options->judges[j];
    for (int32_t m = 0; m < judge->metric_count; m++)
      if (judge->metrics[m].logged)
        metrics_add(metrics, judge->metrics[m].name, tally_metric(&tallies[j], judge, m).value);
    if (judge->score != JUDGE_NO_SCORE) *score = tally_metric(&tallies[j], judge, judge->score).value;
  }
  return STATUS_OK;
}
