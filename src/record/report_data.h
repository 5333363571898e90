/* What a run directory holds, as the JSON that report.html shows. Inside the report's files only. */
#ifndef RECORD_REPORT_DATA_H
#define RECORD_REPORT_DATA_H

#include "io/file.h"
#include "io/json.h"
#include "record/lines.h"

/* What the page says was left out. */
enum { NOTES_MAX = 8, NOTE_MAX_BYTES = 512 };
typedef struct {
  int count;
  char text[NOTES_MAX][NOTE_MAX_BYTES];
} notes_t;
void notes_add(notes_t *notes, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* If LINES, of the file NAME, holds some that could not be read. */
void notes_add_dropped(notes_t *notes, const lines_t *lines, const char *name);

/* The member KEY of OBJECT as the named type; FALLBACK, or "", where it is absent or of another type. */
double report_number(const json_t *object, const char *key, double fallback);
int64_t report_integer(const json_t *object, const char *key, int64_t fallback);
const char *report_text(const json_t *object, const char *key);

/* True where RUN_DIR holds files of a run. */
bool report_data_exists(const char *run_dir);

/* Writes all that RUN_DIR holds as one object: "dir", "name", "run", "perf", "evaluation" (as in the files;
 * absent where they are), "input" (text), "series", "samples", "images", "notes". What cannot be read becomes
 * a note. Errors: STATUS_MEMORY. Local. */
status_t report_data_write(const char *run_dir, json_writer_t *writer);

/* The members "samples" and "images": each model's answers of its first and its newest step. Errors:
 * STATUS_MEMORY. Local. */
status_t report_samples_write(const char *run_dir, json_writer_t *writer, notes_t *notes);

#endif
