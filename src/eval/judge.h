/* What rates a model's answers. Judges are offered by main, and a run takes the one that eval.judge names:
 * the evaluation knows none of them. A judge may compare an answer with what it knows of the image, look up
 * what somebody else said of it, or put it to a model. */
#ifndef EVAL_JUDGE_H
#define EVAL_JUDGE_H

#include "io/json.h"
#include "rollout/prompts.h"
#include "text/buffer.h"

enum { JUDGE_METRICS_MAX = 16, JUDGE_TYPES_MAX = 32, JUDGE_NO_SCORE = -1, JUDGE_PASSES = -1 };

/* What a metric is, of the parts and wholes that answers count in it (eval/interval.h). */
typedef enum {
  ESTIMATOR_MEAN,  /* of parts; wholes are 1 */
  ESTIMATOR_SHARE, /* of answers whose part is 1, not 0; wholes are 1 */
  ESTIMATOR_RATIO, /* of the parts of all answers to their wholes, as claims that are right to all claims */
  ESTIMATOR_QUOTIENT, /* of the mean of parts to the mean of wholes, as one model's score to another's */
  ESTIMATOR_F1,       /* parts: true positives; wholes: those and the false ones, positive or negative */
  ESTIMATOR_COUNT     /* the sum of parts: in evaluation.json, not in the table */
} estimator_t;

typedef struct {
  const char *name; /* in the table of metrics (record/metric_table.h), but for counts: "eval/rating". All
                       metrics of a judge have the same prefix */
  estimator_t estimator;
  bool by_type; /* shown for each type of question, too */
  bool logged;  /* by the periodic evaluation of training */
} judge_metric_t;

/* What a metric is called within its judge: "rating" of "eval/rating". */
const char *judge_metric_key(const judge_metric_t *metric);

/* A question, and the answer to it. */
typedef struct {
  int64_t row;       /* of the dataset of the questions */
  const char *id;    /* of its sample */
  const char *image; /* by its name; NULL: none */
  const char *question;
  const char *text;     /* the answer, stripped */
  const json_t *record; /* what its file says of the question; NULL: it comes from a dataset */
  int64_t number;       /* of its response in the round (rollout/prompts.h) */
  int64_t tokens;       /* of the response */
  bool stopped;         /* it ended by itself */
} answer_t;

/* What an answer counts in a metric. Where the whole is 0 it is none of those that the metric is about. */
typedef struct {
  double part, whole;
} judge_count_t;

typedef struct {
  int32_t type; /* of the question, 0 .. type_count - 1; JUDGE_PASSES: it is none that the judge judges */
  judge_count_t counts[JUDGE_METRICS_MAX];
  const char *note; /* a few words for the report; NULL: none */
} verdict_t;

struct tally;

/* What a language model elsewhere has said of an answer. */
typedef struct {
  const char *where; /* for messages */
  int64_t index;     /* in its file */
  const char *type;  /* of the question, by its name; NULL: not told */
  const char *text;
  const json_t *scores; /* an array of numbers, where somebody has read them from TEXT already; else NULL */
} reply_t;

typedef struct judge judge_t;
struct judge {
  const judge_metric_t *metrics; /* (metric_count) */
  int32_t metric_count;
  int32_t score; /* the metric that tells how good an answer is, more is better: answers are shown with it,
                    and training keeps the best state by it; JUDGE_NO_SCORE: none */
  int32_t type_count; /* types of questions; 0: they are not told apart */
  const char *(*type_name)(int32_t type);
  const char *rule; /* how it judges, in a sentence for the log and evaluation.json; NULL: nothing to say */
  /* Members of a file of answers: the one that the published grader reads the answer in (NULL: "answer"), and
   * one that may look like an answer but is the truth (NULL: none). */
  const char *answer_key, *truth_key;
  void *state; /* the judge's own */

  /* Whether an answer to this question, which has no text yet, can be judged: asked of all questions before
   * the first one is answered. NULL: all can. Rank 0. Errors: STATUS_DATA. */
  status_t (*accept)(const judge_t *judge, const answer_t *question);

  /* Looks at the responses of a round before they are judged one by one: for what all ranks do together, such
   * as the passes of a model. NULL: nothing. Collective on the world. Errors, agreed. */
  status_t (*look)(judge_t *judge, const responses_t *responses);

  /* Judges an answer, in the order of the questions. Adds members that tell why to the object that WRITER is
   * in (NULL: not wanted). OUT is all zero before. NULL: a language model elsewhere judges (ask, hear). Rank
   * 0. */
  status_t (*judge)(judge_t *judge, const answer_t *answer, json_writer_t *writer, verdict_t *out);

  /* What the language model is to be asked about ANSWER: a system message (may be set to NULL), the prompt,
   * appended to PROMPT, and the type of the question. Rank 0. */
  status_t (*ask)(judge_t *judge, const answer_t *answer, const char **system, text_buffer_t *prompt,
                  int32_t *type);
  /* What its reply counts. OUT is all zero before. Rank 0. */
  status_t (*hear)(judge_t *judge, const reply_t *reply, verdict_t *out);

  /* The end of an evaluation: adds to TALLY what several answers tell together, as questions that count only
   * if all of a group are answered right, and forgets it. NULL: nothing. Rank 0. */
  status_t (*finish)(judge_t *judge, struct tally *tally);

  /* Gives STATE back. NULL: nothing. */
  void (*close)(judge_t *judge);
};

/* The type called NAME, JUDGE_PASSES where there is none. Local. */
int32_t judge_find_type(const judge_t *judge, const char *name);

/* A judge that main offers. OPEN reads what it needs, as the session's settings say. Collective. Errors,
 * agreed. */
typedef struct judge_entry {
  const char *name; /* eval.judge */
  status_t (*open)(session_t *session, judge_t *out);
} judge_entry_t;

/* *OUT: the one of JUDGES (count) that eval.judge names, NULL for 'none'. Errors: STATUS_INPUT where it is
 * not among them, with the names of those that are. Local. */
status_t judge_choose(const settings_t *settings, const judge_entry_t *judges, int32_t count,
                      const judge_entry_t **out);

/* Opens the session's judge that eval.judge names. *FOUND: there is one; close it with judge_close.
 * Collective. Errors, agreed: as judge_choose; the judge's own. */
status_t judge_open(session_t *session, judge_t *out, bool *found);
/* Does nothing with one that was never opened. */
void judge_close(judge_t *judge);

#endif
