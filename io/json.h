/* JSON: small trees in memory, a reader that hands out a huge file element by element, and a writer. By YAJL.
 */
#ifndef IO_JSON_H
#define IO_JSON_H

#include "base/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
  JSON_MAX_DEPTH = 64,                /* arrays and objects inside each other */
  JSON_MAX_ELEMENT = 16 * 1024 * 1024 /* bytes of one element of a streamed file */
};

/* ---- Trees ---- */

typedef enum { JSON_NULL, JSON_BOOL, JSON_INT, JSON_REAL, JSON_STRING, JSON_ARRAY, JSON_OBJECT } json_type_t;

typedef struct json json_t;
struct json {
  json_type_t type;
  int64_t count; /* bytes of a string, items of an array, members of an object */
  union {
    bool boolean;
    int64_t integer;
    double real;
    const char *string;  /* UTF-8, ended by '\0'; count bytes before it */
    const json_t *first; /* first item or member; the next ones by ->next */
  } u;
  const char *key; /* of a member of an object, else NULL */
  const json_t *next;
};

/* A tree and what it is made of. */
typedef struct {
  const json_t *root;
  void *storage;
} json_document_t;

/* Parses TEXT (n bytes). NAME stands for it in messages. Numbers without fraction or exponent that fit become
 * JSON_INT, others JSON_REAL. Where an object repeats a key the last value counts, as Python reads it, and a
 * warning says how many did. Errors: STATUS_DATA for anything but one valid JSON value, deeper nesting than
 * JSON_MAX_DEPTH, invalid UTF-8, half a surrogate pair or a NUL character in a string. Free OUT with
 * json_free. Local. */
status_t json_parse(const char *text, size_t n, const char *name, json_document_t *out);

/* The same, but a key that an object repeats is an error that names it. Local. */
status_t json_parse_unique(const char *text, size_t n, const char *name, json_document_t *out);

/* json_parse for a whole file of at most MAX_BYTES. Local. */
status_t json_parse_file(const char *path, size_t max_bytes, json_document_t *out);
void json_free(json_document_t *document);

/* "a string", "an object", ... for messages. */
const char *json_type_name(json_type_t type);

/* The member KEY of OBJECT; NULL if it is absent or null, or if OBJECT is no object. Local. */
const json_t *json_get(const json_t *object, const char *key);

/* Whether OBJECT has the member KEY, and it is null. Local. */
bool json_is_null(const json_t *object, const char *key);

/* The I-th item of an array, or member of an object; NULL beyond the end. Takes I steps: walk long arrays by
 * ->next. */
const json_t *json_at(const json_t *array, int64_t i);

/* The member KEY of OBJECT as the named type. Errors: STATUS_DATA "WHERE: field 'KEY': found ..., expected
 * ..."; an absent member is an error too: ask json_get first where it is optional. Local. */
status_t json_string(const json_t *object, const char *key, const char *where, const char **out);
status_t json_int(const json_t *object, const char *key, const char *where, int64_t *out);
status_t json_real(const json_t *object, const char *key, const char *where, double *out); /* integers too */
status_t json_bool(const json_t *object, const char *key, const char *where, bool *out);
status_t json_array(const json_t *object, const char *key, const char *where, const json_t **out);
status_t json_object(const json_t *object, const char *key, const char *where, const json_t **out);

/* ---- Streaming reader ---- */

typedef enum {
  JSON_ELEMENTS, /* the items of a top-level array, or JSON lines: one value after the other */
  JSON_MEMBERS   /* the values of a top-level object */
} json_stream_t;

typedef struct json_reader json_reader_t;

typedef struct {
  const json_t *value;
  const char *key; /* JSON_MEMBERS: its key; of json_reader_open_list: its array's; else NULL */
  int64_t index;   /* 0-based, within the file */
  int64_t line;    /* 1-based line where it starts */
} json_element_t;

/* Opens PATH. The file is read in small pieces; memory is bounded by JSON_MAX_ELEMENT. Errors: STATUS_DATA
 * (cannot be read, empty, does not start as KIND asks). Close with json_reader_close. Local. */
status_t json_reader_open(const char *path, json_stream_t kind, json_reader_t **out);

/* The same for the items of the array under KEY in the file's top-level object and, where ALSO is not NULL,
 * of the one under ALSO, which may be missing, in the file's order; its other members are passed over. Errors
 * besides: STATUS_DATA (no member KEY, no array), from json_reader_next. Local. */
status_t json_reader_open_list(const char *path, const char *key, const char *also, json_reader_t **out);

/* The next element, valid until the next call; ELEMENT->value is NULL after the last one. Errors: STATUS_DATA
 * with file, line and byte: broken or cut-short JSON, invalid UTF-8, half a surrogate pair, nesting beyond
 * JSON_MAX_DEPTH, an element beyond JSON_MAX_ELEMENT. Local. */
status_t json_reader_next(json_reader_t *reader, json_element_t *element);

/* Warns, once READER is at its end, how many keys the objects of its elements repeat (the last value counts):
 * to be called by whoever reads a file first. Local. */
void json_reader_warn(const json_reader_t *reader);
/* The same for COUNT keys that a caller has found repeated in the file NAME. Local. */
void json_warn_repeated(const char *name, int64_t count);

/* Bytes consumed so far and in all, for progress. Local. */
int64_t json_reader_position(const json_reader_t *reader);
int64_t json_reader_size(const json_reader_t *reader);
void json_reader_close(json_reader_t *reader);
SCOPED_POINTER(json_reader_close, json_reader_t)

/* ---- Writer ---- */

typedef struct json_writer json_writer_t;

/* Writes to FILE (which stays the caller's), or to memory where FILE is NULL. Errors are kept until
 * json_writer_finish. */
status_t json_writer_create(FILE *file, json_writer_t **out);

/* Values in order; inside an object each is preceded by its key. Invalid UTF-8 becomes U+FFFD; NaN and
 * infinity, which JSON lacks, become null; real numbers have the fewest digits that read back to the same
 * double. Local. */
void json_write_object_begin(json_writer_t *writer);
void json_write_object_end(json_writer_t *writer);
void json_write_array_begin(json_writer_t *writer);
void json_write_array_end(json_writer_t *writer);
void json_write_key(json_writer_t *writer, const char *key);
void json_write_string(json_writer_t *writer, const char *string); /* NULL is null */
void json_write_text(json_writer_t *writer, const char *text, size_t n);
void json_write_int(json_writer_t *writer, int64_t value);
void json_write_real(json_writer_t *writer, double value);
void json_write_bool(json_writer_t *writer, bool value);
void json_write_null(json_writer_t *writer);
/* A key and its value. */
void json_write_member(json_writer_t *writer, const char *key, const char *string);
void json_write_optional(json_writer_t *writer, const char *key, const char *string); /* NULL: neither */
void json_write_int_member(json_writer_t *writer, const char *key, int64_t value);
void json_write_real_member(json_writer_t *writer, const char *key, double value);
/* A copy of TREE. */
void json_write_tree(json_writer_t *writer, const json_t *tree);
/* A line end after a top-level value (JSON lines) or, inside an array or object, before the next item;
 * flushes what a FILE has been given when at top level. */
void json_write_line(json_writer_t *writer);

/* Ends the writing and frees WRITER. Memory: *TEXT (n bytes and a '\0') is the caller's, freed with
 * memory_free; pass NULL for both with a FILE. Errors: STATUS_DATA (the file could not be written),
 * STATUS_MEMORY, STATUS_INTERNAL (an array or object was left open, or a key is missing). Local. */
status_t json_writer_finish(json_writer_t *writer, char **text, size_t *n);

/* Frees WRITER, whose JSON is given up. NULL is fine. */
void json_writer_free(json_writer_t *writer);

#endif
