/* What generation must come to, written the long way: whole forward passes without a cache, whole rows of
 * logits on the host, sorting. */
#ifndef TESTS_ROLLOUT_ORACLE_H
#define TESTS_ROLLOUT_ORACLE_H

#include "rollout/sampler.h"

enum { ORACLE_VOCAB_MAX = 64 };

/* A row of the head's output as the sampler should see it. */
typedef struct {
  int32_t vocab;
  double z[ORACLE_VOCAB_MAX]; /* scaled logits */
  double logprob[ORACLE_VOCAB_MAX];
  double entropy;
  bool kept[ORACLE_VOCAB_MAX]; /* after top-k and top-p */
} oracle_row_t;

/* Scales LOGITS (vocab), and finds by sorting what OPTIONS keep. */
void oracle_row(const sampler_options_t *options, const double *logits, int32_t vocab, oracle_row_t *out);

/* The token drawn from a row for (sample, position). */
int32_t oracle_draw(const sampler_options_t *options, const oracle_row_t *row, int64_t sample,
                    int32_t position);

/* Logits (vocab) of ROW of the pass's last forward, on the host; the model is not split. */
status_t oracle_logits(pass_t *pass, const base_t *base, int32_t row, double *logits);

#endif
