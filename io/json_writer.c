#include "io/json.h"

#include "base/memory.h"
#include "text/view.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLUSH_AT = 64 * 1024 };

struct json_writer {
  FILE *file;
  char *buffer;
  size_t used;
  status_code_t status; /* of the first failure */
  char problem[200];
  int depth;
  bool object[JSON_MAX_DEPTH]; /* is the container at this level an object? */
  bool filled[JSON_MAX_DEPTH]; /* has it had an item? */
  bool keyed;                  /* a key waits for its value */
};

static void json_writer_keep(json_writer_t *writer, status_code_t status, const char *problem) {
  if (writer->status != STATUS_OK) return;
  writer->status = status;
  snprintf(writer->problem, sizeof writer->problem, "%s", problem);
}

static void json_writer_flush(json_writer_t *writer) {
  if (writer->file == NULL || writer->status != STATUS_OK || writer->used == 0) return;
  if (fwrite(writer->buffer, 1, writer->used, writer->file) != writer->used)
    json_writer_keep(writer, STATUS_DATA, strerror(errno));
  writer->used = 0;
}

static void json_writer_put(json_writer_t *writer, const char *text, size_t n) {
  if (writer->file != NULL && writer->used + n > FLUSH_AT) json_writer_flush(writer);
  if (writer->status != STATUS_OK) return;
  status_code_t status = memory_reserve(&writer->buffer, ARENA_IO, writer->used + n, 1);
  if (status != STATUS_OK) {
    json_writer_keep(writer, status, error_message());
    return;
  }
  memcpy(writer->buffer + writer->used, text, n);
  writer->used += n;
}

static void json_writer_put_text(json_writer_t *writer, const char *text) {
  json_writer_put(writer, text, strlen(text));
}

/* ',' where one is due, before an item or a key. */
static void json_writer_separate(json_writer_t *writer) {
  if (writer->depth == 0) return;
  if (writer->filled[writer->depth - 1]) json_writer_put(writer, ",", 1);
  writer->filled[writer->depth - 1] = true;
}

static void before_value(json_writer_t *writer) {
  bool in_object = writer->depth > 0 && writer->object[writer->depth - 1];
  if (in_object && !writer->keyed)
    json_writer_keep(writer, STATUS_INTERNAL, "a value in an object lacks its key");
  if (!in_object) json_writer_separate(writer);
  writer->keyed = false;
}

static void json_writer_open_container(json_writer_t *writer, bool object) {
  before_value(writer);
  if (writer->depth == JSON_MAX_DEPTH) {
    json_writer_keep(writer, STATUS_INTERNAL, "JSON nested too deep");
    return;
  }
  writer->object[writer->depth] = object;
  writer->filled[writer->depth] = false;
  writer->depth++;
  json_writer_put(writer, object ? "{" : "[", 1);
}

static void json_writer_close_container(json_writer_t *writer, bool object) {
  if (writer->depth == 0 || writer->object[writer->depth - 1] != object || writer->keyed) {
    json_writer_keep(writer, STATUS_INTERNAL, "the end of a JSON container that is not open");
    return;
  }
  writer->depth--;
  json_writer_put(writer, object ? "}" : "]", 1);
}

void json_write_object_begin(json_writer_t *writer) {
  json_writer_open_container(writer, true);
}

void json_write_object_end(json_writer_t *writer) {
  json_writer_close_container(writer, true);
}

void json_write_array_begin(json_writer_t *writer) {
  json_writer_open_container(writer, false);
}

void json_write_array_end(json_writer_t *writer) {
  json_writer_close_container(writer, false);
}

/* The escape of one ASCII character, or NULL if it stands for itself. */
static const char *escape_of(unsigned char c, char buffer[8]) {
  static const char plain[] = "\"\\\n\r\t", *const escapes[] = {"\\\"", "\\\\", "\\n", "\\r", "\\t"};
  const char *found = c == '\0' ? NULL : strchr(plain, c);
  if (found) return escapes[found - plain];
  if (c >= 0x20 && c != 0x7f) return NULL;
  snprintf(buffer, 8, "\\u%04x", (unsigned)c);
  return buffer;
}

/* TEXT is valid UTF-8. */
static void json_writer_put_escaped(json_writer_t *writer, const char *text, size_t n) {
  size_t clean = 0; /* characters from here on have not been put */
  for (size_t i = 0; i < n; i++) {
    char buffer[8];
    const char *escape = escape_of((unsigned char)text[i], buffer);
    if (escape == NULL) continue;
    json_writer_put(writer, text + clean, i - clean);
    json_writer_put_text(writer, escape);
    clean = i + 1;
  }
  json_writer_put(writer, text + clean, n - clean);
}

static void json_writer_put_quoted(json_writer_t *writer, const char *text, size_t n) {
  json_writer_put(writer, "\"", 1);
  while (n > 0) {
    size_t valid = n;
    bool whole = text_is_utf8((text_view_t){text, n}, &valid);
    size_t length = whole ? n : valid;
    json_writer_put_escaped(writer, text, length);
    if (!whole) json_writer_put_text(writer, "\xef\xbf\xbd");
    text += whole ? n : length + 1;
    n -= whole ? n : length + 1;
  }
  json_writer_put(writer, "\"", 1);
}

void json_write_key(json_writer_t *writer, const char *key) {
  if (writer->depth == 0 || !writer->object[writer->depth - 1] || writer->keyed) {
    json_writer_keep(writer, STATUS_INTERNAL, "a JSON key outside an object, or two in a row");
    return;
  }
  json_writer_separate(writer);
  json_writer_put_quoted(writer, key, strlen(key));
  json_writer_put(writer, ":", 1);
  writer->keyed = true;
}

void json_write_text(json_writer_t *writer, const char *text, size_t n) {
  before_value(writer);
  json_writer_put_quoted(writer, text, n);
}

void json_write_string(json_writer_t *writer, const char *string) {
  if (string == NULL)
    json_write_null(writer);
  else
    json_write_text(writer, string, strlen(string));
}

void json_write_int(json_writer_t *writer, int64_t value) {
  char text[32];
  before_value(writer);
  snprintf(text, sizeof text, "%" PRId64, value);
  json_writer_put_text(writer, text);
}

void json_write_real(json_writer_t *writer, double value) {
  char text[40];
  if (!isfinite(value)) {
    json_write_null(writer);
    return;
  }
  before_value(writer);
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  /* "1" would read back as an integer. */
  if (strpbrk(text, ".e") == NULL) strcat(text, ".0");
  json_writer_put_text(writer, text);
}

void json_write_bool(json_writer_t *writer, bool value) {
  before_value(writer);
  json_writer_put_text(writer, value ? "true" : "false");
}

void json_write_null(json_writer_t *writer) {
  before_value(writer);
  json_writer_put_text(writer, "null");
}

void json_write_member(json_writer_t *writer, const char *key, const char *string) {
  json_write_key(writer, key);
  json_write_string(writer, string);
}

void json_write_optional(json_writer_t *writer, const char *key, const char *string) {
  if (string != NULL) json_write_member(writer, key, string);
}

void json_write_int_member(json_writer_t *writer, const char *key, int64_t value) {
  json_write_key(writer, key);
  json_write_int(writer, value);
}

void json_write_real_member(json_writer_t *writer, const char *key, double value) {
  json_write_key(writer, key);
  json_write_real(writer, value);
}

static void json_writer_write_children(json_writer_t *writer, const json_t *tree) {
  bool object = tree->type == JSON_OBJECT;
  json_writer_open_container(writer, object);
  for (const json_t *at = tree->u.first; at != NULL; at = at->next) {
    if (object) json_write_key(writer, at->key);
    json_write_tree(writer, at);
  }
  json_writer_close_container(writer, object);
}

void json_write_tree(json_writer_t *writer, const json_t *tree) {
  switch (tree->type) {
  case JSON_NULL:
    json_write_null(writer);
    break;
  case JSON_BOOL:
    json_write_bool(writer, tree->u.boolean);
    break;
  case JSON_INT:
    json_write_int(writer, tree->u.integer);
    break;
  case JSON_REAL:
    json_write_real(writer, tree->u.real);
    break;
  case JSON_STRING:
    json_write_text(writer, tree->u.string, (size_t)tree->count);
    break;
  case JSON_ARRAY:
  case JSON_OBJECT:
    json_writer_write_children(writer, tree);
    break;
  }
}

void json_write_line(json_writer_t *writer) {
  json_writer_put(writer, "\n", 1);
  if (writer->depth > 0) return;
  json_writer_flush(writer);
  if (writer->file != NULL && fflush(writer->file) != 0)
    json_writer_keep(writer, STATUS_DATA, strerror(errno));
}

status_t json_writer_create(FILE *file, json_writer_t **out) {
  TRY(memory_alloc(out, ARENA_IO, 1, sizeof **out));
  (*out)->file = file;
  return STATUS_OK;
}

void json_writer_free(json_writer_t *writer) {
  if (writer == NULL) return;
  memory_free(writer->buffer);
  memory_free(writer);
}
SCOPED_POINTER(json_writer_free, json_writer_t)

status_t json_writer_finish(json_writer_t *ended, char **text, size_t *n) {
  SCOPED(json_writer_free_at) json_writer_t *writer = ended;
  if (text != NULL) *text = NULL;
  if (writer->depth > 0) json_writer_keep(writer, STATUS_INTERNAL, "a JSON container was left open");
  json_writer_flush(writer);
  if (writer->file != NULL && fflush(writer->file) != 0)
    json_writer_keep(writer, STATUS_DATA, strerror(errno));
  if (writer->status != STATUS_OK)
    return error_set(writer->status, "JSON could not be written: %s", writer->problem);
  if (writer->file != NULL || text == NULL) return STATUS_OK;
  TRY(memory_resize(&writer->buffer, ARENA_IO, writer->used + 1, 1));
  writer->buffer[writer->used] = '\0';
  if (n != NULL) *n = writer->used;
  memory_hand_over(text, &writer->buffer);
  return STATUS_OK;
}
