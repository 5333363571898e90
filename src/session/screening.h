/* Every sample is looked at before the first step: what cannot be used, or holds nothing to learn from, is
 * known then and not in the midst of a run. */
#ifndef RUN_SCREENING_H
#define RUN_SCREENING_H

#include "session/source.h"

/* What a look finds; any of them together. */
enum {
  SCREENING_DROPPED = 1, /* not to be used, though not bad */
  SCREENING_IDLE = 2,    /* to be used, but nothing is learnt from it */
  SCREENING_FACTS = 4    /* has facts */
};

/* Looks at SAMPLE, row ROW of the source's dataset: *FOUND of the above, 0 at first. STATUS_DATA with the
 * reason where the sample is bad. A function of the sample alone. Local. */
typedef status_t (*screening_look_t)(void *context, int64_t row, const dataset_sample_t *sample,
                                     int32_t *found);

typedef struct {
  const char *use;     /* what the samples are for, in messages: "training" */
  const char *dropped; /* why those that are dropped are; NULL where none can be */
  const char
      *idle; /* what idle samples are like: "..., so nothing is learnt from them"; NULL where none can be */
  screening_look_t look;
  void *context;
} screening_t;

/* Of the samples that are used. */
typedef struct {
  int64_t bad, dropped; /* left out */
  int64_t idle, facts;
} screening_counts_t;

/* Looks at ROWS of SOURCE's dataset, each once, by all ranks in turn, and leaves out of ROWS those that are
 * bad, where data.bad_sample = 'skip', or dropped: the rest moves up, rows->count of them, the same on any
 * layout. What is left out or idle is counted and the first few are named in warnings. Asks for stop requests
 * as it goes. Collective on the world. Errors, agreed: STATUS_DATA (the first bad sample, where bad samples
 * are not skipped; no sample is left; all that are left are idle); STATUS_STOPPED; STATUS_INPUT where
 * job.max_seconds is over before the first step could begin. */
status_t screening_run(session_t *session, source_t *source, const screening_t *screening,
                       dataset_rows_t *rows, screening_counts_t *counts);

/* True if one of SAMPLE's facts says something. Local. */
bool screening_has_facts(const dataset_sample_t *sample);

#endif
