/* A text file that one rank writes beside its place and that appears there whole, or not at all. */
#ifndef WORLD_OUTPUT_FILE_H
#define WORLD_OUTPUT_FILE_H

#include "io/file.h"
#include "io/json.h"

#include <stdio.h>

typedef struct {
  char path[FILE_MAX_PATH], partial[FILE_MAX_PATH];
  FILE *stream;
  json_writer_t *writer; /* on STREAM */
} output_file_t;

/* Starts to write PATH. Every file opened is ended by output_file_close. Errors: STATUS_DATA. Local. */
status_t output_file_open(const char *path, output_file_t *out);

/* Ends it: with STATUS_OK the file takes its place, with an error it is removed and that error returned.
 * Errors: STATUS_DATA (disk full,
 * ...). Local. */
status_t output_file_close(output_file_t *file, status_code_t status);

#endif
