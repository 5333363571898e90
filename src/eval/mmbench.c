#include "eval/mmbench.h"

#include "base/memory.h"
#include "eval/groups.h"
#include "text/lower_case.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const judge_metric_t metrics[MMBENCH_METRICS] = {
    [MMBENCH_ACCURACY] = {.name = "mmbench/accuracy", .estimator = ESTIMATOR_SHARE, .by_type = true},
    [MMBENCH_UNREAD] = {.name = "mmbench/unread", .estimator = ESTIMATOR_COUNT},
    [MMBENCH_CIRCULAR] = {.name = "mmbench/circular_accuracy", .estimator = ESTIMATOR_SHARE, .by_type = true},
};

/* The abilities of l2-category. */
static const char *const abilities[] = {"attribute_reasoning",
                                        "coarse_perception",
                                        "finegrained_perception (cross-instance)",
                                        "finegrained_perception (instance-level)",
                                        "logic_reasoning",
                                        "relation_reasoning",
                                        "other"};
enum { ABILITIES = sizeof abilities / sizeof *abilities };

static const char *mmbench_type_name(int32_t type) {
  return abilities[type];
}

/* ---- Matching ---- */

enum { LETTER_WORDS = 4 /* the last words, which an option's letter must be among */ };

/* Bytes of the character at AT, where it parts words; else 0. */
static size_t gap_at(text_view_t text, size_t at) {
  uint32_t character;
  size_t length = utf8_decode((const unsigned char *)text.bytes + at, text.n - at, &character);
  if (length == 0) return 0;
  bool mark = length == 1 && character != 0 && strchr(".()[],:;!*#{}", (int)character);
  return mark || text_is_space(character) ? length : 0;
}

/* The next word of TEXT at or behind *AT; empty at the end. */
static text_view_t word_next(text_view_t text, size_t *at) {
  for (size_t gap; *at < text.n && (gap = gap_at(text, *at)) > 0;)
    *at += gap;
  size_t begin = *at;
  while (*at < text.n && gap_at(text, *at) == 0)
    ++*at;
  return text_slice(text, begin, *at);
}

/* The words of an answer. */
typedef struct {
  int count;
  unsigned options; /* whose letters are among them: bits */
  int first;        /* place of the first such letter, from 0 */
  bool has_z;       /* the letter Z is, which stands for no option */
} answer_words_t;

static answer_words_t words_look(text_view_t answer, int32_t options) {
  answer_words_t words = {0};
  size_t at = 0;
  for (text_view_t word; (word = word_next(answer, &at)).n > 0; words.count++) {
    int32_t option = word.n == 1 ? word.bytes[0] - 'A' : MMBENCH_NO_OPTION;
    words.has_z = words.has_z || option == 'Z' - 'A';
    if (option < 0 || option >= options) continue;
    if (words.options == 0) words.first = words.count;
    words.options |= 1u << option;
  }
  return words;
}

/* The published list. */
static bool has_refusal(text_view_t answer) {
  static const char *const refusals[] = {
      "Sorry, I can't help with images of people yet.", "I can't process this file.",
      "I'm sorry, but without the image provided", "Cannot determine the answer"};
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
    if (text_contains(answer, refusals[i])) return true;
  return false;
}

static size_t character_count(text_view_t text) {
  size_t count = 0;
  for (size_t i = 0; i < text.n; i++)
    count += (text.bytes[i] & 0xC0) != 0x80;
  return count;
}

/* *OCCURS: TEXT, in lower case, has OPTION in it, in any case. */
static status_t option_look(text_view_t text, const char *option, bool *occurs) {
  SCOPED(text_buffer_free) text_buffer_t lower = {0};
  TRY(lower_case_append(text_view(option), &lower));
  *occurs = text_contains(text, lower.bytes);
  return STATUS_OK;
}

static status_t text_match(const mmbench_options_t *options, text_view_t answer, int32_t *out) {
  SCOPED(text_buffer_free) text_buffer_t lower = {0};
  size_t all = 0;
  int32_t found = MMBENCH_NO_OPTION, count = 0;
  *out = MMBENCH_NO_OPTION;
  TRY(lower_case_append(answer, &lower));
  for (int32_t i = 0; i < options->count; i++)
    all += character_count(text_view(options->text[i]));
  if (character_count(text_buffer_view(&lower)) > 2 * all) return STATUS_OK;
  for (int32_t i = 0; i < options->count; i++) {
    bool occurs;
    TRY(option_look(text_buffer_view(&lower), options->text[i], &occurs));
    if (occurs) found = i;
    count += occurs;
  }
  if (count == 1) *out = found;
  return STATUS_OK;
}

status_t mmbench_match(const mmbench_options_t *options, text_view_t answer, int32_t *out) {
  answer_words_t words = words_look(answer, options->count);
  bool one = words.options != 0 && (words.options & (words.options - 1)) == 0;
  *out = MMBENCH_REFUSED;
  if (has_refusal(answer) || (words.options == 0 && words.has_z)) return STATUS_OK;
  if (!one || words.first < words.count - LETTER_WORDS) return text_match(options, answer, out);
  *out = __builtin_ctz(words.options);
  return STATUS_OK;
}

/* ---- Judging ---- */

typedef struct {
  mmbench_options_t options;
  int32_t right;
  int64_t index;
  int32_t type;
} mmbench_question_t;

static status_t index_of(const answer_t *answer, const char *where, int64_t *index) {
  const json_t *member = json_get(answer->record, "index");
  if (member && member->type == JSON_STRING) {
    char *end;
    *index = strtoll(member->u.string, &end, 10);
    if (*member->u.string && !*end) return STATUS_OK;
  }
  return json_int(answer->record, "index", where, index);
}

static int32_t ability_of(const json_t *record) {
  const json_t *member = json_get(record, "l2-category");
  for (int32_t t = 0; member && member->type == JSON_STRING && t < ABILITIES - 1; t++)
    if (strcmp(abilities[t], member->u.string) == 0) return t;
  return ABILITIES - 1;
}

static status_t mmbench_question(const answer_t *answer, mmbench_question_t *out) {
  char where[160];
  const char *truth;
  snprintf(where, sizeof where, "MMBench question '%.80s'", answer->id);
  if (!answer->record)
    return error_set(STATUS_DATA, "%s comes from a dataset, which has no options; give the table itself",
                     where);
  TRY(index_of(answer, where, &out->index));
  TRY(mmbench_options(answer->record, where, &out->options));
  out->type = ability_of(answer->record);
  if (!json_get(answer->record, "answer"))
    return error_set(STATUS_DATA,
                     "%s has no column 'answer': questions of the test split are judged by MMBench's server",
                     where);
  TRY(json_string(answer->record, "answer", where, &truth));
  out->right = truth[0] - 'A';
  if (strlen(truth) == 1 && out->right >= 0 && out->right < out->options.count) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: column 'answer': found '%.40s', expected the letter of an option", where,
                   truth);
}

static status_t mmbench_accept(const judge_t *judge, const answer_t *question) {
  mmbench_question_t read;
  (void)judge;
  return mmbench_question(question, &read);
}

/* Of a refusal the published script says Z. */
static void read_write(json_writer_t *writer, int32_t given) {
  const char letter[] = {given == MMBENCH_REFUSED ? 'Z' : (char)('A' + given), '\0'};
  json_write_member(writer, "read", given == MMBENCH_NO_OPTION ? "neither" : letter);
}

/* STATE: the groups of circular evaluation. */
static status_t mmbench_judge_answer(judge_t *judge, const answer_t *answer, json_writer_t *writer,
                                     verdict_t *out) {
  mmbench_question_t question;
  char key[32];
  int32_t given;
  TRY(mmbench_question(answer, &question));
  TRY(mmbench_match(&question.options, text_view(answer->text), &given));
  bool right = given == question.right;
  out->type = question.type;
  out->counts[MMBENCH_ACCURACY] = (judge_count_t){right, 1.0};
  out->counts[MMBENCH_UNREAD] = (judge_count_t){given == MMBENCH_NO_OPTION, 1.0};
  if (writer) read_write(writer, given);
  snprintf(key, sizeof key, "%" PRId64, question.index % MMBENCH_ROUND);
  return groups_add(judge->state, key, question.type, right);
}

/* Without copies there is no circular accuracy to tell. */
static status_t mmbench_finish(judge_t *judge, tally_t *tally) {
  if (groups_any(judge->state)) {
    judge->metric_count = MMBENCH_METRICS;
    groups_count(judge->state, tally, MMBENCH_CIRCULAR);
  }
  groups_free(judge->state);
  return STATUS_OK;
}

static void mmbench_close(judge_t *judge) {
  if (judge->state) groups_free(judge->state);
  memory_free(judge->state);
}

status_t mmbench_open(session_t *session, judge_t *out) {
  groups_t *groups = NULL;
  *out =
      (judge_t){.metrics = metrics,
                .metric_count = MMBENCH_CIRCULAR,
                .score = JUDGE_NO_SCORE,
                .answer_key = "prediction",
                .truth_key = "answer",
                .type_count = ABILITIES,
                .type_name = mmbench_type_name,
                .rule = "exact matching: an answer gives the option whose letter is the only one among its "
                        "words, and among its last four, or whose text is the only one in it; others are "
                        "wrong",
                .accept = mmbench_accept,
                .judge = mmbench_judge_answer,
                .finish = mmbench_finish,
                .close = mmbench_close};
  status_code_t status = memory_alloc(&groups, ARENA_OTHER, 1, sizeof *groups);
  out->state = groups;
  return comm_agree(session->world, status);
}
