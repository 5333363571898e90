#include "rollout/answer_file.h"

#include "io/table.h"
#include "rollout/questions.h"

#include <inttypes.h>
#include <string.h>

static answers_form_t grader_form(benchmark_t benchmark) {
  switch (benchmark) {
  case BENCHMARK_LLAVA_BENCH:
    return ANSWERS_LLAVA;
  case BENCHMARK_MMHAL:
  case BENCHMARK_HALLUSION:
    return ANSWERS_ARRAY;
  case BENCHMARK_AMBER:
    return ANSWERS_AMBER;
  case BENCHMARK_MMBENCH:
    return ANSWERS_TABLE;
  default:
    return ANSWERS_LINES;
  }
}

status_t answers_form(const char *format, benchmark_t benchmark, int64_t samples, answers_form_t *out) {
  *out = strcmp(format, "auto") == 0    ? grader_form(benchmark)
         : strcmp(format, "llava") == 0 ? ANSWERS_LLAVA
                                        : ANSWERS_LINES;
  if (samples == 1 || *out == ANSWERS_LINES) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "generate.samples = %" PRId64 ": a grader of %s reads one answer to each question; set "
                   "generate.format = 'jsonl' for several",
                   samples, benchmark_name(benchmark));
}

const char *answers_extension(answers_form_t form) {
  if (form == ANSWERS_TABLE) return ".tsv";
  return form == ANSWERS_ARRAY || form == ANSWERS_AMBER ? ".json" : ".jsonl";
}

/* ---- One answer ---- */

/* The members of the question, but for those that the answer has itself. */
static void question_write(answer_file_t *file, const written_answer_t *answer) {
  const char *own[7] = {benchmark_answer_key(file->benchmark), "model", "stopped"};
  int n = 3;
  if (answer->sample >= 0) own[n++] = "sample";
  if (answer->tokens >= 0) own[n++] = "tokens";
  if (answer->tokens >= 0) own[n++] = "logprob";
  if (answer->question) {
    file->replaced += questions_copy(file->writer, answer->question, own);
    return;
  }
  json_write_member(file->writer, "question_id", answer->id);
  json_write_optional(file->writer, "image", answer->image);
  json_write_member(file->writer, "text", answer->asked);
}

static void line_write(answer_file_t *file, const written_answer_t *answer) {
  json_writer_t *writer = file->writer;
  json_write_object_begin(writer);
  question_write(file, answer);
  if (answer->sample >= 0) json_write_int_member(writer, "sample", answer->sample);
  json_write_member(writer, benchmark_answer_key(file->benchmark), answer->text);
  json_write_member(writer, "model", answer->model);
  json_write_key(writer, "stopped");
  json_write_bool(writer, answer->stopped);
  if (answer->tokens >= 0) {
    json_write_int_member(writer, "tokens", answer->tokens);
    json_write_real_member(writer, "logprob", answer->logprob);
  }
  json_write_object_end(writer);
  json_write_line(writer);
}

/* Answers have no ids elsewhere: theirs are those of their questions. Image, category and label are more than
 * LLaVA's scripts write, and what ours need to judge. */
static void llava_write(answer_file_t *file, const written_answer_t *answer) {
  static const char *const kept[] = {"image", "category", "label"};
  json_writer_t *writer = file->writer;
  const json_t *id = json_get(answer->question, "question_id");
  json_write_object_begin(writer);
  json_write_key(writer, "question_id");
  if (id)
    json_write_tree(writer, id);
  else
    json_write_string(writer, answer->id);
  json_write_member(writer, "prompt", answer->asked);
  json_write_member(writer, "text", answer->text);
  json_write_member(writer, "answer_id", answer->id);
  json_write_member(writer, "model_id", answer->model);
  json_write_key(writer, "metadata");
  json_write_object_begin(writer);
  json_write_object_end(writer);
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
    const json_t *member = json_get(answer->question, kept[i]);
    if (!member) continue;
    json_write_key(writer, kept[i]);
    json_write_tree(writer, member);
  }
  json_write_object_end(writer);
  json_write_line(writer);
}

static void item_write(answer_file_t *file, const written_answer_t *answer) {
  const char *own[] = {benchmark_answer_key(file->benchmark), NULL};
  json_write_line(file->writer);
  json_write_object_begin(file->writer);
  questions_copy(file->writer, answer->question, own);
  json_write_member(file->writer, own[0], answer->text);
  json_write_object_end(file->writer);
}

static void amber_write(answer_file_t *file, const written_answer_t *answer) {
  json_write_line(file->writer);
  json_write_object_begin(file->writer);
  json_write_key(file->writer, "id");
  json_write_tree(file->writer, json_get(answer->question, "id"));
  json_write_member(file->writer, "response", answer->text);
  json_write_object_end(file->writer);
}

/* All rows have the columns of the first one: they come from one table. */
static void row_write(answer_file_t *file, const written_answer_t *answer) {
  const char *key = benchmark_answer_key(file->benchmark);
  for (const json_t *member = answer->question->u.first; member && file->count == 0; member = member->next)
    if (strcmp(member->key, key) != 0) {
      table_write_field(file->stream, member->key);
      fputc('\t', file->stream);
    }
  if (file->count == 0) fprintf(file->stream, "%s\n", key);
  for (const json_t *member = answer->question->u.first; member; member = member->next) {
    if (strcmp(member->key, key) == 0) continue;
    if (member->type == JSON_INT)
      fprintf(file->stream, "%" PRId64, member->u.integer);
    else
      table_write_field(file->stream, member->u.string);
    fputc('\t', file->stream);
  }
  table_write_field(file->stream, answer->text);
  fputc('\n', file->stream);
}

/* ---- The file ---- */

static bool is_array(answers_form_t form) {
  return form == ANSWERS_ARRAY || form == ANSWERS_AMBER;
}

status_t answer_file_begin(answers_form_t form, benchmark_t benchmark, FILE *stream, answer_file_t *out) {
  *out = (answer_file_t){.form = form, .benchmark = benchmark, .stream = stream};
  TRY(json_writer_create(stream, &out->writer));
  if (is_array(form)) json_write_array_begin(out->writer);
  return STATUS_OK;
}

void answer_file_add(answer_file_t *file, const written_answer_t *answer) {
  static void (*const writes[])(answer_file_t *, const written_answer_t *) = {
      [ANSWERS_LINES] = line_write,  [ANSWERS_LLAVA] = llava_write, [ANSWERS_ARRAY] = item_write,
      [ANSWERS_AMBER] = amber_write, [ANSWERS_TABLE] = row_write,
  };
  writes[file->form](file, answer);
  file->count++;
}

status_t answer_file_end(answer_file_t *file, status_code_t status) {
  json_writer_t *writer = file->writer;
  file->writer = NULL;
  if (status != STATUS_OK) {
    json_writer_free(writer);
    return status;
  }
  if (is_array(file->form)) {
    json_write_line(writer);
    json_write_array_end(writer);
    json_write_line(writer);
  }
  return json_writer_finish(writer, NULL, NULL);
}
