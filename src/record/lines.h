/* JSON lines of a run that may still be writing them, or that died doing so: what is no complete line is
 * passed over and counted. (json_reader_open is for data, where a broken line is an error.) */
#ifndef RECORD_LINES_H
#define RECORD_LINES_H

#include "io/json.h"

typedef struct {
  FILE *file; /* NULL: there is none */
  char *text;
  size_t capacity;
  int64_t dropped; /* lines that were no JSON; the last one without its end is not among them */
  json_document_t document;
} lines_t;

/* A file that is not there has no lines. Close with lines_close. Local. */
lines_t lines_open(const char *path);

/* The next line's object, valid until the next call; NULL after the last one. Local. */
const json_t *lines_next(lines_t *lines);

void lines_close(lines_t *lines);

#endif
