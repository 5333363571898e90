#include "eval/judge.h"

#include "record/metric_table.h"

#include <stdio.h>
#include <string.h>

const char *judge_metric_key(const judge_metric_t *metric) {
  return strrchr(metric->name, '/') + 1;
}

int32_t judge_find_type(const judge_t *judge, const char *name) {
  for (int32_t t = 0; t < judge->type_count; t++)
    if (strcmp(judge->type_name(t), name) == 0) return t;
  return JUDGE_PASSES;
}

static status_t judge_unknown(const settings_t *settings, const judge_entry_t *judges, int32_t count) {
  char names[512] = "";
  for (int32_t j = 0; j < count; j++) {
    size_t used = strlen(names);
    snprintf(names + used, sizeof names - used, ", '%s'", judges[j].name);
  }
  return error_set(STATUS_INPUT, "eval.judge = '%s' is no judge of this build; expected one of 'none'%s",
                   settings->eval.judge, names);
}

status_t judge_choose(const settings_t *settings, const judge_entry_t *judges, int32_t count,
                      const judge_entry_t **out) {
  *out = NULL;
  if (strcmp(settings->eval.judge, "none") == 0) return STATUS_OK;
  for (int32_t j = 0; j < count; j++)
    if (strcmp(settings->eval.judge, judges[j].name) == 0) *out = &judges[j];
  return *out ? STATUS_OK : judge_unknown(settings, judges, count);
}

/* What a judge finds is shown as the table of metrics says. */
static status_t judge_check_metrics(const judge_t *judge, const char *name) {
  for (int32_t m = 0; m < judge->metric_count; m++)
    if (judge->metrics[m].estimator != ESTIMATOR_COUNT && !metric_find(judge->metrics[m].name))
      return error_set(STATUS_INTERNAL, "metric '%s' of judge '%s' has no row in record/metric_table.c",
                       judge->metrics[m].name, name);
  return STATUS_OK;
}

status_t judge_open(session_t *session, judge_t *out, bool *found) {
  const judge_entry_t *entry;
  *out = (judge_t){0};
  TRY(judge_choose(session->settings, session->judges, session->judge_count, &entry));
  *found = entry != NULL;
  if (!entry) return STATUS_OK;
  TRY(entry->open(session, out));
  return judge_check_metrics(out, entry->name);
}

void judge_close(judge_t *judge) {
  if (judge->close) judge->close(judge);
  *judge = (judge_t){0};
}
