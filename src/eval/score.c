#include "eval/score.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/scores_file.h"
#include "perf/perf.h"
#include "run/batch.h"
#include "run/criteria.h"
#include "run/estimate.h"
#include "run/source.h"

#include <math.h>
#include <string.h>

/* Samples of a dp group that are planned together. */
enum { SAMPLES_PER_GROUP = 128 };

typedef struct {
  session_t *session;
  model_t model;
  adapter_t adapter, reward_adapter;
  head_t head;
  role_t role, reward;
  bool has_reward;
  source_t source;
  criteria_t criteria;
  int64_t total; /* samples */
  double logprob_sum, reward_sum;
  int64_t token_count; /* over all ranks */
  /* What this rank writes, and room for it. */
  scores_file_t scores;
  int64_t sample_capacity, token_capacity;
} score_task_t;

/* A run of samples: rows begin .. begin + n - 1 of the dataset. */
typedef struct {
  score_task_t *task;
  int64_t begin;
  int32_t n;
  float **logprobs; /* (n): of this group's samples */
  double *rewards;  /* (n) */
  int64_t skipped;  /* bad samples */
} run_t;

/* ---- Passes over a run ---- */

static status_t build_answers(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  run_t *run = context;
  return source_sequence(&run->task->source, run->begin + i, sequence, image);
}

static text_view_t last_answer(const conversation_t *conversation) {
  text_view_t answer = {NULL, 0};
  for (int32_t t = 0; t < conversation->count; t++)
    if (conversation->turns[t].role == TURN_GPT) answer = conversation->turns[t].text;
  return answer;
}

static status_t judged(run_t *run, int64_t row, const dataset_sample_t *sample, sequence_t *sequence) {
  score_task_t *task = run->task;
  TRY(conversation_answered(task->source.tokenizer, task->source.template, &sample->conversation,
                            last_answer(&sample->conversation), true, sequence));
  return criteria_append(&task->criteria, task->source.tokenizer, sample->facts, sample->fact_count,
                         (uint64_t)row, 0, sequence);
}

static status_t build_judged(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  run_t *run = context;
  source_t *source = &run->task->source;
  dataset_sample_t sample;
  int64_t row = run->begin + i;
  TRY(dataset_sample_read(source->dataset, row, &sample));
  *image = sample.image;
  status_code_t status = judged(run, row, &sample, sequence);
  if (status == STATUS_OK && sequence_images(sequence) > 0 && sample.image < 0)
    status = error_set(STATUS_DATA, "the text has an image place but the sample has no image");
  if (status != STATUS_OK) {
    sequence_free(sequence);
    *sequence = (sequence_t){0};
  }
  status = source_bad_sample(source, row, sample.id.bytes, status);
  if (sequence_images(sequence) == 0) *image = -1;
  dataset_sample_free(&sample);
  return status;
}

/* Log-probabilities of the learnt tokens of a micro-batch, to the samples they belong to. */
static status_t read_logprobs(run_t *run, const batch_t *batch, const micro_t *micro) {
  int32_t *rows, *targets, *owner, n, k = 0;
  double *logprobs = NULL;
  TRY(micro_targets(&batch->plan, micro, &rows, &targets, &owner, &n));
  status_code_t status = memory_alloc(&logprobs, ARENA_OTHER, (size_t)n, sizeof *logprobs);
  if (status == STATUS_OK)
    status = pass_logprobs(run->task->model.pass, n, rows, targets, 1.0, logprobs, NULL);
  for (int32_t s = 0; s < micro->count && status == STATUS_OK; s++) {
    int32_t sample = micro->which[s], count = batch->plan.learnt[sample];
    status = memory_alloc(&run->logprobs[sample], ARENA_OTHER, (size_t)count, sizeof(float));
    for (int32_t t = 0; t < count && status == STATUS_OK; t++)
      run->logprobs[sample][t] = (float)logprobs[k++];
  }
  memory_free(logprobs);
  memory_free(rows);
  return status;
}

/* Rewards at the last token of each sequence of a micro-batch. */
static status_t read_rewards(run_t *run, const batch_t *batch, const micro_t *micro) {
  int32_t *rows, n = 0;
  double *values;
  TRY(memory_alloc(&values, ARENA_OTHER, (size_t)micro->count, sizeof *values + sizeof *rows));
  rows = (int32_t *)(values + micro->count);
  for (int32_t s = 0; s < micro->count; s++)
    if (micro->packed.offsets[s + 1] > micro->packed.offsets[s]) rows[n++] = micro->packed.offsets[s + 1] - 1;
  status_code_t status = pass_scalars(run->task->model.pass, n, rows, values);
  n = 0;
  for (int32_t s = 0; s < micro->count && status == STATUS_OK; s++)
    if (micro->packed.offsets[s + 1] > micro->packed.offsets[s]) {
      int32_t sample = micro->which[s];
      run->rewards[sample] = batch->broken[sample] ? 0.0 : values[n];
      n++;
    }
  memory_free(values);
  return status;
}

/* What a pass over a run's sequences is for. */
typedef struct {
  const role_t *role;
  plan_build_t build;
  status_t (*read)(run_t *run, const batch_t *batch, const micro_t *micro);
  region_t region;
} scoring_t;

static status_t score_micro(run_t *run, batch_t *batch, int32_t index, const scoring_t *scoring) {
  const micro_t *micro = &batch->micro[index];
  pass_t *pass = run->task->model.pass;
  float *patches;
  TRY(batch_patches(batch, index, &run->task->model.base.config, &patches));
  pass_images_t images = {.count = micro->image_count, .patches = patches};
  perf_begin(scoring->region);
  status_code_t status = pass_forward(pass, scoring->role, &micro->packed, &images, false, NULL, NULL);
  if (status == STATUS_OK) status = scoring->read(run, batch, micro);
  perf_end(scoring->region);
  memory_free(patches);
  return status;
}

static status_t score_batch(run_t *run, const scoring_t *scoring, batch_t *batch) {
  score_task_t *task = run->task;
  TRY(batch_create(&task->session->grid, &task->source, &task->model.base.config, run->n, 1,
                   task->session->settings->optim.micro_tokens, scoring->build, run, batch));
  for (int32_t m = 0; m < batch->plan.micro_count; m++)
    TRY(score_micro(run, batch, m, scoring));
  return batch_settle(&task->session->grid, batch, &run->skipped);
}

/* ---- Results ---- */

static status_t grow(void *array, int64_t *capacity, int64_t needed, size_t size) {
  if (needed <= *capacity) return STATUS_OK;
  int64_t bigger = 2 * *capacity > needed ? 2 * *capacity : needed;
  TRY(memory_resize(array, ARENA_IO, (size_t)bigger, size));
  *capacity = bigger;
  return STATUS_OK;
}

static status_t reserve(score_task_t *task, int64_t samples, int64_t tokens) {
  scores_file_t *scores = &task->scores;
  int64_t capacity[] = {task->sample_capacity, task->sample_capacity, task->sample_capacity,
                        task->sample_capacity, task->token_capacity,  task->token_capacity};
  TRY(grow(&scores->index, &capacity[0], samples + 1, sizeof *scores->index));
  TRY(grow(&scores->id, &capacity[1], samples + 1, sizeof *scores->id));
  TRY(grow(&scores->offsets, &capacity[2], samples + 1, sizeof *scores->offsets));
  TRY(grow(&scores->reward, &capacity[3], samples + 1, sizeof *scores->reward));
  TRY(grow(&scores->tokens, &capacity[4], tokens, sizeof *scores->tokens));
  TRY(grow(&scores->logprob, &capacity[5], tokens, sizeof *scores->logprob));
  task->sample_capacity = capacity[0];
  task->token_capacity = capacity[4];
  return STATUS_OK;
}

/* Appends sample I of RUN, which this rank's group scored. */
static status_t append(run_t *run, const plan_t *plan, int32_t i) {
  score_task_t *task = run->task;
  scores_file_t *scores = &task->scores;
  const sequence_t *sequence = &plan->sequences[i];
  int64_t s = scores->samples, at = s > 0 ? scores->offsets[s] : 0;
  TRY(reserve(task, s + 1, at + plan->learnt[i]));
  scores->index[s] = scores->id[s] = run->begin + i;
  scores->reward[s] = (float)run->rewards[i];
  for (int32_t t = 0, k = 0; t < sequence->n; t++) {
    if (!sequence->learnt[t]) continue;
    scores->tokens[at] = sequence->tokens[t];
    scores->logprob[at++] = run->logprobs[i][k++];
  }
  scores->offsets[s + 1] = at;
  scores->samples++;
  return STATUS_OK;
}

/* Sums in sample order, for the log. */
static status_t add_up(run_t *run, const plan_t *plan) {
  score_task_t *task = run->task;
  double *sums;
  TRY(memory_alloc(&sums, ARENA_OTHER, (size_t)run->n, sizeof *sums));
  for (int32_t i = 0; i < run->n; i++)
    for (int32_t t = 0; t < plan->learnt[i] && run->logprobs[i]; t++)
      sums[i] += run->logprobs[i][t];
  status_code_t status = comm_allreduce(task->session->grid.dp, sums, (size_t)run->n, COMM_F64, COMM_SUM);
  for (int32_t i = 0; i < run->n; i++) {
    task->logprob_sum += sums[i];
    task->reward_sum += run->rewards[i];
    task->token_count += plan->learnt[i];
    if (status == STATUS_OK && !(isfinite(sums[i]) && isfinite(run->rewards[i])))
      status = error_set(STATUS_NUMERIC,
                         "sample %lld has the log-probability %g and the reward %g, expected finite numbers; "
                         "the model or its adapter is broken",
                         (long long)(run->begin + i), sums[i], run->rewards[i]);
  }
  memory_free(sums);
  return status;
}

static status_t keep_run(run_t *run, const plan_t *plan) {
  const grid_t *grid = &run->task->session->grid;
  perf_begin(REGION_IMBALANCE);
  status_code_t status = STATUS_OK;
  if (run->task->has_reward)
    status = comm_allreduce(grid->dp, run->rewards, (size_t)run->n, COMM_F64, COMM_SUM);
  if (status == STATUS_OK) status = add_up(run, plan);
  perf_end(REGION_IMBALANCE);
  TRY(status);
  for (int32_t i = 0; i < run->n && grid->tp_rank == 0; i++)
    if (plan->group[i] == grid->dp_rank) TRY(append(run, plan, i));
  return STATUS_OK;
}

static status_t score_both(run_t *run, batch_t *answers, batch_t *judgements) {
  score_task_t *task = run->task;
  const scoring_t logprobs = {&task->role, build_answers, read_logprobs, REGION_POLICY};
  const scoring_t rewards = {&task->reward, build_judged, read_rewards, REGION_REWARD};
  TRY(memory_alloc(&run->logprobs, ARENA_OTHER, (size_t)run->n, sizeof *run->logprobs));
  TRY(memory_alloc(&run->rewards, ARENA_OTHER, (size_t)run->n, sizeof *run->rewards));
  TRY(score_batch(run, &logprobs, answers));
  if (task->has_reward) TRY(score_batch(run, &rewards, judgements));
  return keep_run(run, &answers->plan);
}

static status_t score_rows(score_task_t *task, int64_t begin, int32_t n) {
  run_t run = {.task = task, .begin = begin, .n = n};
  batch_t answers = {0}, judgements = {0};
  status_code_t status = score_both(&run, &answers, &judgements);
  session_skipped(task->session, run.skipped, NULL);
  batch_free(&answers);
  batch_free(&judgements);
  for (int32_t i = 0; i < n && run.logprobs; i++)
    memory_free(run.logprobs[i]);
  memory_free(run.logprobs);
  memory_free(run.rewards);
  return status;
}

/* ---- The task ---- */

/* The reward head, where the model has one, with the adapter it was trained with. */
static status_t open_reward(score_task_t *task) {
  static const char *const roles[] = {"reward", NULL};
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  const char *path = *settings->model.adapter ? settings->model.adapter : settings->model.base;
  store_info_t info;
  if (!*path) return STATUS_OK;
  TRY(store_inspect(session->world, path, &info));
  task->has_reward =
      store_find((const char(*)[STORE_ROLE_NAME_MAX])info.heads, info.head_count, "reward") >= 0;
  store_info_free(&info);
  if (!task->has_reward) return STATUS_OK;
  TRY(model_load_adapter(session, &task->model, path, roles, "reward", &task->reward_adapter, NULL));
  TRY(model_load_head(session, &task->model, path, "reward", &task->head));
  task->reward = (role_t){&task->model.base, &task->reward_adapter, &task->head};
  return criteria_open(session, settings->rm.prompt_file, settings->rm.facts, &task->criteria);
}

static status_t open_task(score_task_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  bool found;
  TRY(model_from_settings(session, &task->model));
  TRY(model_settings_adapter(session, &task->model, &task->adapter, &found));
  task->role = (role_t){&task->model.base, found ? &task->adapter : NULL, NULL};
  TRY(open_reward(task));
  TRY(source_open(session, &task->model, "data.dataset", settings->data.dataset, &task->source));
  task->total = dataset_info(task->source.dataset).samples;
  if (settings->data.limit > 0 && settings->data.limit < task->total) task->total = settings->data.limit;
  return comm_agree(session->world, reserve(task, 0, 0));
}

static void note_output(const score_task_t *task) {
  estimate_t *estimate = task->session->dry;
  double tokens = (double)task->token_count, samples = (double)task->total;
  estimate_part(estimate, dataset_info(task->source.dataset).samples, estimate->data_limit,
                task->session->settings->data.limit);
  estimate_output(estimate, "scores.h5",
                  scores_file_bytes(samples / estimate->part, tokens / estimate->part, task->has_reward));
}

static status_t write_scores(score_task_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  char path[FILE_MAX_PATH];
  const char *name = *settings->model.adapter ? settings->model.adapter : settings->model.base;
  TRY(session_path(session, "scores.h5", path));
  task->scores.has_reward = task->has_reward;
  if (session->dry) {
    note_output(task);
    return STATUS_OK;
  }
  TRY(scores_file_write(session->world, path, name, &task->scores));
  log_info("scores     %lld answers, %lld tokens: mean log-probability %.4f", (long long)task->total,
           (long long)task->token_count,
           task->token_count > 0 ? task->logprob_sum / (double)task->token_count : 0.0);
  if (task->has_reward)
    log_info("           mean reward %.4f", task->total > 0 ? task->reward_sum / (double)task->total : 0.0);
  log_info("written    %s", path);
  return STATUS_OK;
}

static status_t score(score_task_t *task) {
  session_t *session = task->session;
  TRY(open_task(task));
  int64_t round = (int64_t)SAMPLES_PER_GROUP * session->grid.dp_size;
  for (int64_t begin = 0; begin < task->total; begin += round) {
    int64_t n = task->total - begin < round ? task->total - begin : round;
    bool stop;
    TRY(session_stop(session, 0.0, &stop));
    if (stop) return STATUS_STOPPED;
    TRY(score_rows(task, begin, (int32_t)n));
    log_progress("score", begin + n, task->total, "answers", NULL);
  }
  return write_scores(task);
}

status_t score_run(session_t *session) {
  score_task_t task = {.session = session};
  status_code_t status = score(&task);
  void *all[] = {task.scores.index,  task.scores.id,      task.scores.offsets,
                 task.scores.tokens, task.scores.logprob, task.scores.reward};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    memory_free(all[i]);
  criteria_free(&task.criteria);
  source_close(&task.source);
  head_free(&task.head);
  adapter_free(&task.reward_adapter);
  adapter_free(&task.adapter);
  model_free(&task.model);
  return status;
}
