#include "eval/pope.h"

#include "base/memory.h"
#include "eval/yes_no.h"

#include <stdio.h>
#include <string.h>

static const judge_metric_t metrics[CLASS_METRICS] = {
    [CLASS_TRUE_POSITIVE] = {.name = "pope/TP", .estimator = ESTIMATOR_COUNT},
    [CLASS_FALSE_POSITIVE] = {.name = "pope/FP", .estimator = ESTIMATOR_COUNT},
    [CLASS_TRUE_NEGATIVE] = {.name = "pope/TN", .estimator = ESTIMATOR_COUNT},
    [CLASS_FALSE_NEGATIVE] = {.name = "pope/FN", .estimator = ESTIMATOR_COUNT},
    [CLASS_UNREAD] = {.name = "pope/unread", .estimator = ESTIMATOR_COUNT},
    [CLASS_ACCURACY] = {.name = "pope/accuracy", .estimator = ESTIMATOR_SHARE},
    [CLASS_PRECISION] = {.name = "pope/precision", .estimator = ESTIMATOR_SHARE},
    [CLASS_RECALL] = {.name = "pope/recall", .estimator = ESTIMATOR_SHARE},
    [CLASS_F1] = {.name = "pope/f1", .estimator = ESTIMATOR_F1},
    [CLASS_RATIO] = {.name = "pope/yes_ratio", .estimator = ESTIMATOR_SHARE},
};

static status_t pope_truth(const answer_t *answer, bool *yes) {
  char where[160];
  const char *label;
  snprintf(where, sizeof where, "POPE question '%.80s'", answer->id);
  if (!answer->record)
    return error_set(STATUS_DATA,
                     "%s comes from a dataset, which has no labels; give the file of questions itself",
                     where);
  TRY(json_string(answer->record, "label", where, &label));
  *yes = strcmp(label, "yes") == 0;
  if (*yes || strcmp(label, "no") == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: field 'label': found '%s', expected 'yes' or 'no'", where, label);
}

static status_t pope_accept(const judge_t *judge, const answer_t *question) {
  bool yes;
  (void)judge;
  return pope_truth(question, &yes);
}

/* STATE: the rule. */
static status_t pope_judge_answer(judge_t *judge, const answer_t *answer, json_writer_t *writer,
                                  verdict_t *out) {
  const yes_no_rule_t *rule = judge->state;
  bool yes;
  TRY(pope_truth(answer, &yes));
  says_t says = yes_no_read(*rule, text_view(answer->text));
  classes_count(yes,
                says == SAYS_NEITHER ? CLASS_NEITHER
                : says == SAYS_YES   ? CLASS_POSITIVE
                                     : CLASS_NEGATIVE,
                out);
  if (writer) json_write_member(writer, "read", says_name(says));
  return STATUS_OK;
}

static void pope_close(judge_t *judge) {
  memory_free(judge->state);
}

const judge_t pope_judge = {.metrics = metrics,
                            .metric_count = CLASS_METRICS,
                            .score = JUDGE_NO_SCORE,
                            .accept = pope_accept,
                            .judge = pope_judge_answer,
                            .close = pope_close};

static status_t rule_take(const settings_t *settings, judge_t *out) {
  yes_no_rule_t *rule;
  TRY(memory_alloc(&rule, ARENA_OTHER, 1, sizeof *rule));
  *rule = yes_no_choose(settings->eval.yes_no, YES_NO_SENTENCE);
  out->state = rule;
  out->rule = yes_no_describe(*rule);
  return STATUS_OK;
}

status_t pope_open(session_t *session, judge_t *out) {
  *out = pope_judge;
  return comm_agree(session->world, rule_take(session->settings, out));
}
