#include "rollout/generate.h"

#include "base/log.h"
#include "base/memory.h"
#include "record/samples.h"
#include "rollout/answer_file.h"
#include "rollout/prompts.h"
#include "rollout/questions.h"
#include "session/estimate.h"

#include <errno.h>
#include <string.h>

enum { PAIR = 2 };

typedef struct {
  session_t *session;
  model_t model;
  adapter_t adapter;
  role_t role;
  questions_t questions;
  source_t source;
  prompts_t prompts;
  generator_t *generator;
  const char *name; /* of the model, in the answers */
  bool pairs, single;
  int64_t skipped; /* questions whose image is broken */
  char path[FILE_MAX_PATH];
  /* Rank 0. */
  json_reader_t *reader; /* of the questions' JSON file; NULL where they are a dataset */
  FILE *file;
  answers_form_t form;   /* ANSWERS_ARRAY where there are pairs */
  answer_file_t answers; /* to FILE */
} generate_task_t;

/* ---- Writing, on rank 0 ---- */

static void generate_write_turn(json_writer_t *writer, const char *from, text_view_t value) {
  json_write_object_begin(writer);
  json_write_member(writer, "from", from);
  json_write_key(writer, "value");
  json_write_text(writer, value.bytes, value.n);
  json_write_object_end(writer);
}

/* The conversation as it was, and the two answers to its last question. */
static void generate_write_pair(json_writer_t *writer, const dataset_sample_t *sample, const char *image,
                                char *const texts[PAIR]) {
  const conversation_t *conversation = &sample->conversation;
  json_write_line(writer);
  json_write_object_begin(writer);
  json_write_key(writer, "id");
  json_write_text(writer, sample->id.bytes, sample->id.n);
  if (image) json_write_member(writer, "image", image);
  json_write_key(writer, "conversations");
  json_write_array_begin(writer);
  for (int32_t t = 0; t < conversation->count; t++)
    generate_write_turn(writer, conversation->turns[t].role == TURN_HUMAN ? "human" : "gpt",
                        conversation->turns[t].text);
  json_write_array_end(writer);
  for (int k = 0; k < PAIR; k++) {
    json_write_key(writer, k == 0 ? "output_1" : "output_2");
    generate_write_turn(writer, "gpt", text_view(texts[k]));
  }
  json_write_object_end(writer);
}

static status_t generate_write_answer(generate_task_t *task, const dataset_sample_t *sample,
                                      const char *image, const json_t *question, const char *text,
                                      const responses_t *responses, int64_t number) {
  SCOPED_MEMORY char *asked = NULL;
  bool logprobs = task->session->settings->generate.logprobs;
  TRY(questions_text(sample, &asked));
  const written_answer_t answer = {
      .question = question,
      .id = sample->id.bytes,
      .image = image,
      .asked = asked,
      .text = text,
      .model = task->name,
      .sample = task->prompts.options.samples > 1 ? number % responses->samples : -1,
      .stopped = responses->stopped[number] != 0,
      .tokens = logprobs ? responses->offsets[number + 1] - responses->offsets[number] : -1,
      .logprob = logprobs ? responses->logprobs[number] : 0.0};
  answer_file_add(&task->answers, &answer);
  return STATUS_OK;
}

/* One of the answers that the report shows. */
static status_t generate_show_sample(generate_task_t *task, const dataset_sample_t *sample,
                                     const char *answer) {
  char *question;
  if (!record_wants_sample(&task->session->record, 0, task->name)) return STATUS_OK;
  TRY(questions_text(sample, &question));
  const record_sample_t shown = {.model = task->name,
                                 .question = question,
                                 .answer = answer,
                                 .dataset = dataset_path(task->source.dataset),
                                 .image = sample->image};
  status_code_t status = record_sample(&task->session->record, &shown);
  memory_free(question);
  return status;
}

/* All responses TEXTS (samples) to question I of RESPONSES. */
static status_t generate_write_responses(generate_task_t *task, const responses_t *responses, int64_t i,
                                         const dataset_sample_t *sample, const char *image,
                                         char *const *texts) {
  const json_t *question = NULL;
  json_element_t element;
  int64_t row = prompts_row(&task->prompts, responses->begin + i);
  if (task->reader) {
    TRY(questions_find(&task->questions, task->reader, row, sample->id.bytes, &element));
    question = questions_record(&task->questions, element.value);
  }
  if (task->single) log_info("answer     %s", texts[0]);
  TRY(generate_show_sample(task, sample, texts[0]));
  if (task->pairs) {
    generate_write_pair(task->answers.writer, sample, image, texts);
    return STATUS_OK;
  }
  for (int32_t k = 0; k < responses->samples; k++)
    TRY(generate_write_answer(task, sample, image, question, texts[k], responses,
                              i * responses->samples + k));
  return STATUS_OK;
}

static status_t generate_write_sample(generate_task_t *task, const responses_t *responses, int64_t i,
                                      const dataset_sample_t *sample, char **texts) {
  char *image = NULL;
  for (int32_t k = 0; k < responses->samples; k++)
    TRY(responses_text(responses, task->model.tokenizer, i * responses->samples + k, &texts[k]));
  if (sample->image >= 0) TRY(dataset_image_name(task->source.dataset, sample->image, &image));
  status_code_t status = generate_write_responses(task, responses, i, sample, image, texts);
  memory_free(image);
  return status;
}

static status_t generate_write_row(generate_task_t *task, const responses_t *responses, int64_t i) {
  dataset_sample_t sample;
  char **texts;
  TRY(dataset_sample_read(task->source.dataset, prompts_row(&task->prompts, responses->begin + i), &sample));
  status_code_t status = memory_alloc(&texts, ARENA_OTHER, (size_t)responses->samples, sizeof *texts);
  if (status == STATUS_OK) {
    status = generate_write_sample(task, responses, i, &sample, texts);
    for (int32_t k = 0; k < responses->samples; k++)
      memory_free(texts[k]);
    memory_free(texts);
  }
  dataset_sample_free(&sample);
  return status;
}

static status_t generate_write_round(generate_task_t *task, const responses_t *responses) {
  status_code_t status = STATUS_OK;
  if (comm_rank(task->session->world) == 0)
    for (int64_t i = 0; i < responses->n && status == STATUS_OK; i++)
      if (!responses->broken[i]) status = generate_write_row(task, responses, i);
  return comm_agree(task->session->world, status);
}

static status_t generate_open_output(generate_task_t *task) {
  char partial[FILE_MAX_PATH];
  TRY(file_make_parent(task->path));
  TRY(file_partial(partial, task->path));
  if (task->questions.listed) TRY(json_reader_open(task->questions.json, JSON_ELEMENTS, &task->reader));
  TRY(file_stream(partial, false, &task->file));
  return answer_file_begin(task->form, task->questions.benchmark, task->file, &task->answers);
}

/* Ends the answers of a run that came to STATUS. */
static status_t generate_end_output(generate_task_t *task, status_code_t status) {
  bool failed = status != STATUS_OK;
  if (task->answers.writer) status = answer_file_end(&task->answers, status);
  if (!failed && status != STATUS_OK) status = error_context(status, "while writing '%s'", task->path);
  if (task->file && fclose(task->file) != 0 && status == STATUS_OK)
    status = error_set(STATUS_DATA, "cannot write '%s': %s", task->path, strerror(errno));
  json_reader_close(task->reader);
  return status;
}

/* ---- The task ---- */

static status_t generate_open_model(generate_task_t *task) {
  bool found;
  const settings_t *settings = task->session->settings;
  TRY(model_from_settings(task->session, &task->model));
  TRY(model_settings_adapter(task->session, &task->model, &task->adapter, &found));
  task->role = (role_t){&task->model.base, found ? &task->adapter : NULL, NULL};
  task->name = *settings->model.adapter ? settings->model.adapter : settings->model.base;
  return STATUS_OK;
}

/* The questions to answer, as a dataset. */
static status_t generate_find_questions(generate_task_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  if (task->single)
    return questions_prepare_one(session, settings->generate.image, settings->generate.prompt,
                                 &task->questions);
  const char *given = settings->generate.dataset;
  if (!questions_are_listed(given)) return file_join(task->questions.dataset, given, NULL, NULL);
  return questions_prepare(session, given, settings->generate.image_folder, "questions", &task->questions);
}

/* The file of answers, in the run directory. */
static const char *generate_file_name(const generate_task_t *task, char name[64]) {
  snprintf(name, 64, "%s%s", task->pairs ? "pairs" : "answers", answers_extension(task->form));
  return name;
}

static status_t generate_find_output(generate_task_t *task) {
  const settings_t *settings = task->session->settings;
  char name[64];
  task->form = ANSWERS_ARRAY;
  if (!task->pairs)
    TRY(answers_form(settings->generate.format, task->questions.benchmark, settings->generate.samples,
                     &task->form));
  if (*settings->generate.output) return file_join(task->path, settings->generate.output, NULL, NULL);
  return session_path(task->session, generate_file_name(task, name), task->path);
}

static status_t answer_all(generate_task_t *task) {
  prompts_t *prompts = &task->prompts;
  int64_t round = prompts_round(prompts);
  for (int64_t begin = 0; begin < prompts->count; begin += round) {
    int64_t n = prompts->count - begin < round ? prompts->count - begin : round;
    responses_t responses;
    bool stop;
    TRY(session_stop(task->session, 0.0, &stop));
    if (stop) return STATUS_STOPPED;
    TRY(prompts_respond(prompts, task->generator, &task->role, begin, n, &responses));
    status_code_t status = generate_write_round(task, &responses);
    task->skipped += responses.skipped;
    responses_free(&responses);
    TRY(status);
  }
  return STATUS_OK;
}

static status_t generate_open_questions(generate_task_t *task) {
  const settings_t *settings = task->session->settings;
  TRY(generate_find_questions(task));
  const prompts_options_t options = {.samples = (int32_t)settings->generate.samples,
                                     .query_len = (int32_t)settings->data.max_len,
                                     .limit = settings->data.limit,
                                     .suffix = settings->generate.suffix,
                                     .logprobs = settings->generate.logprobs,
                                     .letters = task->questions.letters};
  TRY(source_open(task->session, &task->model, "generate.dataset", task->questions.dataset, &task->source));
  TRY(prompts_open(task->session, &task->model, &task->source, &options, &task->prompts));
  prompts_sampling_t sampling = prompts_sampling(settings);
  return comm_agree(task->session->world,
                    prompts_generator(&task->prompts, &task->role, &sampling, &task->generator));
}

/* A blank device's answers have all the tokens that they may: about the longest that the file can be. */
static void generate_note_output(const generate_task_t *task) {
  estimate_t *estimate = task->session->dry;
  char name[64];
  estimate_part(estimate, dataset_info(task->source.dataset).samples, estimate->data_limit,
                task->session->settings->data.limit);
  estimate_output_file(estimate, generate_file_name(task, name), task->path);
}

/* What is finished is kept until the file is written. One answer alone would gain nothing. */
static status_t generate_keep(generate_task_t *task) {
  const prompts_sampling_t sampling = prompts_sampling(task->session->settings);
  return task->single ? STATUS_OK : prompts_keep(&task->prompts, &task->role, &sampling, task->path, false);
}

static status_t generate(generate_task_t *task) {
  comm_t *world = task->session->world;
  bool writes = comm_rank(world) == 0;
  TRY(generate_open_model(task));
  TRY(generate_open_questions(task));
  TRY(generate_find_output(task));
  TRY(generate_keep(task));
  status_code_t status = comm_agree(world, writes ? generate_open_output(task) : STATUS_OK);
  if (status == STATUS_OK) status = answer_all(task);
  if (writes) status = generate_end_output(task, status);
  if (task->prompts.alone) return status;
  if (status == STATUS_STOPPED)
    TRY(kept_tell(task->prompts.kept, task->prompts.count * task->prompts.options.samples,
                  &task->session->gained));
  TRY(file_commit(world, task->path, status, writes));
  TRY(kept_remove(&task->prompts.kept));
  if (task->session->dry) {
    generate_note_output(task);
    return STATUS_OK;
  }
  log_info("written    %s: %lld questions, %d answer%s each", task->path,
           (long long)(task->prompts.count - task->skipped), task->prompts.options.samples,
           task->prompts.options.samples == 1 ? "" : "s");
  if (task->skipped > 0)
    log_warning("%lld questions have no answer: their images are broken", (long long)task->skipped);
  if (task->answers.replaced > 0)
    log_warning(
        "%lld answers stand in place of fields of their questions: 'answer', 'model' and the like are "
        "the answer's own",
        (long long)task->answers.replaced);
  return STATUS_OK;
}

status_t generate_run(session_t *session) {
  const settings_t *settings = session->settings;
  generate_task_t task = {.session = session,
                          .pairs = settings->generate.samples == PAIR,
                          .single = *settings->generate.prompt != '\0'};
  status_code_t status = generate(&task);
  generator_free(task.generator);
  prompts_close(&task.prompts);
  source_close(&task.source);
  questions_free(&task.questions);
  adapter_free(&task.adapter);
  model_free(&task.model);
  return status;
}
