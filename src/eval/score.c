#include "eval/score.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/formats/scores_file.h"
#include "perf/perf.h"
#include "session/batch_work.h"
#include "session/estimate.h"
#include "session/identity.h"
#include "session/rewards.h"
#include "session/screening.h"
#include "text/buffer.h"

#include <math.h>
#include <string.h>

/* Samples of a dp group that are planned, scored and written together: as many as fill about this many
 * micro-batches. */
enum { MICRO_BATCHES = 32 };

typedef struct {
  session_t *session;
  model_t model;
  adapter_t adapter, reward_adapter;
  head_t head;
  role_t role, reward;
  bool has_reward;
  source_t source;
  reward_prompt_t reward_prompt;
  int64_t total; /* samples */
  double logprob_sum, reward_sum;
  int64_t token_count;     /* over all ranks */
  int64_t skipped;         /* bad samples: they have no score */
  scores_writer_t *writer; /* NULL in a dry run, and once the file is complete */
  kept_t *kept;            /* what is finished, until then */
} score_task_t;

/* Keys of what is kept of row R: KEYS * R + this. */
enum { KEY_LOGPROBS, KEY_REWARD, KEYS };

/* A run of samples: rows begin .. begin + n - 1 of the dataset. */
typedef struct {
  score_task_t *task;
  int64_t begin;
  int32_t n;
  float **logprobs;      /* (n): of this group's samples */
  double *rewards;       /* (n) */
  const int32_t *learnt; /* (n): tokens of the answers; the plan's */
  int64_t skipped;       /* bad samples */
} run_t;

/* ---- Passes over a run ---- */

static status_t score_build_answers(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  run_t *run = context;
  return source_sequence(&run->task->source, run->begin + i, sequence, image);
}

static text_view_t last_answer(const conversation_t *conversation) {
  text_view_t answer = {NULL, 0};
  for (int32_t t = 0; t < conversation->count; t++)
    if (conversation->turns[t].role == TURN_GPT) answer = conversation->turns[t].text;
  return answer;
}

static status_t score_judged(const score_task_t *task, int64_t row, const dataset_sample_t *sample,
                             sequence_t *sequence, int64_t *image) {
  return rewards_sequence(&task->reward_prompt, &task->source, sample, row, 0,
                          last_answer(&sample->conversation), sequence, image);
}

static status_t score_build_judged(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  run_t *run = context;
  source_t *source = &run->task->source;
  dataset_sample_t sample;
  int64_t row = run->begin + i;
  TRY(dataset_sample_read(source->dataset, row, &sample));
  status_code_t status = score_judged(run->task, row, &sample, sequence, image);
  status = source_bad_sample(source, row, sample.id.bytes, status);
  dataset_sample_free(&sample);
  return status;
}

/* Log-probabilities of the learnt tokens of a micro-batch, to the samples they belong to. */
static status_t score_read_logprobs(run_t *run, const batch_t *batch, const micro_t *micro) {
  int32_t *rows, *targets, *owner, n, k = 0;
  double *logprobs = NULL;
  TRY(micro_targets(&batch->plan, micro, &rows, &targets, &owner, &n));
  status_code_t status = memory_alloc(&logprobs, ARENA_OTHER, (size_t)n, sizeof *logprobs);
  if (status == STATUS_OK)
    status = pass_logprobs(run->task->model.pass, n, rows, targets, 1.0, logprobs, NULL);
  for (int32_t s = 0; s < micro->count && status == STATUS_OK; s++) {
    int32_t sample = micro->which[s], count = batch->plan.learnt[sample];
    memory_free(run->logprobs[sample]);
    status = memory_alloc(&run->logprobs[sample], ARENA_OTHER, (size_t)count, sizeof(float));
    for (int32_t t = 0; t < count && status == STATUS_OK; t++)
      run->logprobs[sample][t] = (float)logprobs[k++];
  }
  memory_free(logprobs);
  memory_free(rows);
  return status;
}

static status_t score_micro(void *context, batch_t *batch, int32_t index) {
  run_t *run = context;
  const score_task_t *task = run->task;
  const micro_t *micro = &batch->micro[index];
  float *patches;
  TRY(batch_patches(batch, index, &task->model.base.config, &patches));
  pass_images_t images = {.count = micro->image_count, .patches = patches};
  perf_begin(REGION_POLICY);
  status_code_t status =
      pass_forward(task->model.pass, &task->role, &micro->packed, &images, false, NULL, NULL);
  if (status == STATUS_OK) status = score_read_logprobs(run, batch, micro);
  perf_end(REGION_POLICY);
  memory_free(patches);
  return status;
}

static status_t plan_run(run_t *run, plan_build_t build, batch_t *batch) {
  score_task_t *task = run->task;
  return batch_create(&task->session->grid, &task->source, &task->model.base.config, run->n, 1,
                      task->session->settings->optim.micro_tokens, build, run, batch);
}

static const void *logprobs_value(void *context, int32_t i, size_t *n) {
  run_t *run = context;
  *n = (size_t)run->learnt[i] * sizeof(float);
  return run->logprobs[i];
}

static status_t logprobs_take(void *context, int32_t i, const void *bytes, size_t n) {
  run_t *run = context;
  if (n != (size_t)run->learnt[i] * sizeof(float))
    return error_set(STATUS_INTERNAL, "%zu bytes are kept for the %d tokens of row %lld", n, run->learnt[i],
                     (long long)(run->begin + i));
  TRY(memory_alloc(&run->logprobs[i], ARENA_OTHER, (size_t)run->learnt[i], sizeof(float)));
  if (n > 0) memcpy(run->logprobs[i], bytes, n);
  return STATUS_OK;
}

static status_t score_answers(run_t *run, batch_t *batch) {
  score_task_t *task = run->task;
  TRY(plan_run(run, score_build_answers, batch));
  run->learnt = batch->plan.learnt;
  const batch_work_t work = {.kept = task->kept,
                             .first_key = KEYS * run->begin + KEY_LOGPROBS,
                             .key_step = KEYS,
                             .context = run,
                             .work = score_micro,
                             .value = logprobs_value,
                             .take = logprobs_take};
  TRY(batch_work(task->session, batch, &work));
  return batch_settle(&task->session->grid, batch, &run->skipped);
}

static status_t reward_micro(void *context, batch_t *batch, int32_t index) {
  run_t *run = context;
  return rewards_of_micro(&run->task->model, &run->task->reward, batch, index, run->rewards);
}

static const void *reward_value(void *context, int32_t i, size_t *n) {
  run_t *run = context;
  *n = sizeof run->rewards[i];
  return &run->rewards[i];
}

static status_t reward_take(void *context, int32_t i, const void *bytes, size_t n) {
  run_t *run = context;
  if (n != sizeof run->rewards[i])
    return error_set(STATUS_INTERNAL, "%zu bytes are kept for the reward of row %lld", n,
                     (long long)(run->begin + i));
  memcpy(&run->rewards[i], bytes, n);
  return STATUS_OK;
}

static status_t score_rewards(run_t *run, batch_t *batch) {
  score_task_t *task = run->task;
  TRY(plan_run(run, score_build_judged, batch));
  const batch_work_t work = {.kept = task->kept,
                             .first_key = KEYS * run->begin + KEY_REWARD,
                             .key_step = KEYS,
                             .context = run,
                             .work = reward_micro,
                             .value = reward_value,
                             .take = reward_take};
  TRY(batch_work(task->session, batch, &work));
  TRY(batch_settle(&task->session->grid, batch, &run->skipped));
  return comm_allreduce(task->session->grid.dp, run->rewards, (size_t)run->n, COMM_F64, COMM_SUM);
}

/* ---- Results ---- */

/* The first rank of a group writes the samples that the group scored. */
static bool score_writes(const run_t *run, const plan_t *plan, int32_t i) {
  const grid_t *grid = &run->task->session->grid;
  return grid->tp_rank == 0 && plan->group[i] == grid->dp_rank;
}

static status_t score_allocate(const run_t *run, const plan_t *plan, scores_file_t *scores) {
  size_t n = 0, tokens = 0;
  for (int32_t i = 0; i < run->n; i++) {
    if (!score_writes(run, plan, i)) continue;
    n++;
    tokens += (size_t)plan->learnt[i];
  }
  TRY(memory_alloc(&scores->index, ARENA_IO, n, sizeof *scores->index));
  TRY(memory_alloc(&scores->id, ARENA_IO, n, sizeof *scores->id));
  TRY(memory_alloc(&scores->name_offsets, ARENA_IO, n + 1, sizeof *scores->name_offsets));
  TRY(memory_alloc(&scores->offsets, ARENA_IO, n + 1, sizeof *scores->offsets));
  if (scores->has_reward) TRY(memory_alloc(&scores->reward, ARENA_IO, n, sizeof *scores->reward));
  TRY(memory_alloc(&scores->tokens, ARENA_IO, tokens, sizeof *scores->tokens));
  return memory_alloc(&scores->logprob, ARENA_IO, tokens, sizeof *scores->logprob);
}

static status_t score_add_name(const run_t *run, int32_t i, text_buffer_t *names) {
  dataset_sample_t sample;
  TRY(dataset_sample_read(run->task->source.dataset, run->begin + i, &sample));
  status_code_t status = text_buffer_append(names, sample.id);
  dataset_sample_free(&sample);
  return status;
}

/* Adds sample I of RUN. */
static status_t score_add_sample(const run_t *run, const plan_t *plan, int32_t i, scores_file_t *scores,
                                 text_buffer_t *names) {
  const sequence_t *sequence = &plan->sequences[i];
  int64_t s = scores->samples++, at = scores->offsets[s];
  scores->index[s] = i;
  scores->id[s] = run->begin + i;
  if (scores->has_reward) scores->reward[s] = (float)run->rewards[i];
  for (int32_t t = 0, k = 0; t < sequence->n; t++) {
    if (!sequence->learnt[t]) continue;
    scores->tokens[at] = sequence->tokens[t];
    scores->logprob[at++] = run->logprobs[i][k++];
  }
  scores->offsets[s + 1] = at;
  TRY(score_add_name(run, i, names));
  scores->name_offsets[s + 1] = (int64_t)names->n;
  return STATUS_OK;
}

static status_t score_fill(const run_t *run, const plan_t *plan, scores_file_t *scores,
                           text_buffer_t *names) {
  TRY(score_allocate(run, plan, scores));
  for (int32_t i = 0; i < run->n; i++)
    if (score_writes(run, plan, i)) TRY(score_add_sample(run, plan, i, scores, names));
  scores->names = names->bytes;
  return STATUS_OK;
}

static status_t score_write_run(run_t *run, const plan_t *plan) {
  score_task_t *task = run->task;
  scores_file_t scores = {.has_reward = task->has_reward};
  text_buffer_t names = {0};
  if (!task->writer) return STATUS_OK;
  status_code_t status = comm_agree(task->session->world, score_fill(run, plan, &scores, &names));
  if (status == STATUS_OK) status = scores_writer_append(task->writer, &scores);
  text_buffer_free(&names);
  scores.names = NULL;
  scores_file_free(&scores);
  return status;
}

/* Sums in sample order, for the log. */
static status_t score_add_up(run_t *run, const plan_t *plan) {
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

static status_t score_keep_run(run_t *run, const plan_t *plan) {
  perf_begin(REGION_IMBALANCE);
  status_code_t status = score_add_up(run, plan);
  perf_end(REGION_IMBALANCE);
  TRY(status);
  return score_write_run(run, plan);
}

static status_t score_both(run_t *run, batch_t *answers, batch_t *judgements) {
  score_task_t *task = run->task;
  TRY(memory_alloc(&run->logprobs, ARENA_OTHER, (size_t)run->n, sizeof *run->logprobs));
  TRY(memory_alloc(&run->rewards, ARENA_OTHER, (size_t)run->n, sizeof *run->rewards));
  TRY(score_answers(run, answers));
  if (task->has_reward) TRY(score_rewards(run, judgements));
  return score_keep_run(run, &answers->plan);
}

static status_t score_rows(score_task_t *task, int64_t begin, int32_t n) {
  run_t run = {.task = task, .begin = begin, .n = n};
  batch_t answers = {0}, judgements = {0};
  status_code_t status = score_both(&run, &answers, &judgements);
  session_skipped(task->session, run.skipped, NULL);
  task->skipped += run.skipped;
  batch_free(&answers);
  batch_free(&judgements);
  for (int32_t i = 0; i < n && run.logprobs; i++)
    memory_free(run.logprobs[i]);
  memory_free(run.logprobs);
  memory_free(run.rewards);
  return status;
}

/* ---- The task ---- */

/* The reward head of INFO's file, with the adapter it was trained with. */
static status_t score_load_reward(score_task_t *task, const store_info_t *info) {
  static const char *const roles[] = {"reward", NULL};
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  TRY(model_load_adapter(session, &task->model, info->path, roles, "reward", &task->reward_adapter, NULL));
  TRY(model_load_head(session, &task->model, info->path, "reward", &task->head));
  task->reward = (role_t){&task->model.base, &task->reward_adapter, &task->head};
  return reward_prompt_open(session, settings->rm.prompt_file, settings->rm.facts, &task->reward_prompt);
}

static status_t score_look(void *context, int64_t row, const dataset_sample_t *sample, int32_t *found) {
  const score_task_t *task = context;
  sequence_t sequence = {0};
  int64_t image;
  status_code_t status = source_sample_sequence(&task->source, sample, &sequence, &image);
  sequence_free(&sequence);
  if (status == STATUS_OK && task->has_reward) status = score_judged(task, row, sample, &sequence, &image);
  sequence_free(&sequence);
  if (screening_has_facts(sample)) *found |= SCREENING_FACTS;
  return status;
}

/* Bad samples keep their places, with no score; they are counted as they are come to. */
static status_t look_at_samples(score_task_t *task, screening_counts_t *counts) {
  const screening_t screening = {.use = "scoring", .look = score_look, .context = task};
  SCOPED(dataset_rows_free) dataset_rows_t rows = {0};
  TRY(dataset_rows(task->session->world, task->source.dataset, DATASET_ALL, &rows));
  rows.count = task->total;
  return screening_run(task->session, &task->source, &screening, &rows, counts);
}

/* INFO: of the file that the reward head comes from, if there is one. */
static status_t score_open_samples(score_task_t *task, const store_info_t *info) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  screening_counts_t counts;
  TRY(source_open(session, &task->model, "data.dataset", settings->data.dataset, &task->source));
  task->total = dataset_info(task->source.dataset).samples;
  if (settings->data.limit > 0 && settings->data.limit < task->total) task->total = settings->data.limit;
  TRY(look_at_samples(task, &counts));
  if (!task->has_reward) return STATUS_OK;
  reward_prompt_count_facts(session, &task->reward_prompt, "rm.facts", settings->data.dataset, counts.facts,
                            task->total - counts.bad);
  return reward_prompt_compare(session, &task->reward_prompt, "rm", info);
}

static status_t score_open_scoring(score_task_t *task) {
  session_t *session = task->session;
  const char *path =
      *session->settings->model.adapter ? session->settings->model.adapter : task->model.info.path;
  store_info_t info = {0};
  if (path) TRY(store_inspect(session->world, path, &task->model.info, &info));
  task->has_reward = info.judging.prompt != NULL;
  status_code_t status = task->has_reward ? score_load_reward(task, &info) : STATUS_OK;
  if (status == STATUS_OK) status = score_open_samples(task, &info);
  store_info_free(&info);
  return status;
}

static status_t score_open_task(score_task_t *task) {
  bool found;
  TRY(model_from_settings(task->session, &task->model));
  TRY(model_settings_adapter(task->session, &task->model, &task->adapter, &found));
  task->role = (role_t){&task->model.base, found ? &task->adapter : NULL, NULL};
  return score_open_scoring(task);
}

static void score_note_output(const score_task_t *task) {
  estimate_t *estimate = task->session->dry;
  estimate_part(estimate, dataset_info(task->source.dataset).samples, estimate->data_limit,
                task->session->settings->data.limit);
  estimate_output(estimate, "scores.h5",
                  (double)scores_file_bytes((int64_t)((double)task->total / estimate->part),
                                            (int64_t)((double)task->token_count / estimate->part),
                                            task->has_reward));
}

static status_t score_open_file(score_task_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  char path[FILE_MAX_PATH];
  const scores_info_t info = {.model =
                                  *settings->model.adapter ? settings->model.adapter : settings->model.base,
                              .dataset = settings->data.dataset,
                              .dataset_identity = dataset_info(task->source.dataset).identity};
  if (session->dry) return STATUS_OK;
  TRY(session_path(session, "scores.h5", path));
  return scores_writer_open(session->world, path, &info, task->has_reward, &task->writer);
}

/* What is finished is kept until the file is written. */
static status_t score_identity(score_task_t *task, text_buffer_t *text) {
  char line[64];
  session_t *session = task->session;
  snprintf(line, sizeof line, "data.max_len = %lld\n", (long long)session->settings->data.max_len);
  TRY(identity_add_role(session, &task->model, &task->role, text));
  if (task->has_reward) TRY(identity_add_role(session, &task->model, &task->reward, text));
  TRY(identity_add_source(session, &task->source, text));
  TRY(text_buffer_append_string(text, line));
  return task->has_reward ? identity_add_judging(&task->reward_prompt, text) : STATUS_OK;
}

static status_t score_keep(score_task_t *task) {
  SCOPED(text_buffer_free) text_buffer_t identity = {0};
  session_t *session = task->session;
  char path[FILE_MAX_PATH];
  if (session->dry) return STATUS_OK;
  TRY(comm_agree(session->world, score_identity(task, &identity)));
  TRY(session_path(session, "scores.h5", path));
  return identity_keep(session, &task->model, path, "scores", &identity, false, &task->kept);
}

static status_t score_close_file(score_task_t *task) {
  scores_writer_t *writer = task->writer;
  if (task->session->dry) score_note_output(task);
  if (!writer) return STATUS_OK;
  task->writer = NULL;
  TRY(scores_writer_close(writer));
  TRY(kept_remove(&task->kept));
  log_info("scores     %lld answers, %lld tokens: mean log-probability %.4f", (long long)task->total,
           (long long)task->token_count,
           task->token_count > 0 ? task->logprob_sum / (double)task->token_count : 0.0);
  int64_t scored = task->total - task->skipped;
  if (task->has_reward && scored > 0)
    log_info("           mean reward %.4f", task->reward_sum / (double)scored);
  log_info("written    %s/scores.h5", task->session->run_dir);
  return STATUS_OK;
}

/* Samples of a round, of all groups. */
static int64_t round_size(const session_t *session) {
  const settings_t *settings = session->settings;
  int64_t samples = MICRO_BATCHES * settings->optim.micro_tokens / settings->data.max_len;
  if (samples < 1) samples = 1;
  return (samples < INT16_MAX ? samples : INT16_MAX) * session->grid.dp_size;
}

static status_t score_all(score_task_t *task) {
  session_t *session = task->session;
  int64_t round = round_size(session);
  for (int64_t begin = 0; begin < task->total; begin += round) {
    int64_t n = task->total - begin < round ? task->total - begin : round;
    bool stop;
    TRY(session_stop(session, 0.0, &stop));
    if (stop) return STATUS_STOPPED;
    TRY(score_rows(task, begin, (int32_t)n));
    log_progress("score", begin + n, task->total, "answers", NULL);
  }
  return STATUS_OK;
}

static status_t score(score_task_t *task) {
  TRY(score_open_task(task));
  TRY(score_open_file(task));
  TRY(score_keep(task));
  status_code_t status = score_all(task);
  if (status == STATUS_STOPPED)
    TRY(kept_tell(task->kept, (task->has_reward ? KEYS : 1) * task->total, &task->session->gained));
  TRY(status);
  return score_close_file(task);
}

status_t score_run(session_t *session) {
  score_task_t task = {.session = session};
  status_code_t status = score(&task);
  scores_writer_abandon(task.writer);
  kept_close(task.kept);
  reward_prompt_free(&task.reward_prompt);
  source_close(&task.source);
  head_free(&task.head);
  adapter_free(&task.reward_adapter);
  adapter_free(&task.adapter);
  model_free(&task.model);
  return status;
}
