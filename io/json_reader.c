/* A huge file is fed to YAJL in pieces. The elements that a piece completes wait in a list; an element may
 * begin in one piece and end in a later one, so each has storage of its own. */
#include "io/json.h"

#include "base/memory.h"
#include "io/json_build.h"
#include "parallel/watchdog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK = 256 * 1024, ELEMENT_MAX_MEMORY = 16 * JSON_MAX_ELEMENT, LISTS_MOST = 2 };

typedef struct ready {
  struct ready *next;
  json_element_t element;
  json_block_t *storage; /* holds this struct's tree, not the struct */
} ready_t;

struct json_reader {
  char *path;
  FILE *file;
  yajl_handle yajl;
  json_builder_t builder;
  json_escapes_t escapes;
  ready_t *first, *last; /* complete, not handed out */
  ready_t *current;      /* handed out */
  json_stream_t kind;
  int outer; /* containers around each element: 1 in an array or object, 0 with JSON lines, 2 in a list */
  int depth; /* how many of them are open */
  char *lists[LISTS_MOST]; /* of json_reader_open_list: the members whose items are the elements; else NULL */
  const char *list;        /* the one of them that the present value is, or is in; NULL: another member */
  bool list_seen;          /* the first of them has been come to */
  int beside;              /* containers that are open in another member */
  bool started;            /* the builder is inside an element */
  bool finished;           /* the file's end has been parsed */
  unsigned char *chunk;
  size_t filled;         /* bytes in chunk */
  int64_t chunk_start;   /* where chunk lies in the file */
  int64_t line;          /* of line_at, 1-based */
  size_t line_at;        /* within chunk */
  int64_t quiet_since;   /* byte since which nothing was handed out, begun or passed over */
  int64_t element_start; /* byte where the present element starts */
  int64_t element_line;
  char *element_key;
  int64_t count; /* elements so far */
  int64_t size;  /* bytes of the file */
};

/* ---- Elements ---- */

/* The line of byte AT of the chunk; calls come with growing AT. */
static int64_t line_of(json_reader_t *reader, size_t at) {
  if (at > reader->filled) at = reader->filled;
  for (; reader->line_at < at; reader->line_at++)
    reader->line += reader->chunk[reader->line_at] == '\n';
  return reader->line;
}

static void element_begin(json_reader_t *reader) {
  if (reader->started) return;
  size_t at = yajl_get_bytes_consumed(reader->yajl);
  reader->started = true;
  reader->element_start = reader->chunk_start + (int64_t)at;
  reader->element_line = line_of(reader, at);
}

/* Moves a complete element to the list. */
static bool element_end(json_reader_t *reader) {
  if (!reader->builder.done) return true;
  ready_t *ready = NULL;
  reader->builder.memory_out = memory_alloc(&ready, ARENA_IO, 1, sizeof *ready) != STATUS_OK;
  if (reader->builder.memory_out) return false;
  ready->element = (json_element_t){.value = reader->builder.root,
                                    .key = reader->lists[0] != NULL ? reader->list : reader->element_key,
                                    .index = reader->count++,
                                    .line = reader->element_line};
  ready->storage = reader->builder.storage.blocks;
  if (reader->last == NULL)
    reader->first = ready;
  else
    reader->last->next = ready;
  reader->last = ready;
  json_build_reset(&reader->builder);
  reader->element_key = NULL;
  reader->started = false;
  return true;
}

/* ---- Beside the lists: what belongs to other members of their object is passed over ---- */

static bool is_beside(const json_reader_t *reader) {
  return reader->lists[0] != NULL && reader->depth < reader->outer;
}

/* Whether the value to come is a list. */
static bool is_at_list(const json_reader_t *reader) {
  return reader->depth == 1 && reader->beside == 0 && reader->list != NULL;
}

static int json_reader_beside_refuse(json_reader_t *reader, const char *found) {
  snprintf(reader->builder.problem, sizeof reader->builder.problem,
           "member '%.40s': found %s, expected an array", reader->list, found);
  return 0;
}

/* A value that holds no others. */
static int beside_value(json_reader_t *reader, json_type_t type) {
  reader->quiet_since = reader->chunk_start + (int64_t)yajl_get_bytes_consumed(reader->yajl);
  return is_at_list(reader) ? json_reader_beside_refuse(reader, json_type_name(type)) : 1;
}

static int beside_open(json_reader_t *reader, json_type_t type) {
  const bool within = is_at_list(reader);
  if (reader->depth == 0 || (within && type == JSON_ARRAY)) {
    reader->depth++;
    reader->list_seen = reader->list_seen || (within && reader->list == reader->lists[0]);
    return 1;
  }
  if (within) return json_reader_beside_refuse(reader, json_type_name(type));
  if (++reader->beside <= JSON_MAX_DEPTH) return 1;
  snprintf(reader->builder.problem, sizeof reader->builder.problem, "nested deeper than %d",
           (int)JSON_MAX_DEPTH);
  return 0;
}

static int beside_key(json_reader_t *reader, const unsigned char *text, size_t n) {
  if (reader->beside > 0) return 1;
  reader->list = NULL;
  for (int i = 0; i < LISTS_MOST && reader->lists[i] != NULL; i++)
    if (n == strlen(reader->lists[i]) && memcmp(text, reader->lists[i], n) == 0)
      reader->list = reader->lists[i];
  return 1;
}

static int beside_end(json_reader_t *reader) {
  if (reader->beside > 0)
    reader->beside--;
  else
    reader->depth--;
  return 1;
}

/* ---- Events ---- */

static int on_null(void *context) {
  json_reader_t *reader = context;
  if (is_beside(reader)) return beside_value(reader, JSON_NULL);
  element_begin(reader);
  return json_build_null(&reader->builder) && element_end(reader);
}

static int on_bool(void *context, int value) {
  json_reader_t *reader = context;
  if (is_beside(reader)) return beside_value(reader, JSON_BOOL);
  element_begin(reader);
  return json_build_bool(&reader->builder, value) && element_end(reader);
}

static int on_number(void *context, const char *text, size_t n) {
  json_reader_t *reader = context;
  if (is_beside(reader)) return beside_value(reader, JSON_REAL);
  element_begin(reader);
  return json_build_number(&reader->builder, text, n) && element_end(reader);
}

static int on_string(void *context, const unsigned char *text, size_t n) {
  json_reader_t *reader = context;
  if (is_beside(reader)) return beside_value(reader, JSON_STRING);
  element_begin(reader);
  return json_build_string(&reader->builder, text, n) && element_end(reader);
}

/* An array or object opens: one of those around the elements, or one of an element. */
static int json_reader_container_open(json_reader_t *reader, json_type_t type) {
  if (is_beside(reader)) return beside_open(reader, type);
  if (reader->depth < reader->outer) {
    reader->depth++;
    return 1;
  }
  element_begin(reader);
  return type == JSON_OBJECT ? json_build_object(&reader->builder) : json_build_array(&reader->builder);
}

static int on_object(void *context) {
  return json_reader_container_open(context, JSON_OBJECT);
}

static int on_array(void *context) {
  return json_reader_container_open(context, JSON_ARRAY);
}

static int on_key(void *context, const unsigned char *text, size_t n) {
  json_reader_t *reader = context;
  if (is_beside(reader)) return beside_key(reader, text, n);
  element_begin(reader);
  if (!json_build_key(&reader->builder, text, n)) return 0;
  if (reader->builder.depth == 0) reader->element_key = reader->builder.key;
  return 1;
}

static int on_end(void *context) {
  json_reader_t *reader = context;
  if (is_beside(reader)) return beside_end(reader);
  if (!reader->started) {
    reader->depth--;
    return 1;
  }
  return json_build_end(&reader->builder) && element_end(reader);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_bool,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_map_key = on_key,
    .yajl_start_map = on_object,
    .yajl_start_array = on_array,
    .yajl_end_map = on_end,
    .yajl_end_array = on_end,
};

/* ---- Pieces ---- */

static status_t chunk_read(json_reader_t *reader) {
  line_of(reader, reader->filled);
  reader->chunk_start += (int64_t)reader->filled;
  reader->line_at = 0;
  reader->filled = fread(reader->chunk, 1, CHUNK, reader->file);
  if (!ferror(reader->file)) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: byte %lld: cannot be read: %s", reader->path,
                   (long long)reader->chunk_start, strerror(errno));
}

static status_t json_reader_refuse(json_reader_t *reader, size_t at, const char *problem) {
  if (at > reader->filled) at = reader->filled;
  return error_set(STATUS_DATA, "%s: line %" PRId64 ", byte %" PRId64 ", element %" PRId64 ": %s",
                   reader->path, line_of(reader, at), reader->chunk_start + (int64_t)at, reader->count,
                   problem);
}

static status_t json_reader_judge(json_reader_t *reader, yajl_status result) {
  char message[160];
  if (result == yajl_status_ok) return STATUS_OK;
  if (reader->builder.memory_out) return error_context(STATUS_MEMORY, "while reading %s", reader->path);
  size_t at = yajl_get_bytes_consumed(reader->yajl);
  if (reader->builder.problem[0] != '\0') return json_reader_refuse(reader, at, reader->builder.problem);
  json_yajl_message(reader->yajl, message, sizeof message);
  return json_reader_refuse(reader, at, message);
}

/* A first string of a huge element has made no event yet: so the distance from the last event counts as well.
 */
static status_t length_check(const json_reader_t *reader) {
  int64_t end = reader->chunk_start + (int64_t)reader->filled;
  int64_t start = reader->started ? reader->element_start : reader->quiet_since;
  if (end - start <= JSON_MAX_ELEMENT) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: line %lld, byte %lld: element %lld is longer than %d bytes: is this a list of samples?",
      reader->path, (long long)reader->element_line, (long long)start, (long long)reader->count,
      (int)JSON_MAX_ELEMENT);
}

static status_t list_check(const json_reader_t *reader) {
  if (reader->lists[0] == NULL || reader->list_seen) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: has no member '%s'; a JSON object with an array of that name was expected",
                   reader->path, reader->lists[0]);
}

/* Parses pieces until an element is complete, or the file ends. */
static status_t json_reader_advance(json_reader_t *reader) {
  reader->quiet_since = reader->chunk_start + (int64_t)reader->filled;
  while (reader->first == NULL && !reader->finished) {
    TRY(chunk_read(reader));
    if (reader->filled == 0) {
      reader->finished = true;
      TRY(json_reader_judge(reader, yajl_complete_parse(reader->yajl)));
      return list_check(reader);
    }
    size_t bad;
    if (!json_escapes_whole(&reader->escapes, reader->chunk, reader->filled, &bad))
      return json_reader_refuse(reader, bad, json_half_pair);
    if (!json_blanks_valid(reader->chunk, reader->filled, &bad))
      return json_reader_refuse(reader, bad, json_odd_blank);
    TRY(json_reader_judge(reader, yajl_parse(reader->yajl, reader->chunk, reader->filled)));
    if (reader->first == NULL) TRY(length_check(reader));
  }
  return STATUS_OK;
}

static void ready_free(ready_t *ready) {
  if (ready == NULL) return;
  json_storage_free(ready->storage);
  memory_free(ready);
}

status_t json_reader_next(json_reader_t *reader, json_element_t *element) {
  watchdog_alive(); /* a file may take long, and other ranks wait for what is in it */
  *element = (json_element_t){.index = reader->count};
  ready_free(reader->current);
  reader->current = NULL;
  if (reader->first == NULL) TRY(json_reader_advance(reader));
  ready_t *ready = reader->first;
  if (ready == NULL) return STATUS_OK;
  reader->first = ready->next;
  if (reader->first == NULL) reader->last = NULL;
  reader->current = ready;
  *element = ready->element;
  return STATUS_OK;
}

/* ---- Opening ---- */

/* Looks at the first byte that counts, leaves the file behind a byte order mark. */
static status_t look_ahead(json_reader_t *reader) {
  unsigned char *chunk = reader->chunk;
  size_t n = fread(chunk, 1, CHUNK, reader->file);
  if (ferror(reader->file))
    return error_set(STATUS_DATA, "%s: cannot be read: %s", reader->path, strerror(errno));
  size_t mark = n >= 3 && memcmp(chunk, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
  const unsigned char *first = chunk + mark, *end = chunk + n;
  while (first < end && (*first == ' ' || *first == '\t' || *first == '\r' || *first == '\n'))
    first++;
  if (first == end) return error_set(STATUS_DATA, "%s: empty; JSON was expected", reader->path);
  if ((reader->kind != JSON_ELEMENTS || reader->lists[0] != NULL) && *first != '{')
    return error_set(STATUS_DATA, "%s: starts with '%c'; a JSON object {...} was expected", reader->path,
                     *first);
  if (reader->kind == JSON_ELEMENTS && *first != '[' && *first != '{')
    return error_set(STATUS_DATA,
                     "%s: starts with byte 0x%02x; a JSON array [...] or JSON lines {...} were expected",
                     reader->path, *first);
  reader->outer = reader->lists[0] != NULL ? 2 : reader->kind != JSON_ELEMENTS || *first == '[';
  if (fseeko(reader->file, (off_t)mark, SEEK_SET) != 0)
    return error_set(STATUS_DATA, "%s: %s; a regular file was expected", reader->path, strerror(errno));
  reader->chunk_start = (int64_t)mark;
  return STATUS_OK;
}

static status_t file_open(json_reader_t *reader) {
  struct stat info;
  /* Looked at first: opening a named pipe would wait for its writer. */
  if (stat(reader->path, &info) == 0 && !S_ISREG(info.st_mode))
    return error_set(STATUS_DATA, "%s: a regular file was expected", reader->path);
  reader->file = fopen(reader->path, "rb");
  if (reader->file == NULL || fstat(fileno(reader->file), &info) != 0)
    return error_set(STATUS_DATA, "%s: cannot be opened: %s", reader->path, strerror(errno));
  reader->size = (int64_t)info.st_size;
  return STATUS_OK;
}

static status_t json_reader_start(const char *path, json_stream_t kind, const char *list, const char *also,
                                  json_reader_t **out) {
  SCOPED(json_reader_close_at) json_reader_t *reader = NULL;
  *out = NULL;
  TRY(memory_alloc(&reader, ARENA_IO, 1, sizeof *reader));
  reader->kind = kind;
  reader->line = 1;
  reader->builder.max_bytes = ELEMENT_MAX_MEMORY;
  TRY(memory_copy_text(&reader->path, ARENA_IO, path, strlen(path)));
  if (list != NULL) TRY(memory_copy_text(&reader->lists[0], ARENA_IO, list, strlen(list)));
  if (also != NULL) TRY(memory_copy_text(&reader->lists[1], ARENA_IO, also, strlen(also)));
  TRY(memory_alloc(&reader->chunk, ARENA_IO, CHUNK, 1));
  TRY(file_open(reader));
  TRY(look_ahead(reader));
  reader->yajl = yajl_alloc(&callbacks, NULL, reader);
  if (reader->yajl == NULL) return error_set(STATUS_MEMORY, "%s: no memory for a JSON parser", path);
  if (reader->outer == 0) yajl_config(reader->yajl, yajl_allow_multiple_values, 1);
  memory_hand_over(out, &reader);
  return STATUS_OK;
}

status_t json_reader_open(const char *path, json_stream_t kind, json_reader_t **out) {
  return json_reader_start(path, kind, NULL, NULL, out);
}

status_t json_reader_open_list(const char *path, const char *key, const char *also, json_reader_t **out) {
  return json_reader_start(path, JSON_ELEMENTS, key, also, out);
}

void json_reader_warn(const json_reader_t *reader) {
  json_warn_repeated(reader->path, reader->builder.repeated);
}

int64_t json_reader_position(const json_reader_t *reader) {
  return reader->chunk_start + (int64_t)reader->filled;
}

int64_t json_reader_size(const json_reader_t *reader) {
  return reader->size;
}

void json_reader_close(json_reader_t *reader) {
  if (reader == NULL) return;
  ready_free(reader->current);
  while (reader->first != NULL) {
    ready_t *next = reader->first->next;
    ready_free(reader->first);
    reader->first = next;
  }
  json_build_free(&reader->builder);
  if (reader->yajl != NULL) yajl_free(reader->yajl);
  if (reader->file != NULL) fclose(reader->file);
  memory_free(reader->chunk);
  memory_free(reader->path);
  for (int i = 0; i < LISTS_MOST; i++)
    memory_free(reader->lists[i]);
  memory_free(reader);
}
