/* A file of lines, each a JSON object with a "step", that a run appends to and that a restart takes back:
 * metrics.jsonl, samples.jsonl. Steps never fall from one line to the next. One process alone uses it. */
#ifndef IO_JOURNAL_H
#define IO_JOURNAL_H

#include "io/file.h"

typedef struct {
  char path[FILE_MAX_PATH];
  int descriptor; /* -1 until the first line */
  int64_t lines;  /* in the file, from its first rewind on */
} journal_t;

/* Nothing is opened or made before the first line. Errors: STATUS_INPUT (a path too long). Local. */
status_t journal_create(const char *folder, const char *name, journal_t *out);
void journal_close(journal_t *journal);

/* Appends LINE (N bytes, its end included) at once: the whole line, or after an error nothing. Errors:
 * STATUS_DATA. Local. */
status_t journal_append(journal_t *journal, const char *line, size_t n);

/* Keeps the first lines, at most MOST, up to the first one that has no end or whose step is after STEP; cuts
 * off the rest. Errors: STATUS_DATA. Local. */
status_t journal_rewind(journal_t *journal, int64_t step, int64_t most);

#endif
