/* A rollout: questions on their way through a generator and their responses on the way back. One engine for
 * task generate, evaluations and PPO, which differ in where queries come from, in what is kept and in how
 * random numbers are keyed. */
#ifndef ROLLOUT_ROLLOUT_H
#define ROLLOUT_ROLLOUT_H

#include "base/memory_pool.h"
#include "io/formats/kept.h"
#include "rollout/generator.h"
#include "session/source.h"

enum { ROLLOUT_MODELS = 2 };

/* How responses are drawn. */
typedef struct {
  sampler_options_t sampler;
  int32_t max_tokens;
  bool stop_at_question;
} prompts_sampling_t;

/* Slots of a dp group for RESPONSES of all groups: rollout.slots, or a default, and no more than its share.
 * Local. */
int32_t rollout_slots(const session_t *session, int64_t responses);

/* A generator for that many responses under ROLE to queries of SOURCE of at most LONGEST positions, with the
 * slots, pages and cache of &rollout. Free with generator_free. Collective on tp. */
status_t rollout_generator(const session_t *session, const role_t *role, const source_t *source,
                           const prompts_sampling_t *sampling, int64_t responses, int32_t longest,
                           generator_t **out);

/* The questions of the items that were asked for last: those with an image, of which the tickets are. */
typedef struct {
  int64_t *questions; /* (n) */
  int32_t count;
  loader_ticket_t *tickets[ROLLOUT_MODELS]; /* until their images have been used */
} rollout_ahead_t;

typedef struct {
  /* Of the owner, set before rollout_create. */
  session_t *session;
  source_t *source;
  model_t
      *models[ROLLOUT_MODELS]; /* the one that answers; another one that looks at the images too, or NULL */
  int64_t n;                   /* questions */
  int32_t samples;             /* responses to each */
  const int64_t *rows;         /* (n): of the dataset, whose images the questions show */
  const int64_t *keys;         /* (n): the random numbers of response k are those of key + k */
  /* Makes a question's query when this group is to answer it; NULL: all queries are there from the start. */
  status_t (*query)(void *context, int64_t question, sequence_t *query);
  void *context;
  bool keep;           /* queries and features outlive the responses */
  bool scalars;        /* logprobs and entropies are wanted */
  kept_t *kept;        /* where finished responses are kept (rollout/rollout_kept.h); NULL: nowhere */
  int64_t before, all; /* responses before these and of all rollouts together, for the progress shown */

  /* What becomes of it. Features lie with the group that answers the question. */
  memory_pool_t pool;
  sequence_t *queries;              /* (n) */
  float **features[ROLLOUT_MODELS]; /* (n): (P, vision hidden) of each model's tower; NULL without an image */
  int32_t *broken;  /* (n): 1 where the image is broken (and bad samples are skipped): the responses are
                       to no image */
  int32_t *mine;    /* (n * samples): 1 where this group has answered */
  int32_t *lengths; /* (n * samples): tokens; this group's, after rollout_share(_lengths) all */
  int32_t *stopped; /* (n * samples): 1 where a response ended by itself, 0 where max_tokens cut it;
                       likewise */
  int64_t *offsets; /* (n * samples + 1): after rollout_share(_lengths) */
  int32_t *tokens;  /* (offsets[n * samples]): after rollout_share; what ended a response is its last token */
  double *logprobs, *entropies; /* likewise: the sampler's; NULL unless wanted */

  /* While it runs. */
  memory_pool_t own;    /* this group's responses */
  int32_t **own_tokens; /* (n * samples) */
  double **own_scalars; /* (n * samples): log-probabilities, then entropies */
  int32_t *waiting;     /* (n): responses asked for and not yet given */
  const int32_t *which; /* responses to draw: item i of the queue; NULL: all */
  int64_t done;         /* of this group's responses */
  bool ran;             /* rollout_run has been called */
  rollout_ahead_t ahead;
} rollout_t;

/* Arrays for all questions. Free with rollout_free, also after an error. Local. */
status_t rollout_create(rollout_t *rollout);
void rollout_free(rollout_t *rollout);

/* Draws the responses WHICH (count), or all count = n * samples (NULL), under ROLE; they lie with the groups
 * that draw them. Random numbers depend on keys only, not on the layout. Collective on the world. Errors:
 * STATUS_STOPPED where the run is to end meanwhile; STATUS_DATA (a broken image). */
status_t rollout_run(rollout_t *rollout, generator_t *generator, const role_t *role, const int32_t *which,
                     int64_t count);

/* Gives this group RESPONSE, the I-th, which was drawn before with the same key and weights, as if it had
 * been drawn here; features aside. Local. */
status_t rollout_adopt(rollout_t *rollout, int64_t i, const generator_response_t *response);

/* Features of the questions whose responses this group has adopted; their queries are there. Collective on
 * tp. Errors: STATUS_DATA (a broken image). */
status_t rollout_look_again(rollout_t *rollout);

/* Response I, which this group has: what it points to is ROLLOUT's. Local. */
generator_response_t rollout_response(const rollout_t *rollout, int64_t i);

/* Forgets query, features and responses of QUESTION. Local. */
void rollout_forget(rollout_t *rollout, int64_t question);

/* Makes the broken questions known to all ranks; *COUNT of them. Collective on dp. */
status_t rollout_count_broken(rollout_t *rollout, int64_t *count);

/* Makes the responses known to all ranks. Collective on dp. */
status_t rollout_share(rollout_t *rollout);

/* Makes known to all ranks how long they are and how they end; the responses stay with the groups that have
 * drawn them (rollout_response), until those drop them. Collective on dp. */
status_t rollout_share_lengths(rollout_t *rollout);
void rollout_drop_responses(rollout_t *rollout);

#endif
