/* The state of the sequences in flight, in device memory: a decode step reads tokens, positions and pages
 * there and leaves what it has drawn there. The host says what changes (admitted, finished, other pages) and
 * reads which sequences have ended; it never puts a token back. On a device that works behind the host it
 * reads that one step late: one that has ended is a row of padding in the next step, and the device knows. */
#ifndef ROLLOUT_DECODING_H
#define ROLLOUT_DECODING_H

#include "model/cache.h"
#include "rollout/sampler.h"
#include "tensor/event.h"
#include "tensor/ops.h"

typedef struct {
  int32_t slots;     /* sequences in flight */
  int32_t max_pages; /* of one */
  int32_t max_tokens;
  int32_t ends[DECODE_ENDS_MAX]; /* (end_count) tokens that end a response */
  int32_t end_count;
} decoding_options_t;

/* Which sequences had ended at some time, on its way to the host. */
typedef struct {
  device_event_t *event; /* behind the copy */
  int32_t *ended;        /* (slots) */
} decoding_report_t;

typedef struct {
  pass_t *pass;
  cache_t *cache;
  sampler_t *sampler;
  device_t *device;
  decoding_options_t options;
  workspace_t workspace;
  decode_sequences_t sequences;
  int32_t rows;    /* of a step: the sequences that run, padded to a bucket on a device that replays */
  int32_t running; /* of them */
  /* Of the rows of a step, on the device: see op_decode_begin_t. */
  index_t *which, *tokens, *positions, *slots, *pages, *lengths, *row, *samples, *draws, *drawn;
  wide_t *logprobs, *entropies;
  index_t *copy_from, *copy_to; /* (slots) */
  /* Host. */
  int32_t *which_host;          /* (rows) */
  int32_t *ended;               /* (slots) */
  decoding_report_t reports[2]; /* in turn */
  int64_t reported;             /* so far */
  int64_t *placed;              /* (slots): reports before the sequence came */
} decoding_t;

/* Rows of a step in which N sequences run, where shapes are to repeat: 1, 2, 4, 8, 16, 24, 32 ... */
int32_t decoding_bucket(int32_t n);

/* State for as many sequences, of which none runs yet. What is given stays the caller's. Free with
 * decoding_free. Local. */
status_t decoding_create(pass_t *pass, cache_t *cache, sampler_t *sampler, const decoding_options_t *options,
                         decoding_t *out);
void decoding_free(decoding_t *decoding);

/* Sequence S, key SAMPLE, has drawn COUNT tokens; TOKEN at POSITION goes in next. Local. */
status_t decoding_place(decoding_t *decoding, int32_t s, int32_t token, int32_t position, int32_t count,
                        int64_t sample);

/* Pages TABLE (slots, max_pages) of all sequences. Local. */
status_t decoding_set_pages(decoding_t *decoding, const int32_t *table);

/* The sequences WHICH (n) run from now on, in that order. Local. */
status_t decoding_set_rows(decoding_t *decoding, int32_t n, const int32_t *which);

/* Copies COUNT pages of the cache. Local. */
status_t decoding_copy_pages(decoding_t *decoding, int32_t count, const int32_t *from, const int32_t *to);

/* The next token of the sequences WHICH (n), drawn from ROWS (n) of the last pass, in which all their
 * positions were. They are not the ones that run afterwards: decoding_set_rows. Collective on tp. */
status_t decoding_draw(decoding_t *decoding, int32_t n, const int32_t *which, const int32_t *rows);

/* One step of those that run under ROLE; CACHED positions of all of them together, for those who count.
 * Nothing is copied between host and device, and nothing is waited for. Collective on tp. */
status_t decoding_step(decoding_t *decoding, const role_t *role, int64_t cached);

/* Which sequences have ended: decoding->ended (slots), as decode_sequences_t has it. Where the device works
 * behind the host, as it was when this was called before, so that nothing is waited for that was asked of the
 * device since; 0 for those that were placed since. Local. */
status_t decoding_read_ended(decoding_t *decoding);

/* The first N tokens of sequence S, with log-probabilities and entropies (n; may be NULL), there after
 * device_synchronize or an event recorded behind this. Local. */
status_t decoding_read(const decoding_t *decoding, int32_t s, int32_t n, int32_t *tokens, double *logprobs,
                       double *entropies);

#endif
