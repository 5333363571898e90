#include "eval/evaluate.h"

#include "base/log.h"
#include "base/memory.h"
#include "eval/answers.h"
#include "eval/comparison.h"
#include "eval/pope_answers.h"
#include "io/output_file.h"
#include "session/estimate.h"

#include <stdio.h>
#include <string.h>

typedef struct {
  session_t *session;
  comparison_t comparison;
  pope_questions_t pope;
} evaluate_task_t;

/* A model under evaluation. */
typedef struct {
  model_t model;
  adapter_t adapter;
  role_t role;
  source_t source;
  evaluator_t evaluator;
} candidate_t;

static const char *model_name(const settings_t *settings, int64_t index) {
  if (settings->eval.models.count > 0) return settings->eval.models.items[index];
  return *settings->model.adapter ? settings->model.adapter : settings->model.base;
}

/* Base and, where the file has one, the adapter of one of eval.models. */
static status_t open_listed(session_t *session, const char *path, candidate_t *candidate, bool *adapted) {
  static const char *const roles[] = {"policy", "default", NULL};
  TRY(model_open(session, "eval.models", path, &candidate->model));
  *adapted = candidate->model.info.adapter_count > 0;
  if (!*adapted) return STATUS_OK;
  return model_load_adapter(session, &candidate->model, path, roles, "policy", &candidate->adapter, NULL);
}

static status_t open_candidate(session_t *session, int64_t index, candidate_t *candidate) {
  const settings_t *settings = session->settings;
  bool adapted;
  if (settings->eval.models.count > 0) {
    TRY(open_listed(session, settings->eval.models.items[index], candidate, &adapted));
  } else {
    TRY(model_from_settings(session, &candidate->model));
    TRY(model_settings_adapter(session, &candidate->model, &candidate->adapter, &adapted));
  }
  candidate->role = (role_t){&candidate->model.base, adapted ? &candidate->adapter : NULL, NULL};
  return STATUS_OK;
}

/* A file of candidate INDEX in the run directory. */
static status_t answers_path(const session_t *session, const char *stem, int64_t index,
                             char path[FILE_MAX_PATH]) {
  char name[64];
  snprintf(name, sizeof name, "%s_%lld.jsonl", stem, (long long)index + 1);
  return session_path(session, name, path);
}

/* As of task generate: about the longest that the file of answers can be. */
static void note_output(const session_t *session, const evaluator_t *evaluator, int64_t index,
                        const char *path) {
  estimate_t *estimate = session->dry;
  char name[64];
  estimate_part(estimate, dataset_info(evaluator->source->dataset).samples, estimate->eval_limit,
                session->settings->eval.limit);
  snprintf(name, sizeof name, "answers_%lld.jsonl", (long long)index + 1);
  estimate_output_file(estimate, name, path);
}

static status_t answer(evaluate_task_t *task, int64_t index, candidate_t *candidate) {
  session_t *session = task->session;
  column_t *column = &task->comparison.columns[index];
  char path[FILE_MAX_PATH];
  TRY(open_candidate(session, index, candidate));
  TRY(source_open(session, &candidate->model, "eval.dataset", session->settings->eval.dataset,
                  &candidate->source));
  TRY(evaluator_open(session, &candidate->model, &candidate->source, NULL, session->settings->eval.limit,
                     &candidate->evaluator));
  column->questions = candidate->evaluator.prompts.count;
  column->dropped = candidate->evaluator.prompts.dropped;
  TRY(answers_path(session, "answers", index, path));
  TRY(evaluate_answers(&candidate->evaluator, &candidate->role, column->model, path, &column->judged));
  if (session->dry) note_output(session, &candidate->evaluator, index, path);
  if (!task->comparison.has_pope) return STATUS_OK;
  TRY(answers_path(session, "pope", index, path));
  return pope_answer(session, &candidate->model, &candidate->role, &task->pope, column->model, path,
                     &column->pope);
}

static status_t evaluate_model(evaluate_task_t *task, int64_t index) {
  candidate_t candidate = {0};
  bool stop;
  TRY(session_stop(task->session, 0.0, &stop));
  if (stop) return STATUS_STOPPED;
  status_code_t status = answer(task, index, &candidate);
  evaluator_close(&candidate.evaluator);
  source_close(&candidate.source);
  adapter_free(&candidate.adapter);
  model_free(&candidate.model);
  return status;
}

/* All models must be there before the first one answers. */
static status_t check_models(const session_t *session) {
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

static status_t write_comparison(const evaluate_task_t *task) {
  char path[FILE_MAX_PATH];
  output_file_t file;
  TRY(session_path(task->session, "evaluation.json", path));
  TRY(output_file_open(path, &file));
  comparison_write(&task->comparison, file.writer);
  return output_file_close(&file, STATUS_OK);
}

static status_t read_replies(evaluate_task_t *task) {
  const char *path = task->session->settings->eval.replies;
  task->comparison.has_replies = *path != '\0';
  return *path ? mmhal_read(path, &task->comparison.replies) : STATUS_OK;
}

static status_t evaluate(evaluate_task_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  comparison_t *comparison = &task->comparison;
  bool first = comm_rank(session->world) == 0;
  comparison->count = settings->eval.models.count > 0 ? settings->eval.models.count : 1;
  comparison->judged = strcmp(settings->eval.judge, "none") != 0;
  comparison->has_pope = *settings->eval.pope != '\0';
  TRY(comm_agree(session->world, first ? read_replies(task) : STATUS_OK));
  TRY(check_models(session));
  TRY(comm_agree(session->world, memory_alloc(&comparison->columns, ARENA_OTHER, (size_t)comparison->count,
                                              sizeof *comparison->columns)));
  if (comparison->has_pope) TRY(pope_questions_open(session, &task->pope));
  for (int64_t m = 0; m < comparison->count; m++) {
    comparison->columns[m].model = model_name(settings, m);
    TRY(evaluate_model(task, m));
  }
  status_code_t status = STATUS_OK;
  if (first && !session->dry) {
    comparison_log(comparison);
    status = write_comparison(task);
  }
  return comm_agree(session->world, status);
}

status_t evaluate_run(session_t *session) {
  evaluate_task_t task = {.session = session};
  status_code_t status = evaluate(&task);
  memory_free(task.comparison.columns);
  pope_questions_free(&task.pope);
  return status;
}
