/* MMBench: a table whose rows hold a question, its options and its image, in base64. */
#include "rollout/benchmark.h"

#include "base/base64.h"
#include "io/table.h"
#include "text/buffer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const letters[MMBENCH_OPTIONS] = {"A", "B", "C", "D"};

enum { REFERENCE_BYTES = 64 /* an image as short as this is the index of the row that has it */ };

typedef struct {
  table_t *table;
  json_writer_t *writer;
  const char *images;
  bool circular;
  int32_t index, question, hint, answer, image, image_path, options[MMBENCH_OPTIONS];
} mmbench_t;

bool mmbench_is_blank(const char *text) {
  return !*text || strcasecmp(text, "nan") == 0 || strcasecmp(text, "none") == 0;
}

status_t mmbench_options(const json_t *record, const char *where, mmbench_options_t *out) {
  *out = (mmbench_options_t){0};
  for (; out->count < MMBENCH_OPTIONS; out->count++) {
    if (!json_get(record, letters[out->count])) break;
    TRY(json_string(record, letters[out->count], where, &out->text[out->count]));
    if (mmbench_is_blank(out->text[out->count])) break;
  }
  for (int32_t i = out->count; i < MMBENCH_OPTIONS; i++)
    out->text[i] = "";
  if (out->count >= 2) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: found %d options, expected two at least in the columns A, B, C, D",
                   where, out->count);
}

/* ---- A row ---- */

static status_t index_read(const mmbench_t *mmbench, int64_t *out) {
  const char *field = table_field(mmbench->table, mmbench->index);
  char *end;
  *out = strtoll(field, &end, 10);
  if (*field && !*end && *out >= 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: column 'index': found '%.40s', expected a whole number",
                   table_where(mmbench->table), field);
}

/* How many options stand in the row. */
static status_t options_count(const mmbench_t *mmbench, int32_t *count) {
  const table_t *table = mmbench->table;
  *count = 0;
  while (*count < MMBENCH_OPTIONS && !mmbench_is_blank(table_field(table, mmbench->options[*count])))
    ++*count;
  if (*count >= 2) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: found %d options, expected two at least in the columns A, B, C, D",
                   table_where(table), *count);
}

/* The place of the option that is first in copy ROUND, counted from the option in place I. */
static int32_t turned(int32_t i, int64_t round, int32_t count) {
  return (int32_t)((i + round) % count);
}

/* Hint, question and options, as published. */
static status_t mmbench_text(const mmbench_t *mmbench, int64_t round, int32_t count, text_buffer_t *text) {
  const table_t *table = mmbench->table;
  const char *hint = table_field(table, mmbench->hint);
  if (!mmbench_is_blank(hint)) {
    TRY(text_buffer_append_string(text, hint));
    TRY(text_buffer_append_string(text, "\n"));
  }
  TRY(text_buffer_append_string(text, table_field(table, mmbench->question)));
  TRY(text_buffer_append_string(text, "\nThere are several options:\n"));
  for (int32_t i = 0; i < count; i++) {
    TRY(text_buffer_append_string(text, letters[i]));
    TRY(text_buffer_append_string(text, ". "));
    TRY(text_buffer_append_string(text, table_field(table, mmbench->options[turned(i, round, count)])));
    TRY(text_buffer_append_string(text, "\n"));
  }
  return STATUS_OK;
}

/* The letter of the right option in copy ROUND; of the first row as it stands. */
static const char *answer_turned(const mmbench_t *mmbench, int64_t round, int32_t count) {
  const char *answer = table_field(mmbench->table, mmbench->answer);
  if (round == 0) return answer;
  for (int32_t i = 0; i < count; i++)
    if (strcmp(letters[turned(i, round, count)], answer) == 0) return letters[i];
  return answer;
}

static int32_t option_of_column(const mmbench_t *mmbench, int32_t column) {
  for (int32_t i = 0; i < MMBENCH_OPTIONS; i++)
    if (mmbench->options[i] == column) return i;
  return -1;
}

/* All columns but the image. */
static void record_write(const mmbench_t *mmbench, int64_t index, int64_t round, int32_t count) {
  const table_t *table = mmbench->table;
  json_writer_t *writer = mmbench->writer;
  json_write_object_begin(writer);
  for (int32_t c = 0; c < table_columns(table); c++) {
    int32_t option = option_of_column(mmbench, c);
    const char *value = table_field(table, c);
    if (c == mmbench->image) continue;
    if (option >= 0 && option < count)
      value = table_field(table, mmbench->options[turned(option, round, count)]);
    if (c == mmbench->answer) value = answer_turned(mmbench, round, count);
    if (c == mmbench->index)
      json_write_int_member(writer, table_name(table, c), index);
    else
      json_write_member(writer, table_name(table, c), value);
  }
  json_write_object_end(writer);
}

/* ---- Images ---- */

static status_t image_store(const mmbench_t *mmbench, const char *base64, size_t n, const char *name) {
  SCOPED_MEMORY unsigned char *bytes = NULL;
  char path[FILE_MAX_PATH];
  size_t count;
  status_code_t status = base64_decode(base64, n, &bytes, &count);
  if (status != STATUS_OK)
    return error_context(status, "in column 'image' of %s", table_where(mmbench->table));
  TRY(file_join(path, mmbench->images, name, NULL));
  return file_write(path, bytes, count);
}

/* Stores the row's image as a file below the folder of images; NAME: what it is called there. */
static status_t image_take(const mmbench_t *mmbench, int64_t index, char name[FILE_MAX_PATH]) {
  const char *field = table_field(mmbench->table, mmbench->image);
  size_t n = strlen(field);
  if (mmbench->image < 0) {
    snprintf(name, FILE_MAX_PATH, "%s", table_field(mmbench->table, mmbench->image_path));
    return STATUS_OK;
  }
  bool reference = n > 0 && n <= REFERENCE_BYTES && strspn(field, "0123456789") == n;
  snprintf(name, FILE_MAX_PATH, "%" PRId64 ".jpg", reference ? (int64_t)strtoll(field, NULL, 10) : index);
  if (reference) return STATUS_OK;
  return image_store(mmbench, field, n, name);
}

/* ---- The table ---- */

static status_t mmbench_round(const mmbench_t *mmbench, int64_t index, int64_t round, int32_t count,
                              const char *image) {
  SCOPED(text_buffer_free) text_buffer_t text = {0};
  json_writer_t *writer = mmbench->writer;
  TRY(mmbench_text(mmbench, round, count, &text));
  json_write_object_begin(writer);
  json_write_int_member(writer, "question_id", index + round * MMBENCH_ROUND);
  json_write_member(writer, "image", image);
  json_write_key(writer, "text");
  json_write_text(writer, text.bytes, text.n);
  json_write_key(writer, "record");
  record_write(mmbench, index + round * MMBENCH_ROUND, round, count);
  json_write_object_end(writer);
  json_write_line(writer);
  return STATUS_OK;
}

static status_t mmbench_row(const mmbench_t *mmbench) {
  char image[FILE_MAX_PATH];
  int64_t index;
  int32_t count;
  TRY(index_read(mmbench, &index));
  TRY(options_count(mmbench, &count));
  if (mmbench->circular && index >= MMBENCH_ROUND)
    return error_set(STATUS_DATA,
                     "%s: index %" PRId64 ": this table holds the copies of circular evaluation already; set "
                     "generate.circular = .false.",
                     table_where(mmbench->table), index);
  TRY(image_take(mmbench, index, image));
  for (int64_t round = 0; round < (mmbench->circular ? count : 1); round++)
    TRY(mmbench_round(mmbench, index, round, count, image));
  return STATUS_OK;
}

static status_t columns_find(mmbench_t *mmbench, const char *path) {
  const table_t *table = mmbench->table;
  mmbench->index = table_find(table, "index");
  mmbench->question = table_find(table, "question");
  mmbench->hint = table_find(table, "hint");
  mmbench->answer = table_find(table, "answer");
  mmbench->image = table_find(table, "image");
  mmbench->image_path = table_find(table, "image_path");
  for (int32_t i = 0; i < MMBENCH_OPTIONS; i++)
    mmbench->options[i] = table_find(table, letters[i]);
  const char *missing = mmbench->index < 0                              ? "index"
                        : mmbench->question < 0                         ? "question"
                        : mmbench->options[0] < 0                       ? "A"
                        : mmbench->options[1] < 0                       ? "B"
                        : mmbench->image < 0 && mmbench->image_path < 0 ? "image"
                                                                        : NULL;
  if (!missing) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: has no column '%s'; a table of questions was expected to be MMBench's: index, "
                   "question, hint, A, B, C, D, answer, image (or image_path)",
                   path, missing);
}

status_t mmbench_translate(const char *path, json_writer_t *writer, const char *images, bool circular,
                           bool *stored) {
  SCOPED(table_close_at) table_t *table = NULL;
  bool more;
  TRY(table_open(path, &table));
  mmbench_t mmbench = {.table = table, .writer = writer, .images = images, .circular = circular};
  TRY(columns_find(&mmbench, path));
  *stored = mmbench.image >= 0;
  if (*stored) TRY(file_make_folder(images));
  for (;;) {
    TRY(table_next(table, &more));
    if (!more) return STATUS_OK;
    TRY(mmbench_row(&mmbench));
  }
}
