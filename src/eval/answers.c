#include "eval/answers.h"

#include "base/memory.h"
#include "eval/answer_list.h"
#include "eval/requests.h"
#include "io/output_file.h"
#include "perf/perf.h"
#include "record/samples.h"

/* ---- A question and its answer ---- */

/* The texts that an answer_t refers to. */
typedef struct {
  char *question, *text, *image;
} answer_texts_t;

static void answer_texts_free(answer_texts_t *texts) {
  memory_free(texts->image);
  memory_free(texts->question);
  memory_free(texts->text);
}

/* Of row ROW of DATASET. READER, on the file of QUESTIONS where there is one (else NULL), moves on to it. */
static status_t question_describe(const dataset_t *dataset, const questions_t *questions,
                                  json_reader_t *reader, int64_t row, const dataset_sample_t *sample,
                                  answer_texts_t *texts, answer_t *out) {
  json_element_t element;
  TRY(questions_text(sample, &texts->question));
  if (sample->image >= 0) TRY(dataset_image_name(dataset, sample->image, &texts->image));
  *out = (answer_t){
      .row = row, .id = sample->id.bytes, .image = texts->image, .question = texts->question, .text = ""};
  if (!reader) return STATUS_OK;
  TRY(questions_find(questions, reader, row, out->id, &element));
  out->record = questions_record(questions, element.value);
  return STATUS_OK;
}

/* ---- Opening ---- */

/* In training &generate is not there: the likeliest answers, cut as the rollouts are. */
static prompts_sampling_t evaluator_sampling(const settings_t *settings) {
  prompts_sampling_t sampling = prompts_sampling(settings);
  if (settings_task(settings) != TASK_PPO) return sampling;
  sampling.sampler = (sampler_options_t){.greedy = true, .temperature = 1.0, .top_p = 1.0};
  sampling.max_tokens = (int32_t)settings->rollout.response_len;
  sampling.stop_at_question = settings->rollout.stop_at_question;
  return sampling;
}

/* Rows of a dataset, of which JUDGE must accept all before the first one is answered. */
typedef struct {
  const dataset_t *dataset;
  const questions_t *questions; /* NULL: it was made of none */
  const prompts_t *prompts;     /* whose COUNT questions they are; NULL: the first COUNT */
  int64_t count;
} judged_rows_t;

static status_t judge_check_sample(const judged_rows_t *rows, const judge_t *judge, json_reader_t *reader,
                                   int64_t row, const dataset_sample_t *sample) {
  answer_texts_t texts = {0};
  answer_t question;
  status_code_t status =
      question_describe(rows->dataset, rows->questions, reader, row, sample, &texts, &question);
  if (status == STATUS_OK) status = judge->accept(judge, &question);
  answer_texts_free(&texts);
  return status;
}

static status_t judge_check_rows(const judged_rows_t *rows, const judge_t *judge) {
  SCOPED(json_reader_close_at) json_reader_t *reader = NULL;
  if (!judge->accept) return STATUS_OK;
  if (rows->questions) TRY(json_reader_open(rows->questions->json, JSON_ELEMENTS, &reader));
  for (int64_t i = 0; i < rows->count; i++) {
    dataset_sample_t sample;
    int64_t row = rows->prompts ? prompts_row(rows->prompts, i) : i;
    TRY(dataset_sample_read(rows->dataset, row, &sample));
    status_code_t status = judge_check_sample(rows, judge, reader, row, &sample);
    dataset_sample_free(&sample);
    TRY(status);
  }
  return STATUS_OK;
}

static status_t judges_check_questions(const evaluator_t *evaluator) {
  const judged_rows_t rows = {evaluator->source->dataset, evaluator->options.questions, &evaluator->prompts,
                              evaluator->prompts.count};
  for (int32_t j = 0; j < evaluator->options.judge_count; j++)
    TRY(judge_check_rows(&rows, evaluator->options.judges[j]));
  return STATUS_OK;
}

status_t judge_check_questions(session_t *session, const questions_t *questions, const judge_t *judge) {
  dataset_t *dataset;
  TRY(dataset_open(session->world, questions->dataset, &dataset));
  const judged_rows_t rows = {dataset, questions, NULL, dataset_info(dataset).samples};
  status_code_t status = comm_rank(session->world) == 0 ? judge_check_rows(&rows, judge) : STATUS_OK;
  dataset_close(dataset);
  return comm_agree(session->world, status);
}

status_t evaluator_open(session_t *session, model_t *model, source_t *source,
                        const evaluator_options_t *options, evaluator_t *out) {
  const settings_t *settings = session->settings;
  bool training = settings_task(settings) == TASK_PPO;
  const prompts_options_t prompts = {
      .samples = 1,
      .query_len = (int32_t)(training ? settings->data.query_len : settings->data.max_len),
      .rows = options->rows,
      .limit = options->limit,
      .suffix = options->suffix,
      .letters = options->questions ? options->questions->letters : NULL};
  *out = (evaluator_t){.session = session,
                       .model = model,
                       .source = source,
                       .options = *options,
                       .sampling = evaluator_sampling(settings)};
  status_code_t status = prompts_open(session, model, source, &prompts, &out->prompts);
  if (status == STATUS_OK)
    status =
        comm_agree(session->world, comm_rank(session->world) == 0 ? judges_check_questions(out) : STATUS_OK);
  if (status != STATUS_OK) evaluator_close(out);
  return status;
}

void evaluator_close(evaluator_t *evaluator) {
  prompts_close(&evaluator->prompts);
  *evaluator = (evaluator_t){0};
}

/* ---- Judging and writing, on rank 0 ---- */

/* One evaluation under way. */
typedef struct {
  evaluator_t *evaluator;
  const char *model;
  tally_t *tallies;
  json_writer_t *writer;   /* NULL: answers are not written */
  json_reader_t *reader;   /* of the file of questions, where there is one */
  json_writer_t *requests; /* NULL: nobody elsewhere is asked */
} evaluation_t;

static void answer_write_end(const evaluation_t *evaluation, const answer_t *answer) {
  json_write_member(evaluation->writer, "model", evaluation->model);
  json_write_key(evaluation->writer, "stopped");
  json_write_bool(evaluation->writer, answer->stopped);
}

static void answer_write(const evaluation_t *evaluation, const answer_t *answer) {
  json_writer_t *writer = evaluation->writer;
  json_write_member(writer, "question_id", answer->id);
  json_write_member(writer, "image", answer->image);
  json_write_member(writer, "text", answer->question);
  json_write_member(writer, "answer", answer->text);
  answer_write_end(evaluation, answer);
}

/* Behind the members of its question. */
static void answer_write_with_question(const evaluation_t *evaluation, const answer_t *answer) {
  const char *key = benchmark_answer_key(evaluation->evaluator->options.questions->benchmark);
  answer_list_copy(evaluation->writer, answer->record, key);
  json_write_member(evaluation->writer, key, answer->text);
  answer_write_end(evaluation, answer);
}

/* All judges; *SHOWN gets the score of the first one that gives one. */
static status_t answer_judge(const evaluation_t *evaluation, const answer_t *answer, record_sample_t *shown) {
  const evaluator_options_t *options = &evaluation->evaluator->options;
  for (int32_t j = 0; j < options->judge_count; j++) {
    judge_t *judge = options->judges[j];
    verdict_t verdict = {0};
    if (!judge->judge) {
      if (evaluation->requests) TRY(request_write(judge, answer, options->judge_model, evaluation->requests));
      continue;
    }
    TRY(judge->judge(judge, answer, evaluation->writer, &verdict));
    tally_add(&evaluation->tallies[j], judge, &verdict);
    if (shown->score_name || judge->score == JUDGE_NO_SCORE) continue;
    shown->score_name = judge_metric_key(&judge->metrics[judge->score]);
    shown->score = verdict.counts[judge->score].part;
    shown->note = verdict.note;
  }
  return STATUS_OK;
}

/* Judges an answer; writes it as a line, and notes it for the report. */
static status_t answer_add(const evaluation_t *evaluation, const dataset_sample_t *sample,
                           const answer_t *answer) {
  const evaluator_t *evaluator = evaluation->evaluator;
  json_writer_t *writer = evaluation->writer;
  record_sample_t shown = {.step = evaluator->step,
                           .model = evaluation->model,
                           .question = answer->question,
                           .answer = answer->text,
                           .dataset = dataset_path(evaluator->source->dataset),
                           .image = sample->image};
  if (writer) json_write_object_begin(writer);
  if (writer && answer->record)
    answer_write_with_question(evaluation, answer);
  else if (writer)
    answer_write(evaluation, answer);
  TRY(answer_judge(evaluation, answer, &shown));
  if (writer) json_write_object_end(writer);
  if (writer) json_write_line(writer);
  return evaluator->options.shown ? record_sample(&evaluator->session->record, &shown) : STATUS_OK;
}

static status_t response_add(const evaluation_t *evaluation, const responses_t *responses, int64_t i,
                             int64_t row, const dataset_sample_t *sample) {
  const evaluator_t *evaluator = evaluation->evaluator;
  answer_texts_t texts = {0};
  answer_t answer;
  status_code_t status = question_describe(evaluator->source->dataset, evaluator->options.questions,
                                           evaluation->reader, row, sample, &texts, &answer);
  if (status == STATUS_OK) status = responses_text(responses, evaluator->source->tokenizer, i, &texts.text);
  if (status == STATUS_OK) {
    answer.text = texts.text;
    answer.number = i;
    answer.tokens = responses->offsets[i + 1] - responses->offsets[i];
    answer.stopped = responses->stopped[i] != 0;
    status = answer_add(evaluation, sample, &answer);
  }
  answer_texts_free(&texts);
  return status;
}

static status_t round_add(const evaluation_t *evaluation, const responses_t *responses) {
  const evaluator_t *evaluator = evaluation->evaluator;
  for (int64_t i = 0; i < responses->n; i++) {
    dataset_sample_t sample;
    int64_t row = prompts_row(&evaluator->prompts, responses->begin + i);
    if (responses->broken[i]) continue;
    TRY(dataset_sample_read(evaluator->source->dataset, row, &sample));
    status_code_t status = response_add(evaluation, responses, i, row, &sample);
    dataset_sample_free(&sample);
    TRY(status);
  }
  return STATUS_OK;
}

static status_t judges_finish(const evaluation_t *evaluation) {
  const evaluator_options_t *options = &evaluation->evaluator->options;
  for (int32_t j = 0; j < options->judge_count; j++)
    if (options->judges[j]->finish)
      TRY(options->judges[j]->finish(options->judges[j], &evaluation->tallies[j]));
  return STATUS_OK;
}

/* ---- The evaluation ---- */

static status_t round_judge(const evaluation_t *evaluation, const responses_t *responses) {
  const evaluator_options_t *options = &evaluation->evaluator->options;
  comm_t *world = evaluation->evaluator->session->world;
  for (int32_t j = 0; j < options->judge_count; j++)
    if (options->judges[j]->look) TRY(options->judges[j]->look(options->judges[j], responses));
  return comm_agree(world, comm_rank(world) == 0 ? round_add(evaluation, responses) : STATUS_OK);
}

static status_t evaluation_rounds(const evaluation_t *evaluation, generator_t *generator,
                                  const role_t *role) {
  prompts_t *prompts = &evaluation->evaluator->prompts;
  int64_t round = prompts_round(prompts), skipped = 0;
  for (int64_t begin = 0; begin < prompts->count; begin += round) {
    int64_t n = prompts->count - begin < round ? prompts->count - begin : round;
    responses_t responses;
    TRY(prompts_respond(prompts, generator, role, begin, n, &responses));
    status_code_t status = round_judge(evaluation, &responses);
    skipped += responses.skipped;
    responses_free(&responses);
    TRY(status);
  }
  return skipped < prompts->count ? STATUS_OK : prompts_none_whole(prompts);
}

static status_t evaluation_run(const evaluation_t *evaluation, const role_t *role) {
  evaluator_t *evaluator = evaluation->evaluator;
  comm_t *world = evaluator->session->world;
  size_t bytes = (size_t)evaluator->options.judge_count * sizeof *evaluation->tallies;
  generator_t *generator = NULL;
  TRY(comm_agree(world, prompts_generator(&evaluator->prompts, role, &evaluator->sampling, &generator)));
  status_code_t status = evaluation_rounds(evaluation, generator, role);
  generator_free(generator);
  TRY(status);
  TRY(comm_agree(world, comm_rank(world) == 0 ? judges_finish(evaluation) : STATUS_OK));
  /* All members are fp64 sums. */
  return comm_broadcast(world, evaluation->tallies, bytes / sizeof(double), COMM_F64, 0);
}

/* The evaluation, its answers written to FILE on rank 0 (its writer NULL: they are not) and agreed upon. */
static status_t evaluation_close(const evaluation_t *evaluation, output_file_t *file, status_code_t status) {
  comm_t *world = evaluation->evaluator->session->world;
  if (file->writer) status = output_file_close(file, status);
  return evaluation->evaluator->prompts.alone ? status : comm_agree(world, status);
}

static status_t evaluation_open_file(const char *path, output_file_t *file, json_writer_t **writer) {
  TRY(output_file_open(path, file));
  *writer = file->writer;
  return STATUS_OK;
}

static status_t evaluation_open_files(evaluation_t *evaluation, const char *path, output_file_t *answers,
                                      output_file_t *requests) {
  const evaluator_options_t *options = &evaluation->evaluator->options;
  if (options->questions) TRY(json_reader_open(options->questions->json, JSON_ELEMENTS, &evaluation->reader));
  if (*path) TRY(evaluation_open_file(path, answers, &evaluation->writer));
  return options->requests ? evaluation_open_file(options->requests, requests, &evaluation->requests)
                           : STATUS_OK;
}

/* Answers that are written are kept beside their file, and stay there. Other weights are a matter of
 * course in training alone. */
static status_t evaluation_keep(const evaluation_t *evaluation, const role_t *role, const char *path) {
  evaluator_t *evaluator = evaluation->evaluator;
  const char *beside = *path ? path : evaluator->options.kept;
  if (!beside) return STATUS_OK;
  return prompts_keep(&evaluator->prompts, role, &evaluator->sampling, beside, !*path);
}

static status_t evaluation_tell_kept(const evaluation_t *evaluation) {
  const prompts_t *prompts = &evaluation->evaluator->prompts;
  TRY(kept_tell(prompts->kept, prompts->count, &evaluation->evaluator->session->gained));
  return STATUS_STOPPED;
}

static status_t evaluation_write(evaluation_t *evaluation, const role_t *role, const char *path) {
  comm_t *world = evaluation->evaluator->session->world;
  output_file_t answers = {0}, requests = {0};
  TRY(evaluation_keep(evaluation, role, path));
  status_code_t status =
      comm_agree(world, comm_rank(world) == 0 ? evaluation_open_files(evaluation, path, &answers, &requests)
                                              : STATUS_OK);
  if (status == STATUS_OK) status = evaluation_run(evaluation, role);
  if (status == STATUS_STOPPED) status = evaluation_tell_kept(evaluation);
  status = evaluation_close(evaluation, &requests, status);
  status = evaluation_close(evaluation, &answers, status);
  json_reader_close(evaluation->reader);
  TRY(status);
  kept_t **kept = &evaluation->evaluator->prompts.kept;
  return *path ? kept_finish(kept) : kept_remove(kept);
}

status_t evaluate_answers(evaluator_t *evaluator, const role_t *role, const char *model, const char *path,
                          tally_t *tallies) {
  evaluation_t evaluation = {.evaluator = evaluator, .model = model, .tallies = tallies};
  for (int32_t j = 0; j < evaluator->options.judge_count; j++)
    tallies[j] = (tally_t){0};
  perf_begin(REGION_EVALUATE);
  status_code_t status = evaluation_write(&evaluation, role, path);
  perf_end(REGION_EVALUATE);
  return status;
}
