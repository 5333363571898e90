#include "eval/answer_list.h"

#include "base/memory.h"
#include "io/table.h"
#include "rollout/benchmark.h"
#include "rollout/questions.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  const judge_t *judge;
  answer_visit_t visit;
  void *context;
} listing_t;

/* The text of the first of KEYS (ended by NULL) that RECORD has; NULL: none. */
static const char *text_of(const json_t *record, const char *const *keys) {
  for (; *keys; keys++) {
    const json_t *member = json_get(record, *keys);
    if (member && member->type == JSON_STRING) return member->u.string;
  }
  return NULL;
}

static const char *id_of(const json_t *record, int64_t number, char text[32]) {
  static const char *const keys[] = {"question_id", "id", "index"};
  snprintf(text, 32, "%" PRId64, number);
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    const json_t *member = json_get(record, keys[i]);
    if (!member) continue;
    if (member->type == JSON_STRING) return member->u.string;
    if (member->type == JSON_INT) snprintf(text, 32, "%" PRId64, member->u.integer);
    break;
  }
  return text;
}

static const char *image_of_record(const json_t *record) {
  static const char *const images[] = {"image", NULL}, *const sources[] = {"image_src", NULL};
  const char *image = text_of(record, images), *source = text_of(record, sources);
  if (image || !source) return image;
  const char *slash = strrchr(source, '/');
  return slash ? slash + 1 : source;
}

static const char *string_of(const json_t *record, const char *key) {
  const char *const keys[] = {key, NULL};
  return text_of(record, keys);
}

/* Of a program of its own, or of a person: JUDGE tells what graders read. */
static const char *foreign_answer_of(const judge_t *judge, const json_t *record) {
  static const char *const others[] = {"answer",           "prediction", "model_answer",
                                       "model_prediction", "response",   "caption"};
  const char *text = string_of(record, judge->answer_key ? judge->answer_key : others[0]);
  if (!text && json_get(record, "prompt")) text = string_of(record, "text");
  for (size_t i = 0; i < sizeof others / sizeof *others && !text; i++)
    if (!judge->truth_key || strcmp(others[i], judge->truth_key) != 0) text = string_of(record, others[i]);
  return text;
}

static const char *answer_of(const judge_t *judge, const json_t *record) {
  const json_t *stopped = json_get(record, "stopped");
  const char *key = benchmark_answer_key(benchmark_of_question(record)), *own = NULL;
  bool is_truth = judge->truth_key && strcmp(key, judge->truth_key) == 0;
  if (stopped && stopped->type == JSON_BOOL && !is_truth) own = string_of(record, key);
  return own ? own : foreign_answer_of(judge, record);
}

static status_t no_answer(const judge_t *judge, const char *where) {
  if (judge->truth_key)
    return error_set(STATUS_DATA, "%s: found no answer, expected member or column '%s' ('%s' is the truth)",
                     where, judge->answer_key, judge->truth_key);
  return error_set(STATUS_DATA,
                   "%s: found no answer, expected one of the members prediction, model_answer, "
                   "model_prediction, response, caption, text (beside prompt), answer",
                   where);
}

static status_t record_visit(void *context, const json_element_t *element, const char *where) {
  static const char *const asked[] = {"prompt", "text", "question", "query", NULL};
  SCOPED_MEMORY char *stripped = NULL;
  const listing_t *listing = context;
  const char *text = answer_of(listing->judge, element->value), *question = text_of(element->value, asked);
  char id[32];
  if (!text) return no_answer(listing->judge, where);
  text_view_t view = text_strip(text_view(text));
  TRY(memory_copy_text(&stripped, ARENA_OTHER, view.bytes, view.n));
  const answer_t answer = {.row = element->index,
                           .number = element->index,
                           .id = id_of(element->value, element->index, id),
                           .image = image_of_record(element->value),
                           .question = question ? question : "",
                           .text = stripped,
                           .record = element->value,
                           .stopped = true};
  return error_context(listing->visit(listing->context, &answer), "in %s", where);
}

/* ---- Tables ---- */

static status_t row_json(const table_t *table, char **json, size_t *n) {
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  for (int32_t c = 0; c < table_columns(table); c++)
    json_write_member(writer, table_name(table, c), table_field(table, c));
  json_write_object_end(writer);
  return json_writer_finish(writer, json, n);
}

static status_t row_visit(listing_t *listing, const table_t *table, int64_t number) {
  SCOPED(json_free) json_document_t document = {0};
  SCOPED_MEMORY char *json = NULL;
  size_t n;
  TRY(row_json(table, &json, &n));
  TRY(json_parse(json, n, table_where(table), &document));
  const json_element_t element = {.value = document.root, .index = number};
  return record_visit(listing, &element, table_where(table));
}

static status_t table_visit(const char *path, listing_t *listing) {
  SCOPED(table_close_at) table_t *table = NULL;
  bool more;
  TRY(table_open(path, &table));
  for (int64_t number = 0;; number++) {
    TRY(table_next(table, &more));
    if (!more) return STATUS_OK;
    TRY(row_visit(listing, table, number));
  }
}

status_t answer_list_visit(const char *path, const judge_t *judge, answer_visit_t visit, void *context) {
  listing_t listing = {judge, visit, context};
  size_t n = strlen(path);
  if (n >= 4 && strcmp(path + n - 4, ".tsv") == 0) return table_visit(path, &listing);
  return json_elements_visit(path, record_visit, &listing);
}

void answer_list_copy(json_writer_t *writer, const json_t *record, const char *key) {
  const char *own[6] = {"model", "read", "invented"};
  if (key) own[3] = key;
  if (key) own[4] = "stopped";
  questions_copy(writer, record, own);
}
