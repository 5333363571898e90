/* Pieces of report.html, written to FILE one after the other; errors are the file's (ferror). Inside the
 * report's files only. */
#ifndef RUN_REPORT_PAGE_H
#define RUN_REPORT_PAGE_H

#include "run/report_data.h"

#include <stdio.h>

enum { NUMBER_TEXT_MAX = 32 };

/* TEXT with what HTML would misread escaped. */
void html_text(FILE *file, const char *text);

/* VALUE for people, four digits at most: "0.0123", "12.3k", "2e-5". */
void number_text(double value, char text[NUMBER_TEXT_MAX]);
/* VALUE, not 0, with an exponent: "1.5e-5". */
void tiny_text(double value, char text[NUMBER_TEXT_MAX]);
/* The same, as a percentage: "12.3 %". */
void percent_text(double value, char text[NUMBER_TEXT_MAX]);
/* SECONDS for people: "3 min 20 s". */
void duration_text(double seconds, char text[NUMBER_TEXT_MAX]);

/* The style sheet, without its tags. */
void report_style(FILE *file);

/* A line chart of metrics over steps. */
enum { CHART_LINES_MAX = 3 };
typedef struct {
  const char *title, *note; /* NOTE may be NULL */
  bool percent;
  int32_t count;
  const char *labels[CHART_LINES_MAX]; /* of the lines; not shown where there is one */
  const series_t *lines[CHART_LINES_MAX];
} chart_t;
void chart_write(FILE *file, const chart_t *chart);

/* All charts that DATA has something for, in sections; marks their series as shown. */
void report_charts(FILE *file, report_data_t *data);
/* The key figures of a task: what changed between the run's beginning and end. */
void report_tiles(FILE *file, const report_data_t *data);
/* Where the time went. */
void report_times(FILE *file, const report_data_t *data);
/* evaluation.json: models side by side. */
void report_evaluation(FILE *file, const report_data_t *data);
/* Sample answers beside their images. */
void report_samples(FILE *file, const report_data_t *data);

#endif
