#include "eval/pope_answers.h"

#include "base/memory.h"
#include "io/output_file.h"
#include "perf/perf.h"
#include "rollout/prompts.h"

#include <string.h>

typedef struct {
  session_t *session;
  const pope_questions_t *pope;
  source_t source;
  prompts_t prompts;
  generator_t *generator;
  const char *name;
  pope_counts_t *counts;
  /* Rank 0. */
  json_reader_t *reader;
  json_writer_t *writer;
} pope_task_t;

/* ---- The questions ---- */

static status_t read_label(const json_element_t *element, const char *id, bool *yes) {
  char where[160];
  const char *label;
  snprintf(where, sizeof where, "POPE question '%.80s'", id);
  TRY(json_string(element->value, "label", where, &label));
  *yes = strcmp(label, "yes") == 0;
  if (*yes || strcmp(label, "no") == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: field 'label': found '%s', expected 'yes' or 'no'", where, label);
}

static status_t read_row(pope_questions_t *pope, json_reader_t *reader, const dataset_t *dataset,
                         int64_t row) {
  dataset_sample_t sample;
  json_element_t element;
  TRY(dataset_sample_read(dataset, row, &sample));
  status_code_t status = questions_find(&pope->questions, reader, row, sample.id.bytes, &element);
  if (status == STATUS_OK) status = read_label(&element, sample.id.bytes, &pope->truth[row]);
  dataset_sample_free(&sample);
  return status;
}

static status_t read_labels(pope_questions_t *pope, const dataset_t *dataset) {
  json_reader_t *reader;
  int64_t rows = dataset_info(dataset).samples;
  TRY(memory_alloc(&pope->truth, ARENA_DATA, (size_t)rows, sizeof *pope->truth));
  TRY(json_reader_open(pope->questions.json, JSON_ELEMENTS, &reader));
  status_code_t status = STATUS_OK;
  for (int64_t row = 0; row < rows && status == STATUS_OK; row++)
    status = read_row(pope, reader, dataset, row);
  json_reader_close(reader);
  return status;
}

status_t pope_questions_open(session_t *session, pope_questions_t *out) {
  const settings_t *settings = session->settings;
  dataset_t *dataset;
  *out = (pope_questions_t){0};
  TRY(questions_prepare(session, settings->eval.pope, settings->eval.image_folder, "pope", &out->questions));
  TRY(dataset_open(session->world, out->questions.dataset, &dataset));
  status_code_t status = comm_rank(session->world) == 0 ? read_labels(out, dataset) : STATUS_OK;
  dataset_close(dataset);
  return comm_agree(session->world, status);
}

void pope_questions_free(pope_questions_t *pope) {
  questions_free(&pope->questions);
  memory_free(pope->truth);
  *pope = (pope_questions_t){0};
}

/* ---- The answers ---- */

static void write_answer(pope_task_t *task, const json_t *question, const char *text) {
  static const char *const own[] = {"answer", "model", NULL};
  json_writer_t *writer = task->writer;
  json_write_object_begin(writer);
  questions_copy(writer, question, own);
  json_write_member(writer, "answer", text);
  json_write_member(writer, "model", task->name);
  json_write_object_end(writer);
  json_write_line(writer);
}

static status_t count_answer(pope_task_t *task, const responses_t *responses, int64_t i, int64_t row,
                             const char *id) {
  json_element_t element;
  char *text;
  TRY(questions_find(&task->pope->questions, task->reader, row, id, &element));
  TRY(responses_text(responses, task->source.tokenizer, i, &text));
  pope_add(task->counts, task->pope->truth[row], pope_says_yes(text_view(text)));
  write_answer(task, element.value, text);
  memory_free(text);
  return STATUS_OK;
}

static status_t count_round(pope_task_t *task, const responses_t *responses) {
  for (int64_t i = 0; i < responses->n; i++) {
    dataset_sample_t sample;
    int64_t row = task->prompts.rows[responses->begin + i];
    if (responses->broken[i]) continue;
    TRY(dataset_sample_read(task->source.dataset, row, &sample));
    status_code_t status = count_answer(task, responses, i, row, sample.id.bytes);
    dataset_sample_free(&sample);
    TRY(status);
  }
  return STATUS_OK;
}

static status_t answer_all(pope_task_t *task, const role_t *role) {
  comm_t *world = task->session->world;
  int64_t round = prompts_round(&task->prompts), count = task->prompts.count, skipped = 0;
  for (int64_t begin = 0; begin < count; begin += round) {
    responses_t responses;
    TRY(prompts_respond(&task->prompts, task->generator, role, begin,
                        count - begin < round ? count - begin : round, &responses));
    status_code_t status = comm_rank(world) == 0 ? count_round(task, &responses) : STATUS_OK;
    skipped += responses.skipped;
    responses_free(&responses);
    TRY(comm_agree(world, status));
  }
  return skipped < count ? STATUS_OK : prompts_none_whole(&task->prompts);
}

static status_t answer_to_file(pope_task_t *task, const role_t *role, const char *path) {
  comm_t *world = task->session->world;
  bool writes = comm_rank(world) == 0;
  output_file_t file = {0};
  status_code_t status = STATUS_OK;
  if (writes) status = json_reader_open(task->pope->questions.json, JSON_ELEMENTS, &task->reader);
  if (writes && status == STATUS_OK) status = output_file_open(path, &file);
  TRY(comm_agree(world, status));
  task->writer = file.writer;
  status = answer_all(task, role);
  if (writes) status = output_file_close(&file, status);
  return task->prompts.alone ? status : comm_agree(world, status);
}

static status_t run(pope_task_t *task, model_t *model, const role_t *role, const char *path) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  const prompts_options_t options = {.samples = 1,
                                     .query_len = (int32_t)settings->data.max_len,
                                     .limit = settings->eval.limit,
                                     .suffix = settings->eval.pope_suffix};
  TRY(source_open(session, model, "eval.pope", task->pope->questions.dataset, &task->source));
  TRY(prompts_open(session, model, &task->source, &options, &task->prompts));
  prompts_sampling_t sampling = prompts_sampling(settings);
  TRY(comm_agree(session->world, prompts_generator(&task->prompts, &sampling, &task->generator)));
  return answer_to_file(task, role, path);
}

status_t pope_answer(session_t *session, model_t *model, const role_t *role, const pope_questions_t *pope,
                     const char *name, const char *path, pope_counts_t *counts) {
  pope_task_t task = {.session = session, .pope = pope, .name = name, .counts = counts};
  *counts = (pope_counts_t){0};
  perf_begin(REGION_EVALUATE);
  status_code_t status = run(&task, model, role, path);
  perf_end(REGION_EVALUATE);
  json_reader_close(task.reader);
  generator_free(task.generator);
  prompts_close(&task.prompts);
  source_close(&task.source);
  return status;
}
