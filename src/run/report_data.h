/* What report.html shows, read from a run directory. Inside the report's files only. */
#ifndef RUN_REPORT_DATA_H
#define RUN_REPORT_DATA_H

#include "io/file.h"
#include "io/json.h"

/* One metric over steps, ascending. */
typedef struct {
  char *name;
  int64_t count, capacity;
  double *steps, *values; /* (count); finite, below 1e100 */
  bool shown;             /* set by whoever has drawn it */
} series_t;

/* A sample answer. Texts are never NULL. */
typedef struct {
  int64_t step;
  char *model, *question, *answer, *score_name, *note;
  double score;       /* NAN: none */
  char *image;        /* what tells images apart; "" without one */
  char *jpeg;         /* base64; "" where there is no image or it cannot be had */
  int32_t width;      /* of the image, pixels; 0 unknown */
  bool first_of_case; /* no earlier answer has its question and image */
} answer_t;

typedef struct {
  /* Roots are NULL where the file is absent. */
  json_document_t run, perf, evaluation;
  series_t *series;
  int32_t series_count, series_capacity;
  answer_t *answers; /* of each model's first and newest step, in the order of the file */
  int64_t answer_count, answer_capacity;
  char *input; /* input.nml; "" where absent */
} report_data_t;

/* Reads RUN_DIR; what is not there is left out. Errors: STATUS_DATA (a file is broken). Free with
 * report_data_free in any case. Local. */
status_t report_data_read(const char *run_dir, report_data_t *data);
void report_data_free(report_data_t *data);

/* The metric called NAME, NULL if there is none. */
series_t *report_data_series(const report_data_t *data, const char *name);

/* Member KEY of OBJECT as a number, as an integer, or FALLBACK; as text, or "". */
double report_number(const json_t *object, const char *key, double fallback);
int64_t report_integer(const json_t *object, const char *key, int64_t fallback);
const char *report_text(const json_t *object, const char *key);

/* The answers of samples.jsonl: part of report_data_read. */
status_t report_answers_read(const char *path, report_data_t *data);
void report_answers_free(report_data_t *data);

#endif
