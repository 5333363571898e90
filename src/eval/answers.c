#include "eval/answers.h"

#include "base/memory.h"
#include "io/output_file.h"
#include "perf/perf.h"
#include "record/samples.h"
#include "rollout/questions.h"

#include <string.h>

/* ---- Opening ---- */

/* In training &generate is not there: the likeliest answers, cut as the rollouts are. */
static prompts_sampling_t sampling_of(const settings_t *settings) {
  prompts_sampling_t sampling = prompts_sampling(settings);
  if (settings_task(settings) != TASK_PPO) return sampling;
  sampling.sampler = (sampler_options_t){.greedy = true, .temperature = 1.0, .top_p = 1.0};
  sampling.max_tokens = (int32_t)settings->rollout.response_len;
  sampling.stop_at_question = settings->rollout.stop_at_question;
  return sampling;
}

static const scene_t *scene_of(const evaluator_t *evaluator, const char *image) {
  return image ? scene_table_find(&evaluator->scenes, image) : NULL;
}

static status_t check_scene(const evaluator_t *evaluator, const dataset_sample_t *sample) {
  char *image = NULL;
  if (sample->image >= 0) TRY(dataset_image_name(evaluator->source->dataset, sample->image, &image));
  status_code_t status = STATUS_OK;
  if (!scene_of(evaluator, image))
    status = error_set(STATUS_DATA,
                       "sample '%s': its image '%s' is in none of the scenes of eval.scenes = '%s'; give the "
                       "scenes.jsonl that was written with the images, or eval.judge = 'none'",
                       sample->id.bytes, image ? image : "", evaluator->session->settings->eval.scenes);
  memory_free(image);
  return status;
}

/* Every question must have its scene before the first one is answered. */
static status_t check_scenes(const evaluator_t *evaluator) {
  const prompts_t *prompts = &evaluator->prompts;
  for (int64_t i = 0; i < prompts->count; i++) {
    dataset_sample_t sample;
    TRY(dataset_sample_read(evaluator->source->dataset, prompts->rows[i], &sample));
    status_code_t status = check_scene(evaluator, &sample);
    dataset_sample_free(&sample);
    TRY(status);
  }
  return STATUS_OK;
}

static status_t open_evaluator(evaluator_t *evaluator, const int64_t *rows, int64_t count) {
  session_t *session = evaluator->session;
  const settings_t *settings = session->settings;
  bool training = settings_task(settings) == TASK_PPO;
  const prompts_options_t options = {
      .samples = 1,
      .query_len = (int32_t)(training ? settings->data.query_len : settings->data.max_len),
      .rows = rows,
      .limit = count};
  evaluator->sampling = sampling_of(settings);
  evaluator->judged = strcmp(settings->eval.judge, "shapes") == 0;
  bool judges = evaluator->judged && comm_rank(session->world) == 0;
  TRY(comm_agree(session->world,
                 judges ? scene_table_read(settings->eval.scenes, &evaluator->scenes) : STATUS_OK));
  TRY(prompts_open(session, evaluator->model, evaluator->source, &options, &evaluator->prompts));
  return comm_agree(session->world, judges ? check_scenes(evaluator) : STATUS_OK);
}

status_t evaluator_open(session_t *session, model_t *model, source_t *source, const int64_t *rows,
                        int64_t count, evaluator_t *out) {
  *out = (evaluator_t){.session = session, .model = model, .source = source};
  status_code_t status = open_evaluator(out, rows, count);
  if (status != STATUS_OK) evaluator_close(out);
  return status;
}

void evaluator_close(evaluator_t *evaluator) {
  prompts_close(&evaluator->prompts);
  scene_table_free(&evaluator->scenes);
  *evaluator = (evaluator_t){0};
}

/* ---- Judging and writing, on rank 0 ---- */

/* One evaluation under way. */
typedef struct {
  evaluator_t *evaluator;
  const char *model;
  judge_table_t *table;
  json_writer_t *writer; /* NULL: answers are not written */
} evaluation_t;

static void write_judgement(json_writer_t *writer, const judgement_t *judgement) {
  json_write_member(writer, "question_type", question_type_name(judgement->type));
  json_write_int_member(writer, "rating", judgement->rating);
  json_write_int_member(writer, "claims", judgement->claims);
  json_write_int_member(writer, "claims_right", judgement->right);
  json_write_int_member(writer, "claims_absent", judgement->absent);
  json_write_int_member(writer, "expected", judgement->expected);
  json_write_int_member(writer, "given", judgement->given);
  json_write_int_member(writer, "words", judgement->words);
}

static void write_answer(const evaluation_t *evaluation, const dataset_sample_t *sample, const char *image,
                         const char *question, const char *text, bool stopped, const judgement_t *judgement) {
  json_writer_t *writer = evaluation->writer;
  json_write_object_begin(writer);
  json_write_member(writer, "question_id", sample->id.bytes);
  json_write_member(writer, "image", image);
  json_write_member(writer, "text", question);
  json_write_member(writer, "answer", text);
  json_write_member(writer, "model", evaluation->model);
  json_write_key(writer, "stopped");
  json_write_bool(writer, stopped);
  if (judgement) write_judgement(writer, judgement);
  json_write_object_end(writer);
  json_write_line(writer);
}

/* One of the answers that the report shows. */
static status_t show_sample(const evaluation_t *evaluation, const dataset_sample_t *sample,
                            const char *question, const char *text, const judgement_t *judgement) {
  const evaluator_t *evaluator = evaluation->evaluator;
  record_sample_t shown = {.step = evaluator->step,
                           .model = evaluation->model,
                           .question = question,
                           .answer = text,
                           .dataset = dataset_path(evaluator->source->dataset),
                           .image = sample->image};
  if (judgement) {
    shown.score_name = "rating";
    shown.score = judgement->rating;
    if (judgement->rating < RATING_HONEST) shown.note = "hallucinates";
  }
  return record_sample(&evaluator->session->record, &shown);
}

static status_t judge(const evaluation_t *evaluation, const dataset_sample_t *sample, const char *image,
                      const char *question, const char *text, bool stopped) {
  const evaluator_t *evaluator = evaluation->evaluator;
  judgement_t judgement;
  if (evaluator->judged) {
    judge_response(scene_of(evaluator, image), question, text, &judgement);
    judge_table_add(evaluation->table, &judgement);
  }
  TRY(show_sample(evaluation, sample, question, text, evaluator->judged ? &judgement : NULL));
  if (evaluation->writer)
    write_answer(evaluation, sample, image, question, text, stopped, evaluator->judged ? &judgement : NULL);
  return STATUS_OK;
}

static status_t judge_sample(const evaluation_t *evaluation, const responses_t *responses, int64_t i,
                             const dataset_sample_t *sample) {
  const evaluator_t *evaluator = evaluation->evaluator;
  char *text = NULL, *question = NULL, *image = NULL;
  status_code_t status = responses_text(responses, evaluator->source->tokenizer, i, &text);
  if (status == STATUS_OK) status = questions_text(sample, &question);
  if (status == STATUS_OK && sample->image >= 0)
    status = dataset_image_name(evaluator->source->dataset, sample->image, &image);
  if (status == STATUS_OK)
    status = judge(evaluation, sample, image, question, text, responses->stopped[i] != 0);
  memory_free(image);
  memory_free(question);
  memory_free(text);
  return status;
}

static status_t judge_round(const evaluation_t *evaluation, const responses_t *responses) {
  const evaluator_t *evaluator = evaluation->evaluator;
  for (int64_t i = 0; i < responses->n; i++) {
    dataset_sample_t sample;
    if (responses->broken[i]) continue;
    TRY(dataset_sample_read(evaluator->source->dataset, evaluator->prompts.rows[responses->begin + i],
                            &sample));
    status_code_t status = judge_sample(evaluation, responses, i, &sample);
    dataset_sample_free(&sample);
    TRY(status);
  }
  return STATUS_OK;
}

/* ---- The evaluation ---- */

static status_t answer_all(const evaluation_t *evaluation, generator_t *generator, const role_t *role) {
  evaluator_t *evaluator = evaluation->evaluator;
  comm_t *world = evaluator->session->world;
  prompts_t *prompts = &evaluator->prompts;
  int64_t round = prompts_round(prompts), skipped = 0;
  for (int64_t begin = 0; begin < prompts->count; begin += round) {
    int64_t n = prompts->count - begin < round ? prompts->count - begin : round;
    responses_t responses;
    TRY(prompts_respond(prompts, generator, role, begin, n, &responses));
    status_code_t status =
        comm_agree(world, comm_rank(world) == 0 ? judge_round(evaluation, &responses) : STATUS_OK);
    skipped += responses.skipped;
    if (status == STATUS_OK && evaluator->answered)
      status = evaluator->answered(evaluator->context, &responses);
    responses_free(&responses);
    TRY(status);
  }
  return skipped < prompts->count ? STATUS_OK : prompts_none_whole(prompts);
}

static status_t answer(const evaluation_t *evaluation, const role_t *role) {
  evaluator_t *evaluator = evaluation->evaluator;
  comm_t *world = evaluator->session->world;
  generator_t *generator = NULL;
  TRY(comm_agree(world, prompts_generator(&evaluator->prompts, &evaluator->sampling, &generator)));
  status_code_t status = answer_all(evaluation, generator, role);
  generator_free(generator);
  TRY(status);
  /* All members are fp64 sums. */
  return comm_broadcast(world, evaluation->table, sizeof *evaluation->table / sizeof(double), COMM_F64, 0);
}

static status_t answer_to_file(evaluation_t *evaluation, const role_t *role, const char *path) {
  comm_t *world = evaluation->evaluator->session->world;
  bool writes = comm_rank(world) == 0;
  output_file_t file;
  TRY(comm_agree(world, writes ? output_file_open(path, &file) : STATUS_OK));
  if (writes) evaluation->writer = file.writer;
  status_code_t status = answer(evaluation, role);
  if (writes) status = output_file_close(&file, status);
  return evaluation->evaluator->prompts.alone ? status : comm_agree(world, status);
}

status_t evaluate_answers(evaluator_t *evaluator, const role_t *role, const char *model, const char *path,
                          judge_table_t *table) {
  evaluation_t evaluation = {.evaluator = evaluator, .model = model, .table = table};
  memset(table, 0, sizeof *table);
  perf_begin(REGION_EVALUATE);
  status_code_t status = *path ? answer_to_file(&evaluation, role, path) : answer(&evaluation, role);
  perf_end(REGION_EVALUATE);
  return status;
}
