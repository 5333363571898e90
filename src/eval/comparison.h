/* The outcome of task evaluate, as a table for people and as JSON. */
#ifndef EVAL_COMPARISON_H
#define EVAL_COMPARISON_H

#include "eval/tally.h"

/* Judges of one comparison: that of eval.judge and POPE. */
enum { COMPARISON_JUDGES_MAX = 2 };

/* One model. */
typedef struct {
  const char *model;
  int64_t questions, dropped;
  tally_t tallies[COMPARISON_JUDGES_MAX]; /* by judge */
} column_t;

typedef struct {
  column_t *columns; /* (count) */
  int64_t count;
  const judge_t *judges[COMPARISON_JUDGES_MAX]; /* (judge_count) */
  int32_t judge_count;
} comparison_t;

/* Logs the table, whose rows are called as the table of metrics says (record/metric_table.h). Local. */
void comparison_log(const comparison_t *comparison);

/* Writes it as one JSON object: in that of a model the metrics of a judge, "eval/..." directly, others in an
 * object that is called as their prefix. Local. */
void comparison_write(const comparison_t *comparison, json_writer_t *writer);

#endif
