#include "eval/evaluate.h"

#include "base/log.h"
#include "base/memory.h"
#include "eval/answer_list.h"
#include "eval/answers.h"
#include "eval/comparison.h"
#include "eval/pope.h"
#include "eval/requests.h"
#include "io/output_file.h"
#include "session/estimate.h"

#include <stdio.h>

/* Questions that all models answer, and who judges the answers. */
typedef struct {
  const char *setting, *dataset; /* that the questions are a setting of; the dataset */
  const char *stem;              /* of the files of answers */
  evaluator_options_t options;
  int32_t tally; /* of a column: the judge's */
} question_set_t;

enum { QUESTION_SETS_MAX = COMPARISON_JUDGES_MAX };

typedef struct {
  session_t *session;
  comparison_t comparison;
  judge_t judge, pope;
  bool judged; /* there is a judge */
  questions_t questions, pope_questions;
  question_set_t sets[QUESTION_SETS_MAX]; /* eval.dataset; eval.pope */
  int32_t set_count;
} evaluate_task_t;

/* A model under evaluation. */
typedef struct {
  model_t model;
  adapter_t adapter;
  role_t role;
} evaluate_candidate_t;

/* Files of answers, or of replies: one column each, and no models. NULL: models answer. */
static const text_list_t *columns_given(const settings_t *settings) {
  if (settings->eval.replies.count > 0) return &settings->eval.replies;
  return settings->eval.answers.count > 0 ? &settings->eval.answers : NULL;
}

/* What a judge elsewhere is to be asked about column INDEX, to PATH; NULL where there is none. */
static status_t requests_path(const evaluate_task_t *task, const judge_t *judge, int64_t index,
                              char path[FILE_MAX_PATH], const char **out) {
  char name[64];
  *out = NULL;
  if (!judge || judge->judge) return STATUS_OK;
  snprintf(name, sizeof name, "requests_%lld.jsonl", (long long)index + 1);
  *out = path;
  return session_path(task->session, name, path);
}

/* ---- Models ---- */

static const char *model_name(const settings_t *settings, int64_t index) {
  if (settings->eval.models.count > 0) return settings->eval.models.items[index];
  return *settings->model.adapter ? settings->model.adapter : settings->model.base;
}

/* Base and, where the file has one, the adapter of one of eval.models. */
static status_t candidate_open_listed(session_t *session, const char *path, evaluate_candidate_t *candidate,
                                      bool *adapted) {
  static const char *const roles[] = {"policy", "default", NULL};
  TRY(model_open(session, "eval.models", path, session->settings->model.base_format, &candidate->model));
  *adapted = candidate->model.info.adapter_count > 0;
  if (!*adapted) return STATUS_OK;
  return model_load_adapter(session, &candidate->model, path, roles, "policy", &candidate->adapter, NULL);
}

static status_t candidate_open(session_t *session, int64_t index, evaluate_candidate_t *candidate) {
  const settings_t *settings = session->settings;
  bool adapted;
  if (settings->eval.models.count > 0) {
    TRY(candidate_open_listed(session, settings->eval.models.items[index], candidate, &adapted));
  } else {
    TRY(model_from_settings(session, &candidate->model));
    TRY(model_settings_adapter(session, &candidate->model, &candidate->adapter, &adapted));
  }
  candidate->role = (role_t){&candidate->model.base, adapted ? &candidate->adapter : NULL, NULL};
  return STATUS_OK;
}

static void candidate_close(evaluate_candidate_t *candidate) {
  adapter_free(&candidate->adapter);
  model_free(&candidate->model);
}

/* All models must be there before the first one answers. */
static status_t models_check(const session_t *session) {
  const text_list_t *models = &session->settings->eval.models;
  for (int64_t m = 0; m < models->count; m++) {
    store_info_t info;
    status_code_t status = store_inspect(session->world, models->items[m], NULL, &info);
    if (status != STATUS_OK)
      return error_context(status, "while opening eval.models = '%s'", models->items[m]);
    store_info_free(&info);
  }
  return STATUS_OK;
}

/* ---- Answers ---- */

/* As of task generate: about the longest that the file of answers can be. */
static void output_estimate(const session_t *session, const source_t *source, int64_t index,
                            const char *path) {
  estimate_t *estimate = session->dry;
  char name[64];
  estimate_part(estimate, dataset_info(source->dataset).samples, estimate->eval_limit,
                session->settings->eval.limit);
  snprintf(name, sizeof name, "answers_%lld.jsonl", (long long)index + 1);
  estimate_output_file(estimate, name, path);
}

/* The file of column INDEX's answers. */
static status_t set_path(const evaluate_task_t *task, const question_set_t *set, int64_t index,
                         char path[FILE_MAX_PATH]) {
  char name[64];
  snprintf(name, sizeof name, "%s_%lld.jsonl", set->stem, (long long)index + 1);
  return session_path(task->session, name, path);
}

static status_t set_answer_opened(evaluate_task_t *task, const question_set_t *set, int64_t index,
                                  evaluate_candidate_t *candidate, source_t *source, evaluator_t *evaluator) {
  session_t *session = task->session;
  column_t *column = &task->comparison.columns[index];
  char path[FILE_MAX_PATH], requests[FILE_MAX_PATH];
  bool first = set == task->sets;
  evaluator_options_t options = set->options;
  TRY(requests_path(task, options.judge_count > 0 ? options.judges[0] : NULL, index, requests,
                    &options.requests));
  TRY(source_open(session, &candidate->model, set->setting, set->dataset, source));
  TRY(evaluator_open(session, &candidate->model, source, &options, evaluator));
  if (first) column->questions = evaluator->prompts.count;
  if (first) column->dropped = evaluator->prompts.dropped;
  TRY(set_path(task, set, index, path));
  TRY(evaluate_answers(evaluator, &candidate->role, column->model, path, &column->tallies[set->tally]));
  if (first && session->dry) output_estimate(session, source, index, path);
  return STATUS_OK;
}

static status_t set_answer(evaluate_task_t *task, const question_set_t *set, int64_t index,
                           evaluate_candidate_t *candidate) {
  source_t source = {0};
  evaluator_t evaluator = {0};
  status_code_t status = set_answer_opened(task, set, index, candidate, &source, &evaluator);
  evaluator_close(&evaluator);
  source_close(&source);
  return status;
}

static status_t model_evaluate(evaluate_task_t *task, int64_t index) {
  evaluate_candidate_t candidate = {0};
  bool stop;
  TRY(session_stop(task->session, 0.0, &stop));
  if (stop) return STATUS_STOPPED;
  status_code_t status = candidate_open(task->session, index, &candidate);
  for (int32_t s = 0; s < task->set_count && status == STATUS_OK; s++)
    status = set_answer(task, &task->sets[s], index, &candidate);
  candidate_close(&candidate);
  return status;
}

/* ---- Sets of questions ---- */

/* JUDGE's answers, unless it is NULL, are those of SET. */
static void set_add(evaluate_task_t *task, question_set_t set, judge_t *judge) {
  comparison_t *comparison = &task->comparison;
  set.options.limit = task->session->settings->eval.limit;
  set.tally = comparison->judge_count;
  if (judge) {
    set.options.judges[0] = judge;
    set.options.judge_count = 1;
    comparison->judges[comparison->judge_count++] = judge;
  }
  task->sets[task->set_count++] = set;
}

/* eval.dataset, a dataset or a file of questions. */
static status_t dataset_find(evaluate_task_t *task, question_set_t *set) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  set->dataset = settings->eval.dataset;
  if (!questions_are_listed(settings->eval.dataset)) return STATUS_OK;
  TRY(questions_prepare(session, settings->eval.dataset, settings->eval.image_folder, "questions",
                        &task->questions));
  set->dataset = task->questions.dataset;
  set->options.questions = &task->questions;
  return STATUS_OK;
}

/* All that is needed to judge is there before the first model answers. */
static status_t sets_open(evaluate_task_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  question_set_t set = {.setting = "eval.dataset",
                        .stem = "answers",
                        .options = {.shown = true,
                                    .suffix = settings->generate.suffix,
                                    .judge_model = settings->eval.judge_model}};
  TRY(dataset_find(task, &set));
  set_add(task, set, task->judged ? &task->judge : NULL);
  if (!*settings->eval.pope) return STATUS_OK;
  TRY(questions_prepare(session, settings->eval.pope, settings->eval.image_folder, "pope",
                        &task->pope_questions));
  TRY(pope_open(session, &task->pope));
  TRY(judge_check_questions(session, &task->pope_questions, &task->pope));
  set_add(
      task,
      (question_set_t){.setting = "eval.pope",
                       .dataset = task->pope_questions.dataset,
                       .stem = "pope",
                       .options = {.suffix = settings->eval.pope_suffix, .questions = &task->pope_questions}},
      &task->pope);
  return STATUS_OK;
}

static status_t comparison_store(const evaluate_task_t *task) {
  char path[FILE_MAX_PATH];
  output_file_t file;
  TRY(session_path(task->session, "evaluation.json", path));
  TRY(output_file_open(path, &file));
  comparison_write(&task->comparison, file.writer);
  return output_file_close(&file, STATUS_OK);
}

/* Answers to all sets are kept until the last of them is judged: a start after a stop goes on from there. */
static status_t answers_drop(const evaluate_task_t *task) {
  for (int64_t m = 0; m < task->comparison.count; m++)
    for (int32_t s = 0; s < task->set_count; s++) {
      char path[FILE_MAX_PATH];
      TRY(set_path(task, &task->sets[s], m, path));
      TRY(kept_drop(task->session->world, path));
    }
  return STATUS_OK;
}

/* ---- Answers that are there already ---- */

/* Answers of one column, on rank 0. */
typedef struct {
  evaluate_task_t *task;
  column_t *column;
  json_writer_t *writer, *requests;
  int64_t empty; /* answers without a character */
} judging_t;

static status_t answer_judge_listed(void *context, const answer_t *answer) {
  judging_t *judging = context;
  judge_t *judge = &judging->task->judge;
  verdict_t verdict = {0};
  int64_t limit = judging->task->session->settings->eval.limit;
  if (limit > 0 && answer->row >= limit) return STATUS_OK;
  judging->column->questions++;
  judging->empty += *answer->text == '\0';
  if (judge->accept) TRY(judge->accept(judge, answer));
  if (judging->requests)
    return request_write(judge, answer, judging->task->session->settings->eval.judge_model,
                         judging->requests);
  json_write_object_begin(judging->writer);
  answer_list_copy(judging->writer, answer->record, NULL);
  TRY(judge->judge(judge, answer, judging->writer, &verdict));
  json_write_object_end(judging->writer);
  json_write_line(judging->writer);
  tally_add(&judging->column->tallies[0], judge, &verdict);
  return STATUS_OK;
}

static status_t answers_check(const judging_t *judging, const char *path) {
  int64_t count = judging->column->questions;
  if (count == 0) return error_set(STATUS_DATA, "%s holds no answers", path);
  if (judging->empty > 0)
    log_warning("%s: %lld of %lld answers are empty, and judged as they are", path, (long long)judging->empty,
                (long long)count);
  return STATUS_OK;
}

/* Judges the answers of PATH, to answers_<k>.jsonl, or writes what a judge elsewhere is to be asked. */
static status_t answers_judge(evaluate_task_t *task, const char *path, int64_t index) {
  column_t *column = &task->comparison.columns[index];
  judge_t *judge = &task->judge;
  char output[FILE_MAX_PATH], name[64];
  const char *requests;
  output_file_t file;
  TRY(requests_path(task, judge, index, output, &requests));
  snprintf(name, sizeof name, "answers_%lld.jsonl", (long long)index + 1);
  if (!requests) TRY(session_path(task->session, name, output));
  TRY(output_file_open(output, &file));
  judging_t judging = {
      .task = task, .column = column, .writer = file.writer, .requests = requests ? file.writer : NULL};
  status_code_t status = answer_list_visit(path, judge, answer_judge_listed, &judging);
  if (status == STATUS_OK) status = answers_check(&judging, path);
  if (status == STATUS_OK && judge->finish) status = judge->finish(judge, &column->tallies[0]);
  return output_file_close(&file, status);
}

static status_t columns_judge(evaluate_task_t *task) {
  const settings_t *settings = task->session->settings;
  bool replies = settings->eval.replies.count > 0;
  for (int64_t c = 0; c < task->comparison.count; c++) {
    column_t *column = &task->comparison.columns[c];
    column->model = columns_given(settings)->items[c];
    if (replies)
      TRY(replies_judge(column->model, &task->judge, &column->tallies[0], &column->questions));
    else
      TRY(answers_judge(task, column->model, c));
  }
  return STATUS_OK;
}

/* Settings that a judge of answers or of replies can do with. */
static status_t columns_check(const evaluate_task_t *task) {
  const settings_t *settings = task->session->settings;
  const judge_t *judge = &task->judge;
  if (settings->eval.replies.count > 0 && !(task->judged && judge->hear))
    return error_set(STATUS_INPUT,
                     "eval.replies are to the requests of a judge elsewhere: set eval.judge = 'mmhal' or "
                     "'llava_bench'; found '%s'",
                     settings->eval.judge);
  if (!task->judged || judge->look)
    return error_set(STATUS_INPUT,
                     "eval.answers needs a judge that goes by the answers alone; found eval.judge = '%s'",
                     settings->eval.judge);
  return STATUS_OK;
}

/* ---- The task ---- */

static status_t models_answer(evaluate_task_t *task) {
  TRY(models_check(task->session));
  TRY(sets_open(task));
  for (int64_t m = 0; m < task->comparison.count; m++) {
    task->comparison.columns[m].model = model_name(task->session->settings, m);
    TRY(model_evaluate(task, m));
  }
  return STATUS_OK;
}

/* Without models rank 0 alone has work. */
static status_t files_judge(evaluate_task_t *task) {
  comm_t *world = task->session->world;
  comparison_t *comparison = &task->comparison;
  TRY(columns_check(task));
  comparison->judges[0] = &task->judge;
  comparison->judge_count = 1;
  return comm_agree(world, comm_rank(world) == 0 ? columns_judge(task) : STATUS_OK);
}

static int64_t columns_count(const settings_t *settings) {
  if (columns_given(settings)) return columns_given(settings)->count;
  return settings->eval.models.count > 0 ? settings->eval.models.count : 1;
}

static status_t evaluate(evaluate_task_t *task) {
  session_t *session = task->session;
  comparison_t *comparison = &task->comparison;
  comparison->count = columns_count(session->settings);
  TRY(comm_agree(session->world, memory_alloc(&comparison->columns, ARENA_OTHER, (size_t)comparison->count,
                                              sizeof *comparison->columns)));
  TRY(judge_open(session, &task->judge, &task->judged));
  TRY(columns_given(session->settings) ? files_judge(task) : models_answer(task));
  status_code_t status = STATUS_OK;
  if (comm_rank(session->world) == 0 && !session->dry) {
    comparison_log(comparison);
    status = comparison_store(task);
  }
  TRY(comm_agree(session->world, status));
  return session->dry ? STATUS_OK : answers_drop(task);
}

status_t evaluate_run(session_t *session) {
  evaluate_task_t task = {.session = session};
  status_code_t status = evaluate(&task);
  judge_close(&task.pope);
  judge_close(&task.judge);
  questions_free(&task.questions);
  questions_free(&task.pope_questions);
  memory_free(task.comparison.columns);
  return status;
}
