#include "eval/hallusion.h"

#include "base/memory.h"
#include "eval/groups.h"
#include "eval/yes_no.h"

#include <stdio.h>
#include <string.h>

static const judge_metric_t metrics[HALLUSION_METRICS] = {
    [HALLUSION_ALL] = {.name = "hallusion/accuracy", .estimator = ESTIMATOR_SHARE, .by_type = true},
    [HALLUSION_FIGURE] = {.name = "hallusion/figure_accuracy", .estimator = ESTIMATOR_SHARE, .by_type = true},
    [HALLUSION_PAIR] = {.name = "hallusion/pair_accuracy", .estimator = ESTIMATOR_SHARE, .by_type = true},
    [HALLUSION_HARD] = {.name = "hallusion/hard_accuracy", .estimator = ESTIMATOR_SHARE},
    [HALLUSION_EASY] = {.name = "hallusion/easy_accuracy", .estimator = ESTIMATOR_SHARE},
};

enum { TYPE_DEPENDENT, TYPE_SUPPLEMENT, TYPES };

typedef struct {
  yes_no_rule_t rule;
  char text[256];
  groups_t figures, pairs, edited;
} hallusion_t;

static const char *hallusion_type_name(int32_t type) {
  return type == TYPE_DEPENDENT ? "VD" : "VS";
}

static void groups_forget(hallusion_t *hallusion) {
  groups_free(&hallusion->figures);
  groups_free(&hallusion->pairs);
  groups_free(&hallusion->edited);
}

/* What a question says of itself. */
typedef struct {
  const char *category, *subcategory, *set, *figure, *question;
  bool yes; /* is right */
  bool figure_shown, original;
  int32_t type;
} place_t;

static status_t question_place(const answer_t *answer, place_t *out) {
  char where[160];
  const char *truth;
  snprintf(where, sizeof where, "HallusionBench question '%.80s'", answer->id);
  if (!answer->record)
    return error_set(STATUS_DATA,
                     "%s comes from a dataset, which has no answers; give HallusionBench.json itself", where);
  TRY(json_string(answer->record, "category", where, &out->category));
  TRY(json_string(answer->record, "subcategory", where, &out->subcategory));
  TRY(json_string(answer->record, "set_id", where, &out->set));
  TRY(json_string(answer->record, "figure_id", where, &out->figure));
  TRY(json_string(answer->record, "question_id", where, &out->question));
  TRY(json_string(answer->record, "gt_answer", where, &truth));
  out->type = strcmp(out->category, "VD") == 0 ? TYPE_DEPENDENT : TYPE_SUPPLEMENT;
  out->figure_shown = out->type == TYPE_DEPENDENT || strcmp(out->figure, "0") != 0;
  out->original = strcmp(out->figure, "0") == 0;
  out->yes = strcmp(truth, "1") == 0;
  if (out->type == TYPE_SUPPLEMENT && strcmp(out->category, "VS") != 0)
    return error_set(STATUS_DATA, "%s: field 'category': found '%.40s', expected 'VD' or 'VS'", where,
                     out->category);
  if (out->yes || strcmp(truth, "0") == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: field 'gt_answer': found '%.40s', expected '0' or '1'", where, truth);
}

static status_t hallusion_accept(const judge_t *judge, const answer_t *question) {
  place_t place;
  (void)judge;
  return question_place(question, &place);
}

/* A supplement's question without its figure may be left open: whoever does not know says so. */
static bool is_right(const place_t *place, says_t says) {
  if (says == SAYS_NEITHER) return !place->figure_shown;
  return (says == SAYS_YES) == place->yes;
}

/* A figure's questions count together, and so does a question with all figures, and with all edited ones. A
 * supplement's missing figure is none. */
static status_t places_add(hallusion_t *hallusion, const place_t *place, bool right) {
  char key[512];
  snprintf(key, sizeof key, "%s_%s_%s_%s", place->category, place->subcategory, place->set, place->figure);
  if (place->figure_shown) TRY(groups_add(&hallusion->figures, key, place->type, right));
  snprintf(key, sizeof key, "%s_%s_%s_%s", place->category, place->subcategory, place->set, place->question);
  if (!place->original) TRY(groups_add(&hallusion->edited, key, place->type, right));
  return groups_add(&hallusion->pairs, key, place->type, right);
}

static status_t hallusion_judge_answer(judge_t *judge, const answer_t *answer, json_writer_t *writer,
                                       verdict_t *out) {
  hallusion_t *hallusion = judge->state;
  place_t place;
  TRY(question_place(answer, &place));
  says_t says = yes_no_read(hallusion->rule, text_view(answer->text));
  bool right = is_right(&place, says);
  out->type = place.type;
  out->counts[HALLUSION_ALL] = (judge_count_t){right, 1.0};
  if (place.original) out->counts[HALLUSION_EASY] = (judge_count_t){right, 1.0};
  if (writer) json_write_member(writer, "read", says_name(says));
  return places_add(hallusion, &place, right);
}

static status_t hallusion_finish(judge_t *judge, tally_t *tally) {
  hallusion_t *hallusion = judge->state;
  groups_count(&hallusion->figures, tally, HALLUSION_FIGURE);
  groups_count(&hallusion->pairs, tally, HALLUSION_PAIR);
  groups_count(&hallusion->edited, tally, HALLUSION_HARD);
  groups_forget(hallusion);
  return STATUS_OK;
}

static void hallusion_close(judge_t *judge) {
  hallusion_t *hallusion = judge->state;
  if (hallusion) groups_forget(hallusion);
  memory_free(hallusion);
}

static status_t state_make(const settings_t *settings, judge_t *out) {
  hallusion_t *hallusion;
  TRY(memory_alloc(&hallusion, ARENA_OTHER, 1, sizeof *hallusion));
  out->state = hallusion;
  hallusion->rule = yes_no_choose(settings->eval.yes_no, YES_NO_WORDS);
  snprintf(hallusion->text, sizeof hallusion->text,
           "%s (the published script asks GPT-4); neither is right where a figure is wanted and not shown",
           yes_no_describe(hallusion->rule));
  out->rule = hallusion->text;
  return STATUS_OK;
}

status_t hallusion_open(session_t *session, judge_t *out) {
  *out = (judge_t){.metrics = metrics,
                   .metric_count = HALLUSION_METRICS,
                   .score = JUDGE_NO_SCORE,
                   .answer_key = "model_prediction",
                   .type_count = TYPES,
                   .type_name = hallusion_type_name,
                   .accept = hallusion_accept,
                   .judge = hallusion_judge_answer,
                   .finish = hallusion_finish,
                   .close = hallusion_close};
  return comm_agree(session->world, state_make(session->settings, out));
}
