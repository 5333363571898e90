#include "eval/mmhal.h"

#include "base/log.h"
#include "base/memory.h"
#include "eval/requests.h"
#include "text/answers.h"

#include <stdio.h>
#include <stdlib.h>

static const judge_metric_t metrics[MMHAL_METRICS] = {
    [MMHAL_SCORE] = {.name = "mmhal/score", .estimator = ESTIMATOR_MEAN, .by_type = true},
    [MMHAL_HALLUCINATION] = {.name = "mmhal/hallucination", .estimator = ESTIMATOR_SHARE, .by_type = true},
    [MMHAL_UNREAD] = {.name = "mmhal/unread", .estimator = ESTIMATOR_COUNT},
};

static const char builtin[] =
    "An AI assistant was asked a question about an image. You do not see the image. You are told what it "
    "shows, "
    "and what a person who sees it has answered.\n"
    "\n"
    "Judge whether the assistant's answer claims anything about the image that neither these contents nor "
    "the "
    "person's answer support (it hallucinates), and how much of what was asked it tells. General knowledge, "
    "reasonable conclusions and opinions are no hallucination. An answer that says that something asked "
    "about "
    "is not in the image is right where it is not.\n"
    "\n"
    "Contents of the image: {context}\n"
    "\n"
    "Question: {question}\n"
    "\n"
    "Answer of a person: {reference}\n"
    "\n"
    "Answer of the assistant: {answer}\n"
    "\n"
    "First give your reasons in a few sentences. Then end with one line 'Rating: ' and one of these "
    "numbers:\n"
    "6: no hallucination, very informative, with analysis or reasons\n"
    "5: no hallucination, very informative\n"
    "4: no hallucination, somewhat informative\n"
    "3: no hallucination, not informative\n"
    "2: some hallucination, very informative\n"
    "1: some hallucination, somewhat informative\n"
    "0: some hallucination, not informative\n";

const char *mmhal_type_name(int32_t type) {
  static const char *const names[MMHAL_TYPES] = {"attribute", "adversarial", "comparison", "counting",
                                                 "relation",  "environment", "holistic",   "other"};
  return names[type];
}

/* ---- Asking ---- */

/* The template filled in for ANSWER; NULL: only looks whether all is there. */
static status_t mmhal_fill(const char *template, const answer_t *answer, text_buffer_t *prompt) {
  SCOPED(text_buffer_free) text_buffer_t contents = {0};
  const json_t *list;
  char where[160];
  const char *slots[SLOTS] = {[SLOT_ANSWER] = answer->text};
  snprintf(where, sizeof where, "MMHal-Bench question '%.80s'", answer->id);
  if (!answer->record)
    return error_set(
        STATUS_DATA,
        "%s comes from a dataset, which has no contents of images; give the benchmark's JSON itself", where);
  TRY(json_string(answer->record, "question", where, &slots[SLOT_QUESTION]));
  TRY(json_string(answer->record, "gt_answer", where, &slots[SLOT_REFERENCE]));
  TRY(json_array(answer->record, "image_content", where, &list));
  TRY(prompt_join(list, "image_content", where, ", ", &contents));
  slots[SLOT_CONTEXT] = contents.bytes;
  return template ? prompt_fill(template, slots, prompt) : STATUS_OK;
}

static status_t mmhal_accept(const judge_t *judge, const answer_t *question) {
  (void)judge;
  return mmhal_fill(NULL, question, NULL);
}

/* STATE: the template. */
static status_t mmhal_ask(judge_t *judge, const answer_t *answer, const char **system, text_buffer_t *prompt,
                          int32_t *type) {
  (void)system;
  *type = (int32_t)(strtoll(answer->id, NULL, 10) % MMHAL_TYPES); /* the id is the place in the file */
  return mmhal_fill(judge->state, answer, prompt);
}

/* ---- Hearing ---- */

static status_t mmhal_hear(judge_t *judge, const reply_t *reply, verdict_t *out) {
  bool found;
  int32_t rating = mmhal_rating(text_view(reply->text), &found);
  out->type = reply->type ? judge_find_type(judge, reply->type) : (int32_t)(reply->index % MMHAL_TYPES);
  if (out->type == JUDGE_PASSES)
    return error_set(STATUS_DATA, "%s: found the type '%.60s', expected one of MMHal-Bench's", reply->where,
                     reply->type);
  if (!found) log_warning("%s: found no single 'rating: 0..6'; it counts as 0", reply->where);
  out->counts[MMHAL_SCORE] = (judge_count_t){rating, 1.0};
  out->counts[MMHAL_HALLUCINATION] = (judge_count_t){rating < MMHAL_HONEST, 1.0};
  out->counts[MMHAL_UNREAD] = (judge_count_t){!found, 1.0};
  return STATUS_OK;
}

static void mmhal_close(judge_t *judge) {
  memory_free(judge->state);
}

const judge_t mmhal_judge = {
    .answer_key = "model_answer",
    .metrics = metrics,
    .metric_count = MMHAL_METRICS,
    .score = JUDGE_NO_SCORE,
    .type_count = MMHAL_TYPES,
    .type_name = mmhal_type_name,
    .rule = "a reply rates by the one 'Rating: 0..6' in it, else 0; below 3 hallucinates",
    .accept = mmhal_accept,
    .ask = mmhal_ask,
    .hear = mmhal_hear,
    .close = mmhal_close};

static status_t mmhal_read(const settings_t *settings, judge_t *out) {
  char *template = NULL;
  status_code_t status = prompt_take(settings->eval.judge_prompt, builtin, &template);
  out->state = template;
  return status;
}

status_t mmhal_open(session_t *session, judge_t *out) {
  *out = mmhal_judge;
  return comm_agree(session->world,
                    comm_rank(session->world) == 0 ? mmhal_read(session->settings, out) : STATUS_OK);
}
