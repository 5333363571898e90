#include "eval/amber.h"

#include "base/memory.h"
#include "eval/lookup.h"
#include "eval/tally.h"
#include "eval/yes_no.h"
#include "io/json_elements.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const judge_metric_t metrics[CLASS_METRICS] = {
    [CLASS_TRUE_POSITIVE] = {.name = "amber/TP", .estimator = ESTIMATOR_COUNT},
    [CLASS_FALSE_POSITIVE] = {.name = "amber/FP", .estimator = ESTIMATOR_COUNT},
    [CLASS_TRUE_NEGATIVE] = {.name = "amber/TN", .estimator = ESTIMATOR_COUNT},
    [CLASS_FALSE_NEGATIVE] = {.name = "amber/FN", .estimator = ESTIMATOR_COUNT},
    [CLASS_UNREAD] = {.name = "amber/unread", .estimator = ESTIMATOR_COUNT},
    [CLASS_ACCURACY] = {.name = "amber/accuracy", .estimator = ESTIMATOR_SHARE, .by_type = true},
    [CLASS_PRECISION] = {.name = "amber/precision", .estimator = ESTIMATOR_SHARE, .by_type = true},
    [CLASS_RECALL] = {.name = "amber/recall", .estimator = ESTIMATOR_SHARE, .by_type = true},
    [CLASS_F1] = {.name = "amber/f1", .estimator = ESTIMATOR_F1, .by_type = true},
    [CLASS_RATIO] = {.name = "amber/no_ratio", .estimator = ESTIMATOR_SHARE},
};

static const struct {
  const char *annotated, *name;
} types[AMBER_TYPES] = {
    [AMBER_EXISTENCE] = {"discriminative-hallucination", "existence"},
    [AMBER_ATTRIBUTE] = {"", "attribute"},
    [AMBER_STATE] = {"discriminative-attribute-state", "state"},
    [AMBER_NUMBER] = {"discriminative-attribute-number", "number"},
    [AMBER_ACTION] = {"discriminative-attribute-action", "action"},
    [AMBER_RELATION] = {"discriminative-relation", "relation"},
};

typedef struct {
  yes_no_rule_t rule;
  char text[256];  /* of the rule */
  lookup_t truths; /* id -> "TYPE yes", "TYPE no", "generative" */
} amber_t;

static const char *amber_type_name(int32_t type) {
  return types[type].name;
}

/* ---- Annotations ---- */

static int32_t type_find(const char *annotated) {
  for (int32_t t = 0; t < AMBER_TYPES; t++)
    if (strcmp(types[t].annotated, annotated) == 0) return t;
  return strcmp(annotated, "relation") == 0 ? AMBER_RELATION : JUDGE_PASSES;
}

static status_t annotation_read(void *context, const json_element_t *element, const char *where) {
  lookup_t *truths = context;
  int64_t id;
  const char *type, *truth;
  char key[32], value[64];
  TRY(json_int(element->value, "id", where, &id));
  TRY(json_string(element->value, "type", where, &type));
  snprintf(key, sizeof key, "%" PRId64, id);
  if (strcmp(type, "generative") == 0) return lookup_add(truths, key, "generative");
  TRY(json_string(element->value, "truth", where, &truth));
  int32_t number = type_find(type);
  if (number == JUDGE_PASSES)
    return error_set(STATUS_DATA, "%s: field 'type': found '%.60s', expected one of AMBER's", where, type);
  if (strcmp(truth, "yes") != 0 && strcmp(truth, "no") != 0)
    return error_set(STATUS_DATA, "%s: field 'truth': found '%.60s', expected 'yes' or 'no'", where, truth);
  snprintf(value, sizeof value, "%d %s", number, truth);
  return lookup_add(truths, key, value);
}

/* ---- Judging ---- */

/* *TYPE and *NO of the question; JUDGE_PASSES where it is generative. */
static status_t truth_find(const judge_t *judge, const answer_t *answer, int32_t *type, bool *no) {
  const amber_t *amber = judge->state;
  const char *truth = lookup_find(&amber->truths, answer->id);
  *type = JUDGE_PASSES;
  if (!truth)
    return error_set(STATUS_DATA, "AMBER question '%.80s': eval.annotations has no such id", answer->id);
  if (strcmp(truth, "generative") == 0) return STATUS_OK;
  *type = truth[0] - '0';
  *no = strcmp(truth + 2, "no") == 0;
  return STATUS_OK;
}

static status_t amber_accept(const judge_t *judge, const answer_t *question) {
  int32_t type;
  bool no;
  return truth_find(judge, question, &type, &no);
}

static status_t amber_judge_answer(judge_t *judge, const answer_t *answer, json_writer_t *writer,
                                   verdict_t *out) {
  const amber_t *amber = judge->state;
  bool no = false;
  TRY(truth_find(judge, answer, &out->type, &no));
  if (out->type == JUDGE_PASSES) return STATUS_OK;
  says_t says = yes_no_read(amber->rule, text_view(answer->text));
  classes_count(no,
                says == SAYS_NEITHER ? CLASS_NEITHER
                : says == SAYS_NO    ? CLASS_POSITIVE
                                     : CLASS_NEGATIVE,
                out);
  if (writer) json_write_member(writer, "read", says_name(says));
  return STATUS_OK;
}

static void sums_add(ratio_sums_t *sums, const ratio_sums_t *more) {
  sums->answers += more->answers;
  sums->parts += more->parts;
  sums->wholes += more->wholes;
  sums->parts_squared += more->parts_squared;
  sums->products += more->products;
  sums->wholes_squared += more->wholes_squared;
}

/* Attributes are states, numbers and actions. */
static status_t amber_finish(judge_t *judge, tally_t *tally) {
  (void)judge;
  for (int32_t t = AMBER_STATE; t <= AMBER_ACTION; t++) {
    tally->answers[AMBER_ATTRIBUTE] += tally->answers[t];
    for (int32_t m = 0; m < CLASS_METRICS; m++)
      sums_add(&tally->of_type[AMBER_ATTRIBUTE][m], &tally->of_type[t][m]);
  }
  return STATUS_OK;
}

/* ---- Opening ---- */

static void amber_close(judge_t *judge) {
  amber_t *amber = judge->state;
  if (amber) lookup_free(&amber->truths);
  memory_free(amber);
}

static status_t amber_read(const settings_t *settings, judge_t *out) {
  amber_t *amber;
  TRY(memory_alloc(&amber, ARENA_OTHER, 1, sizeof *amber));
  out->state = amber;
  amber->rule = yes_no_choose(settings->eval.yes_no, YES_NO_CAPITAL);
  snprintf(amber->text, sizeof amber->text, "%s; the positive class is no", yes_no_describe(amber->rule));
  out->rule = amber->text;
  if (settings->eval.annotations.count != 1)
    return error_set(STATUS_INPUT, "eval.judge = 'amber' needs eval.annotations: AMBER's annotations.json");
  TRY(json_elements_visit(settings->eval.annotations.items[0], annotation_read, &amber->truths));
  lookup_sort(&amber->truths);
  return STATUS_OK;
}

status_t amber_open(session_t *session, judge_t *out) {
  *out = (judge_t){.metrics = metrics,
                   .metric_count = CLASS_METRICS,
                   .score = JUDGE_NO_SCORE,
                   .answer_key = "response",
                   .type_count = AMBER_TYPES,
                   .type_name = amber_type_name,
                   .accept = amber_accept,
                   .judge = amber_judge_answer,
                   .finish = amber_finish,
                   .close = amber_close};
  return comm_agree(session->world,
                    comm_rank(session->world) == 0 ? amber_read(session->settings, out) : STATUS_OK);
}
