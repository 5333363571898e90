#include "eval/mmbench.h"

#include "base/memory.h"
#include "eval/groups.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const judge_metric_t metrics[MMBENCH_METRICS] = {
    [MMBENCH_ACCURACY] = {.name = "mmbench/accuracy", .estimator = ESTIMATOR_SHARE, .by_type = true},
    [MMBENCH_CIRCULAR] = {.name = "mmbench/circular_accuracy", .estimator = ESTIMATOR_SHARE, .by_type = true},
    [MMBENCH_UNREAD] = {.name = "mmbench/unread", .estimator = ESTIMATOR_COUNT},
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

static bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool parts_words(char c) {
  return is_blank(c) || (c != '\0' && strchr(".()[],:;!*#{}", c) != NULL);
}

/* The words of ANSWER: how many, and of which options the letter is among them (bits). */
static int words_look(text_view_t answer, int32_t count, unsigned *letters) {
  int words = 0;
  *letters = 0;
  for (size_t i = 0, begin; i < answer.n;) {
    while (i < answer.n && parts_words(answer.bytes[i]))
      i++;
    for (begin = i; i < answer.n && !parts_words(answer.bytes[i]);)
      i++;
    if (i == begin) break;
    words++;
    int32_t option = answer.bytes[begin] - 'A';
    if (i == begin + 1 && option >= 0 && option < count) *letters |= 1u << option;
  }
  return words;
}

/* The first place of WORD in TEXT, in any case of ASCII letters. */
static bool occurs(text_view_t text, const char *word) {
  size_t n = strlen(word);
  for (size_t i = 0; i + n <= text.n; i++)
    if (strncasecmp(text.bytes + i, word, n) == 0) return true;
  return false;
}

static int32_t text_match(const mmbench_options_t *options, text_view_t answer) {
  size_t all = 0;
  int32_t found = MMBENCH_NO_OPTION, count = 0;
  for (int32_t i = 0; i < options->count; i++)
    all += strlen(options->text[i]);
  if (answer.n > 2 * all) return MMBENCH_NO_OPTION;
  for (int32_t i = 0; i < options->count; i++) {
    if (!occurs(answer, options->text[i])) continue;
    found = i;
    count++;
  }
  return count == 1 ? found : MMBENCH_NO_OPTION;
}

int32_t mmbench_match(const mmbench_options_t *options, text_view_t answer) {
  unsigned letters;
  int words = words_look(answer, options->count, &letters);
  bool one = letters != 0 && (letters & (letters - 1)) == 0;
  bool article = letters == 1 && words > 3;
  return one && !article ? __builtin_ctz(letters) : text_match(options, answer);
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

/* STATE: the groups of circular evaluation. */
static status_t mmbench_judge_answer(judge_t *judge, const answer_t *answer, json_writer_t *writer,
                                     verdict_t *out) {
  mmbench_question_t question;
  char key[32], letter[2] = "";
  TRY(mmbench_question(answer, &question));
  int32_t given = mmbench_match(&question.options, text_view(answer->text));
  bool right = given == question.right;
  out->type = question.type;
  out->counts[MMBENCH_ACCURACY] = (judge_count_t){right, 1.0};
  out->counts[MMBENCH_UNREAD] = (judge_count_t){given == MMBENCH_NO_OPTION, 1.0};
  if (given >= 0) letter[0] = (char)('A' + given);
  if (writer) json_write_member(writer, "read", given >= 0 ? letter : "neither");
  snprintf(key, sizeof key, "%" PRId64, question.index % MMBENCH_ROUND);
  return groups_add(judge->state, key, question.type, right);
}

static status_t mmbench_finish(judge_t *judge, tally_t *tally) {
  if (groups_any(judge->state)) groups_count(judge->state, tally, MMBENCH_CIRCULAR);
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
                .metric_count = MMBENCH_METRICS,
                .score = JUDGE_NO_SCORE,
                .answer_key = "prediction",
                .truth_key = "answer",
                .type_count = ABILITIES,
                .type_name = mmbench_type_name,
                .rule = "exact matching: an answer gives the option whose letter is the only one among its "
                        "words, or whose text is the only one in it; others are wrong",
                .accept = mmbench_accept,
                .judge = mmbench_judge_answer,
                .finish = mmbench_finish,
                .close = mmbench_close};
  status_code_t status = memory_alloc(&groups, ARENA_OTHER, 1, sizeof *groups);
  out->state = groups;
  return comm_agree(session->world, status);
}
