/* The table of all metrics: the only place where a metric's name, unit and meaning exist. Screen, report,
 * TensorBoard and docs/metrics.md come from it. */
#ifndef RECORD_METRIC_TABLE_H
#define RECORD_METRIC_TABLE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { BETTER_NEITHER, BETTER_UP, BETTER_DOWN } better_t;
typedef enum { METRIC_NUMBER, METRIC_SHARE /* 0..1, shown in percent */, METRIC_SECONDS } metric_format_t;

typedef struct {
  const char *section; /* of the report */
  const char *title;
  const char *note; /* what is drawn, in a few words */
  bool logarithmic; /* starts with a logarithmic axis where its values allow one */
} chart_t;

typedef struct {
  const char *name;  /* "ppo/loss/policy": in metrics.jsonl; of evaluation.json the key after the last '/' */
  const char *title; /* for people */
  const char *unit;  /* NULL where there is none */
  better_t better;
  metric_format_t format;
  const char *label;   /* short, on the screen; NULL: not there */
  const char *chart;   /* title of the chart it is drawn in; NULL: one of its own, below the others */
  const char *line;    /* its name in that chart's legend; NULL: its title */
  bool key;            /* one of the key figures that the report begins with */
  bool compared;       /* a row of the tables of task evaluate */
  const char *meaning; /* whole sentences, with the source of the formula */
} metric_t;

/* Metrics of one kind: those whose names begin with PREFIX. */
typedef struct {
  const char *prefix, *title;
} metric_group_t;

/* All metrics, those of a group together; *COUNT of them. On the screen they stand in this order. */
const metric_t *metric_table(int *count);
const metric_group_t *metric_groups(int *count);

/* Of the report, in its order. */
const chart_t *metric_charts(int *count);

/* The row of NAME, NULL where there is none. */
const metric_t *metric_find(const char *name);

/* "up", "down", "neither". */
const char *better_name(better_t better);

#endif
