#include "eval/llava_bench.h"

#include "base/log.h"
#include "base/memory.h"
#include "eval/lookup.h"
#include "eval/requests.h"
#include "io/json_elements.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const judge_metric_t metrics[LLAVA_BENCH_METRICS] = {
    [LLAVA_BENCH_RELATIVE] = {.name = "llava_bench/relative_score",
                              .estimator = ESTIMATOR_QUOTIENT,
                              .by_type = true},
    [LLAVA_BENCH_MODEL] = {.name = "llava_bench/model_score", .estimator = ESTIMATOR_MEAN},
    [LLAVA_BENCH_REFERENCE] = {.name = "llava_bench/reference_score", .estimator = ESTIMATOR_MEAN},
    [LLAVA_BENCH_UNREAD] = {.name = "llava_bench/unread", .estimator = ESTIMATOR_COUNT},
};

static const char builtin_system[] =
    "You compare the quality of two answers to a question, carefully and without preference.";

static const char builtin[] =
    "What an image shows:\n"
    "{context}\n"
    "\n"
    "A question about it:\n"
    "{question}\n"
    "\n"
    "Answer 1:\n"
    "{reference}\n"
    "\n"
    "Answer 2:\n"
    "{answer}\n"
    "\n"
    "Rate how helpful, relevant, accurate and detailed each answer is, with a number from 1 to 10 for each; "
    "more "
    "is better. The first line of your reply must hold only the two numbers, that of answer 1 first, with a "
    "space between. Below it explain them. Do not let the order of the answers influence you.\n";

enum { TYPES = 3 };

static const char *llava_bench_type_name(int32_t type) {
  static const char *const names[TYPES] = {"conv", "detail", "complex"};
  return names[type];
}

typedef struct {
  char *template;
  lookup_t contexts, references; /* by image; by question */
} llava_bench_t;

/* ---- What the images show, and the references ---- */

/* "person: [0.1, 0.2, 0.3, 0.4]" */
static status_t instance_append(const json_t *instance, const char *where, text_buffer_t *out) {
  const char *category;
  const json_t *box;
  char number[32];
  TRY(json_string(instance, "category", where, &category));
  TRY(json_array(instance, "bbox", where, &box));
  TRY(text_buffer_append_string(out, "\n"));
  TRY(text_buffer_append_string(out, category));
  TRY(text_buffer_append_string(out, ": ["));
  for (const json_t *item = box->u.first; item; item = item->next) {
    double value = item->type == JSON_INT ? (double)item->u.integer : item->u.real;
    if (item->type != JSON_INT && item->type != JSON_REAL)
      return error_set(STATUS_DATA, "%s: field 'bbox': found %s, expected numbers", where,
                       json_type_name(item->type));
    snprintf(number, sizeof number, "%s%.6g", item == box->u.first ? "" : ", ", value);
    TRY(text_buffer_append_string(out, number));
  }
  return text_buffer_append_string(out, "]");
}

static status_t context_read(void *context, const json_element_t *element, const char *where) {
  SCOPED(text_buffer_free) text_buffer_t text = {0};
  const json_t *captions, *instances;
  const char *image;
  TRY(json_string(element->value, "image", where, &image));
  TRY(json_array(element->value, "captions", where, &captions));
  TRY(prompt_join(captions, "captions", where, "\n", &text));
  TRY(json_array(element->value, "instances", where, &instances));
  if (instances->count > 0) TRY(text_buffer_append_string(&text, "\n"));
  for (const json_t *instance = instances->u.first; instance; instance = instance->next)
    TRY(instance_append(instance, where, &text));
  return lookup_add(context, image, text.n > 0 ? text.bytes : "");
}

static status_t reference_read(void *context, const json_element_t *element, const char *where) {
  const json_t *id = json_get(element->value, "question_id");
  const char *text;
  char key[32];
  TRY(json_string(element->value, "text", where, &text));
  if (id && id->type == JSON_STRING) return lookup_add(context, id->u.string, text);
  int64_t number;
  TRY(json_int(element->value, "question_id", where, &number));
  snprintf(key, sizeof key, "%" PRId64, number);
  return lookup_add(context, key, text);
}

/* ---- Asking ---- */

/* The template filled in for ANSWER; PROMPT NULL: only looks whether all is there. */
static status_t llava_bench_fill(const judge_t *judge, const answer_t *answer, text_buffer_t *prompt,
                                 int32_t *type) {
  const llava_bench_t *bench = judge->state;
  const char *category;
  const char *slots[SLOTS] = {[SLOT_QUESTION] = answer->question, [SLOT_ANSWER] = answer->text};
  char where[160];
  snprintf(where, sizeof where, "LLaVA-Bench question '%.80s'", answer->id);
  if (!answer->record)
    return error_set(STATUS_DATA,
                     "%s comes from a dataset, which has no categories; give the file of questions", where);
  TRY(json_string(answer->record, "category", where, &category));
  *type = judge_find_type(judge, category);
  if (*type == JUDGE_PASSES)
    return error_set(STATUS_DATA,
                     "%s: field 'category': found '%.40s', expected 'conv', 'detail' or 'complex'", where,
                     category);
  slots[SLOT_REFERENCE] = lookup_find(&bench->references, answer->id);
  slots[SLOT_CONTEXT] = answer->image ? lookup_find(&bench->contexts, answer->image) : "";
  if (!slots[SLOT_REFERENCE]) return error_set(STATUS_DATA, "%s: eval.reference has no answer to it", where);
  if (!slots[SLOT_CONTEXT])
    return error_set(STATUS_DATA, "%s: eval.annotations tell nothing of its image '%.200s'", where,
                     answer->image);
  return prompt ? prompt_fill(bench->template, slots, prompt) : STATUS_OK;
}

static status_t llava_bench_accept(const judge_t *judge, const answer_t *question) {
  int32_t type;
  return llava_bench_fill(judge, question, NULL, &type);
}

static status_t llava_bench_ask(judge_t *judge, const answer_t *answer, const char **system,
                                text_buffer_t *prompt, int32_t *type) {
  *system = builtin_system;
  return llava_bench_fill(judge, answer, prompt, type);
}

/* ---- Hearing ---- */

/* What the prompt asks for, a scale of 1 to 10: other numbers are no scores. */
static bool is_on_scale(double score) {
  return score >= 1.0 && score <= 10.0;
}

bool llava_bench_scores(const char *reply, double scores[2]) {
  char line[64];
  const char *at = line;
  snprintf(line, sizeof line, "%.*s", (int)strcspn(reply, "\r\n"), reply);
  for (int i = 0; i < 2; i++) {
    char *end;
    at += strspn(at, ", ");
    scores[i] = strtod(at, &end);
    if (end != at + strspn(at, "0123456789.") || !is_on_scale(scores[i])) return false;
    at = end;
    if (i == 0 && *at != ' ' && *at != ',') return false;
  }
  return at[strspn(at, " ")] == '\0';
}

/* As reviews have them; there -1 stands for what could not be read. */
static bool scores_take(const json_t *list, double scores[2]) {
  const json_t *item = list->u.first;
  for (int i = 0; i < 2; i++, item = item->next) {
    if (!item || (item->type != JSON_INT && item->type != JSON_REAL)) return false;
    scores[i] = item->type == JSON_INT ? (double)item->u.integer : item->u.real;
    if (!is_on_scale(scores[i])) return false;
  }
  return item == NULL;
}

static status_t llava_bench_hear(judge_t *judge, const reply_t *reply, verdict_t *out) {
  double scores[2];
  bool found = reply->scores ? scores_take(reply->scores, scores) : llava_bench_scores(reply->text, scores);
  out->type = reply->type ? judge_find_type(judge, reply->type) : JUDGE_PASSES;
  if (out->type == JUDGE_PASSES)
    return error_set(
        STATUS_DATA,
        "%s: found the category '%.60s', expected 'conv', 'detail' or 'complex', as custom_id of a "
        "batch's results begins or as reviews have it",
        reply->where, reply->type ? reply->type : "");
  out->counts[LLAVA_BENCH_UNREAD] = (judge_count_t){!found, 1.0};
  if (!found)
    log_warning("%s: found no two scores of 1 to 10 on the first line; it does not count", reply->where);
  if (!found) return STATUS_OK;
  out->counts[LLAVA_BENCH_RELATIVE] = (judge_count_t){scores[1], scores[0]};
  out->counts[LLAVA_BENCH_MODEL] = (judge_count_t){scores[1], 1.0};
  out->counts[LLAVA_BENCH_REFERENCE] = (judge_count_t){scores[0], 1.0};
  return STATUS_OK;
}

/* ---- Opening ---- */

static void llava_bench_close(judge_t *judge) {
  llava_bench_t *bench = judge->state;
  if (!bench) return;
  lookup_free(&bench->contexts);
  lookup_free(&bench->references);
  memory_free(bench->template);
  memory_free(bench);
}

const judge_t llava_bench_judge = {.metrics = metrics,
                                   .metric_count = LLAVA_BENCH_METRICS,
                                   .score = JUDGE_NO_SCORE,
                                   .type_count = TYPES,
                                   .type_name = llava_bench_type_name,
                                   .rule = "a reply scores by the two numbers of 1 to 10 on its first line, "
                                           "the reference's first; others do not count",
                                   .accept = llava_bench_accept,
                                   .ask = llava_bench_ask,
                                   .hear = llava_bench_hear,
                                   .close = llava_bench_close};

static status_t llava_bench_read(const settings_t *settings, judge_t *out) {
  llava_bench_t *bench;
  TRY(memory_alloc(&bench, ARENA_OTHER, 1, sizeof *bench));
  out->state = bench;
  if (settings->eval.replies.count > 0) return STATUS_OK;
  if (settings->eval.annotations.count != 1 || !*settings->eval.reference)
    return error_set(STATUS_INPUT,
                     "eval.judge = 'llava_bench' needs eval.reference, the answers that it compares "
                     "with, and eval.annotations, what the images show (or eval.replies)");
  TRY(prompt_take(settings->eval.judge_prompt, builtin, &bench->template));
  TRY(json_elements_visit(settings->eval.annotations.items[0], context_read, &bench->contexts));
  TRY(json_elements_visit(settings->eval.reference, reference_read, &bench->references));
  lookup_sort(&bench->contexts);
  lookup_sort(&bench->references);
  return STATUS_OK;
}

status_t llava_bench_open(session_t *session, judge_t *out) {
  *out = llava_bench_judge;
  return comm_agree(session->world,
                    comm_rank(session->world) == 0 ? llava_bench_read(session->settings, out) : STATUS_OK);
}
