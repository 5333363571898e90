#include "eval/pope.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static const judge_metric_t metrics[POPE_METRICS] = {
    [POPE_TRUE_POSITIVE] = {.name = "pope/TP", .estimator = ESTIMATOR_COUNT},
    [POPE_FALSE_POSITIVE] = {.name = "pope/FP", .estimator = ESTIMATOR_COUNT},
    [POPE_TRUE_NEGATIVE] = {.name = "pope/TN", .estimator = ESTIMATOR_COUNT},
    [POPE_FALSE_NEGATIVE] = {.name = "pope/FN", .estimator = ESTIMATOR_COUNT},
    [POPE_ACCURACY] = {.name = "pope/accuracy", .estimator = ESTIMATOR_SHARE},
    [POPE_PRECISION] = {.name = "pope/precision", .estimator = ESTIMATOR_SHARE},
    [POPE_RECALL] = {.name = "pope/recall", .estimator = ESTIMATOR_SHARE},
    [POPE_F1] = {.name = "pope/f1", .estimator = ESTIMATOR_F1},
    [POPE_YES_RATIO] = {.name = "pope/yes_ratio", .estimator = ESTIMATOR_SHARE},
};

void pope_verdict(bool truth_is_yes, bool answer_is_yes, verdict_t *out) {
  const double truth = truth_is_yes, yes = answer_is_yes, found = truth * yes;
  out->counts[POPE_TRUE_POSITIVE] = (judge_count_t){found, 1.0};
  out->counts[POPE_FALSE_POSITIVE] = (judge_count_t){yes - found, 1.0};
  out->counts[POPE_TRUE_NEGATIVE] = (judge_count_t){truth_is_yes == answer_is_yes && !truth_is_yes, 1.0};
  out->counts[POPE_FALSE_NEGATIVE] = (judge_count_t){truth - found, 1.0};
  out->counts[POPE_ACCURACY] = (judge_count_t){truth_is_yes == answer_is_yes, 1.0};
  out->counts[POPE_PRECISION] = (judge_count_t){found, yes};
  out->counts[POPE_RECALL] = (judge_count_t){found, truth};
  out->counts[POPE_F1] = (judge_count_t){found, truth_is_yes || answer_is_yes};
  out->counts[POPE_YES_RATIO] = (judge_count_t){yes, 1.0};
}

/* STATE: for each row of the dataset whether "yes" is right; rank 0. */
static status_t pope_judge_answer(judge_t *judge, const answer_t *answer, json_writer_t *writer,
                                  verdict_t *out) {
  const bool *truth = judge->state;
  (void)writer;
  pope_verdict(truth[answer->row], pope_says_yes(text_view(answer->text)), out);
  return STATUS_OK;
}

static void pope_close(judge_t *judge) {
  memory_free(judge->state);
}

const judge_t pope_judge = {.metrics = metrics,
                            .metric_count = POPE_METRICS,
                            .score = JUDGE_NO_SCORE,
                            .judge = pope_judge_answer,
                            .close = pope_close};

/* ---- Labels ---- */

static status_t label_read(const json_element_t *element, const char *id, bool *yes) {
  char where[160];
  const char *label;
  snprintf(where, sizeof where, "POPE question '%.80s'", id);
  TRY(json_string(element->value, "label", where, &label));
  *yes = strcmp(label, "yes") == 0;
  if (*yes || strcmp(label, "no") == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: field 'label': found '%s', expected 'yes' or 'no'", where, label);
}

static status_t label_find(const questions_t *questions, json_reader_t *reader, const dataset_t *dataset,
                           int64_t row, bool *yes) {
  dataset_sample_t sample;
  json_element_t element;
  TRY(dataset_sample_read(dataset, row, &sample));
  status_code_t status = questions_find(questions, reader, row, sample.id.bytes, &element);
  if (status == STATUS_OK) status = label_read(&element, sample.id.bytes, yes);
  dataset_sample_free(&sample);
  return status;
}

static status_t labels_read(const questions_t *questions, const dataset_t *dataset, void **out) {
  json_reader_t *reader;
  bool *truth;
  int64_t rows = dataset_info(dataset).samples;
  TRY(memory_alloc(&truth, ARENA_DATA, (size_t)rows, sizeof *truth));
  *out = truth;
  TRY(json_reader_open(questions->json, JSON_ELEMENTS, &reader));
  status_code_t status = STATUS_OK;
  for (int64_t row = 0; row < rows && status == STATUS_OK; row++)
    status = label_find(questions, reader, dataset, row, &truth[row]);
  json_reader_close(reader);
  return status;
}

status_t pope_open(session_t *session, const questions_t *questions, judge_t *out) {
  dataset_t *dataset;
  *out = pope_judge;
  TRY(dataset_open(session->world, questions->dataset, &dataset));
  status_code_t status =
      comm_rank(session->world) == 0 ? labels_read(questions, dataset, &out->state) : STATUS_OK;
  dataset_close(dataset);
  return comm_agree(session->world, status);
}
