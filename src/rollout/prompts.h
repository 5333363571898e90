/* Questions of a dataset on their way through a generator, and their responses on the way back: what tasks
 * generate and evaluate share. */
#ifndef ROLLOUT_PROMPTS_H
#define ROLLOUT_PROMPTS_H

#include "base/selection.h"
#include "rollout/rollout.h"
#include "text/answers.h"

enum { PROMPT_SAMPLES_MAX = 1024 };

typedef struct {
  int32_t samples;        /* responses to each question, 1..PROMPT_SAMPLES_MAX */
  int32_t query_len;      /* tokens; longer queries are dropped (0: no limit) */
  const int64_t *rows;    /* (limit) rows of the dataset to ask, ascending; NULL: the first ones */
  int64_t limit;          /* rows (0: all of the dataset) */
  const char *suffix;     /* appended to the question; NULL: nothing */
  bool logprobs;          /* the responses' log-probabilities are wanted */
  const uint8_t *letters; /* (samples of the dataset) how many letters each question offers: the likeliest one
                             is its answer (rollout/letters.h); NULL: answers are generated */
} prompts_options_t;

/* The last question of each sample of a source. */
typedef struct {
  session_t *session;
  model_t *model;
  source_t *source;
  prompts_options_t options;
  selection_t asked; /* of the candidates that the options name */
  int64_t count;     /* questions: candidates that are asked */
  int64_t dropped;   /* questions whose query is too long, or that are bad and skipped */
  int32_t longest;   /* positions of the longest query, images expanded */
  kept_t *kept;      /* finished responses, for a later start; NULL: they are not kept */
  bool alone; /* prompts_respond failed on this rank, the others may still be at work: nothing collective may
                 follow, the error goes up to main */
} prompts_t;

/* Measures all queries, shared out over the ranks; those that are too long are dropped and counted before
 * anything is generated. SESSION, MODEL, SOURCE stay the caller's. Collective on the world. Close with
 * prompts_close. Errors, agreed: STATUS_DATA (a bad sample; no question is left); STATUS_INPUT
 * (generate.letters of questions without letters, or with several answers each). */
status_t prompts_open(session_t *session, model_t *model, source_t *source, const prompts_options_t *options,
                      prompts_t *out);
void prompts_close(prompts_t *prompts);

/* The row of the dataset that QUESTION, 0 .. count - 1, is; rows ascend with questions. Local. */
int64_t prompts_row(const prompts_t *prompts, int64_t question);

/* From now on finished responses under ROLE, drawn with SAMPLING, are kept beside PATH; those that earlier
 * starts have kept there are taken over. ROUTINE as in kept_options_t. Collective on the world. End with
 * kept_remove (all is answered and written) or with prompts_close. Errors, agreed: STATUS_MEMORY. */
status_t prompts_keep(prompts_t *prompts, const role_t *role, const prompts_sampling_t *sampling,
                      const char *path, bool routine);

/* What &generate asks for. Local. */
prompts_sampling_t prompts_sampling(const settings_t *settings);

/* A generator for these questions under ROLE, with the slots, pages and cache of &rollout; NULL where they
 * are answered by letter. Free with generator_free. Collective on tp. */
status_t prompts_generator(const prompts_t *prompts, const role_t *role, const prompts_sampling_t *sampling,
                           generator_t **out);

/* Questions of a round: enough to keep all slots of all groups busy, few enough to keep their responses in
 * memory. Local. */
int64_t prompts_round(const prompts_t *prompts);

/* Responses to questions begin .. begin + n - 1; response k of question begin + i has number i * samples + k.
 */
typedef struct {
  int64_t begin, n;
  int32_t samples;
  memory_pool_t pool; /* of all arrays */
  int64_t *offsets;   /* (n * samples + 1) */
  int32_t *tokens;    /* (offsets[n * samples]); what ended a response is its last token */
  int32_t *stopped;   /* (n * samples): 1 where a response ended by itself, 0 where max_tokens cut it */
  double *logprobs;   /* (n * samples): the sampler's, summed over a response's tokens; NULL unless wanted */
  int32_t *broken; /* (n): 1 where the question's image is broken (and bad samples are skipped): its responses
                      are to no image and not to be used */
  int64_t skipped; /* questions that are broken */
} responses_t;

/* Generates them under ROLE, or chooses letters, and makes them known to all ranks. Random numbers are those
 * of (row of the dataset, k), so they depend neither on rounds nor on layout. Collective on the world. Free
 * with responses_free. Errors: STATUS_STOPPED where the run is to end meanwhile (nothing to free then);
 * STATUS_DATA (a broken image). */
status_t prompts_respond(prompts_t *prompts, generator_t *generator, const role_t *role, int64_t begin,
                         int64_t n, responses_t *out);
void responses_free(responses_t *responses);

/* The error of an evaluation to which no question is left, because the images of all are broken. Local. */
status_t prompts_none_whole(const prompts_t *prompts);

/* Query and response NUMBER in one sequence, which becomes the caller's, and the image it shows (-1: none).
 * Local. */
status_t prompts_answered(prompts_t *prompts, const responses_t *responses, int64_t number,
                          sequence_t *sequence, int64_t *image);

/* Response NUMBER as text, stripped: *TEXT is freed by the caller with memory_free. Local. */
status_t responses_text(const responses_t *responses, const tokenizer_t *tokenizer, int64_t number,
                        char **text);

#endif
