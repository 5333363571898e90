/* The outcome of task evaluate, as a table for people and as JSON. */
#ifndef EVAL_COMPARISON_H
#define EVAL_COMPARISON_H

#include "eval/mmhal.h"
#include "eval/pope.h"
#include "io/json.h"
#include "shapes/judge.h"

#include <stdbool.h>

/* One model. */
typedef struct {
  const char *model;
  int64_t questions, dropped;
  judge_table_t judged;
  pope_counts_t pope;
} column_t;

typedef struct {
  column_t *columns; /* (count) */
  int64_t count;
  bool judged, has_pope, has_replies;
  mmhal_counts_t replies;
} comparison_t;

/* Logs the table. Local. */
void comparison_log(const comparison_t *comparison);

/* Writes it as one JSON object. Local. */
void comparison_write(const comparison_t *comparison, json_writer_t *writer);

#endif
