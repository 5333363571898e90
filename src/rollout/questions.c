#include "rollout/questions.h"

#include "base/log.h"
#include "base/memory.h"
#include "data/prepare.h"
#include "text/script.h"

#include <inttypes.h>
#include <string.h>

static bool questions_ends_with(const char *path, const char *end) {
  size_t n = strlen(path), m = strlen(end);
  return n >= m && strcmp(path + n - m, end) == 0;
}

bool questions_are_listed(const char *path) {
  return questions_ends_with(path, ".json") || questions_ends_with(path, ".jsonl") ||
         questions_ends_with(path, ".tsv");
}

/* The folder that PATH lies in, to FOLDER. */
static status_t questions_parent_of(const char *path, char folder[FILE_MAX_PATH]) {
  const char *slash = strrchr(path, '/');
  TRY(file_join(folder, slash ? path : ".", NULL, NULL));
  if (slash) folder[slash == path ? 1 : slash - path] = '\0';
  return STATUS_OK;
}

/* OUT->json as a dataset, with the images below IMAGES. */
static status_t questions_prepare_inner(session_t *session, const char *images, const char *name,
                                        questions_t *out) {
  char file[512], report[FILE_MAX_PATH];
  snprintf(file, sizeof file, "%s.h5", name);
  TRY(session_path(session, file, out->dataset));
  snprintf(file, sizeof file, "%s.skipped.jsonl", name);
  TRY(session_path(session, file, report));
  const settings_t *settings = session->settings;
  const prepare_options_t options = {.conversations = out->json,
                                     .image_folder = images,
                                     .output = out->dataset,
                                     .seed = (uint64_t)settings->job.seed,
                                     .skip_bad = strcmp(settings->data.bad_sample, "skip") == 0,
                                     .report = report,
                                     .workers = (int)settings->data.workers,
                                     .elements = &out->elements};
  return prepare_run(session->world, &options, NULL);
}

/* Makes NAME.jsonl of the questions in PATH, to OUT->json; *STORED: their images are below IMAGES now. */
static status_t questions_translate(session_t *session, const char *path, const char *name, questions_t *out,
                                    char images[FILE_MAX_PATH], bool *stored) {
  char file[512];
  snprintf(file, sizeof file, "%s.jsonl", name);
  TRY(session_path(session, file, out->json));
  snprintf(file, sizeof file, "%s_images", name);
  TRY(session_path(session, file, images));
  status_code_t status = STATUS_OK;
  bool mine = false;
  if (comm_rank(session->world) == 0)
    status = benchmark_translate(out->benchmark, path, out->json, images,
                                 session->settings->generate.circular, &mine);
  TRY(comm_agree(session->world, status));
  return comm_any(session->world, mine, stored);
}

/* Rank 0 finds out, all know. */
static status_t questions_recognise(session_t *session, const char *path, benchmark_t *out) {
  int32_t found = 0;
  status_code_t status = STATUS_OK;
  if (comm_rank(session->world) == 0) {
    status = benchmark_recognise(path, out);
    found = (int32_t)*out;
  }
  TRY(comm_agree(session->world, status));
  TRY(comm_broadcast(session->world, &found, 1, COMM_I32, 0));
  *out = (benchmark_t)found;
  return STATUS_OK;
}

/* How many options the question of each of COUNT rows has, to LETTERS (count). Rank 0. */
static status_t questions_read_letters(const questions_t *questions, int64_t count, uint8_t *letters) {
  SCOPED(json_reader_close_at) json_reader_t *reader = NULL;
  json_element_t element;
  mmbench_options_t options;
  TRY(json_reader_open(questions->json, JSON_ELEMENTS, &reader));
  for (int64_t row = 0; row < count;) {
    TRY(json_reader_next(reader, &element));
    if (!element.value) return error_set(STATUS_DATA, "%s: has changed since it was read", questions->json);
    if (element.index < selection_find(&questions->elements, row)) continue;
    TRY(mmbench_options(questions_record(questions, element.value), questions->json, &options));
    letters[row++] = (uint8_t)options.count;
  }
  return STATUS_OK;
}

static status_t questions_count_letters(session_t *session, questions_t *questions) {
  SCOPED(node_memory_free_at) node_memory_t *memory = NULL;
  comm_t *world = session->world;
  dataset_t *dataset;
  TRY(dataset_open(world, questions->dataset, &dataset));
  const int64_t count = dataset_info(dataset).samples;
  dataset_close(dataset);
  TRY(node_memory_create(world, ARENA_DATA, (size_t)count, sizeof *questions->letters, &memory));
  uint8_t *letters = node_memory_data(memory);
  TRY(comm_agree(world,
                 comm_rank(world) == 0 ? questions_read_letters(questions, count, letters) : STATUS_OK));
  TRY(node_memory_settle(memory));
  questions->letters = letters;
  memory_hand_over(&questions->letter_memory, &memory);
  return STATUS_OK;
}

status_t questions_prepare(session_t *session, const char *path, const char *image_folder, const char *name,
                           questions_t *out) {
  char beside[FILE_MAX_PATH], images[FILE_MAX_PATH], own[FILE_MAX_PATH];
  bool stored = false;
  *out = (questions_t){.listed = true};
  TRY(questions_recognise(session, path, &out->benchmark));
  if (out->benchmark != BENCHMARK_NONE) log_info("questions  %s: %s", benchmark_name(out->benchmark), path);
  if (session->settings->generate.circular && out->benchmark != BENCHMARK_MMBENCH)
    return error_set(STATUS_INPUT,
                     "generate.circular asks MMBench's questions (a table, .tsv) with their "
                     "options in every order; '%s' is none",
                     path);
  if (benchmark_is_translated(out->benchmark))
    TRY(questions_translate(session, path, name, out, own, &stored));
  else
    TRY(file_join(out->json, path, NULL, NULL));
  TRY(questions_parent_of(path, beside));
  TRY(file_join(images, beside, "images", NULL));
  TRY(questions_prepare_inner(session, stored ? own : *image_folder ? image_folder : images, name, out));
  return session->settings->generate.letters && out->benchmark == BENCHMARK_MMBENCH
             ? questions_count_letters(session, out)
             : STATUS_OK;
}

void questions_free(questions_t *questions) {
  selection_free(&questions->elements);
  node_memory_free(questions->letter_memory);
  *questions = (questions_t){0};
}

static status_t one_question(const char *image, const char *text, char **json, size_t *n) {
  const char *slash = strrchr(image, '/');
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_int_member(writer, "question_id", 0);
  if (*image) {
    json_write_member(writer, "image", slash ? slash + 1 : image);
  }
  json_write_member(writer, "text", text);
  json_write_object_end(writer);
  json_write_line(writer);
  return json_writer_finish(writer, json, n);
}

static status_t questions_write_one(const char *path, const char *image, const char *text) {
  char *json;
  size_t n;
  TRY(one_question(image, text, &json, &n));
  status_code_t status = file_replace(path, json, n);
  memory_free(json);
  return status;
}

status_t questions_prepare_one(session_t *session, const char *image, const char *text, questions_t *out) {
  char folder[FILE_MAX_PATH];
  *out = (questions_t){0};
  TRY(session_path(session, "question.jsonl", out->json));
  TRY(questions_parent_of(image, folder));
  status_code_t status = STATUS_OK;
  if (comm_rank(session->world) == 0) status = questions_write_one(out->json, image, text);
  TRY(comm_agree(session->world, status));
  return questions_prepare_inner(session, folder, "question", out);
}

/* As sample_read (data/sample.h) takes ids: where there is none, the element's number is it. */
static bool has_id(const json_element_t *element, const char *id) {
  char number[32];
  const json_t *found = json_get(element->value, "id");
  if (!found) found = json_get(element->value, "question_id");
  if (found && found->type == JSON_STRING) return strcmp(found->u.string, id) == 0;
  if (found && found->type != JSON_INT) return false;
  snprintf(number, sizeof number, "%" PRId64, found ? found->u.integer : element->index);
  return strcmp(number, id) == 0;
}

status_t questions_find(const questions_t *questions, json_reader_t *reader, int64_t row, const char *id,
                        json_element_t *element) {
  int64_t number = selection_find(&questions->elements, row);
  do
    TRY(json_reader_next(reader, element));
  while (element->value && element->index < number);
  if (element->value && element->index == number && has_id(element, id)) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: element %" PRId64
                   " is not the one with the id '%.80s' any more; the file has changed "
                   "since it was read",
                   questions->json, number, id);
}

static bool questions_is_one_of(const char *key, const char *const *keys) {
  for (; *keys; keys++)
    if (strcmp(key, *keys) == 0) return true;
  return false;
}

const json_t *questions_record(const questions_t *questions, const json_t *element) {
  return benchmark_is_translated(questions->benchmark) ? json_get(element, "record") : element;
}

bool questions_copy(json_writer_t *writer, const json_t *question, const char *const *own) {
  bool replaced = false;
  for (const json_t *member = question->u.first; member; member = member->next) {
    if (questions_is_one_of(member->key, own)) {
      replaced = true;
      continue;
    }
    json_write_key(writer, member->key);
    json_write_tree(writer, member);
  }
  return replaced;
}

status_t questions_text(const dataset_sample_t *sample, char **text) {
  const conversation_t *conversation = &sample->conversation;
  int32_t last = conversation->count - 1;
  while (last > 0 && conversation->turns[last].role != TURN_HUMAN)
    last--;
  text_buffer_t buffer = {0};
  text_view_t question = conversation->turns[last].text;
  bool marked = conversation_last_question(conversation) == 0 && conversation_images(conversation) > 0;
  status_code_t status = marked ? text_buffer_append_without(&buffer, question, IMAGE_MARK)
                                : text_buffer_append(&buffer, question);
  text_view_t stripped = text_strip(text_buffer_view(&buffer));
  if (status == STATUS_OK) status = memory_copy_text(text, ARENA_OTHER, stripped.bytes, stripped.n);
  text_buffer_free(&buffer);
  return status;
}
