#include "train/reward_pairs.h"

#include "session/rewards.h"

#include <stdio.h>

static status_t reward_check_pair(const dataset_sample_t *sample) {
  if (!sample->paired) return error_set(STATUS_DATA, "it is no pair: 'output_1' and 'output_2' are expected");
  if (sample->preference != 1 && sample->preference != 2)
    return error_set(STATUS_DATA, "'preference' is %d, expected 1 or 2; annotate the pairs first",
                     sample->preference);
  return STATUS_OK;
}

/* Output OUTPUT of SAMPLE, row ROW, as it is scored; *IMAGE: the one it shows. */
static status_t output_sequence(const reward_prompt_t *prompt, const source_t *source, int64_t row,
                                uint64_t use, const dataset_sample_t *sample, int32_t output,
                                sequence_t *sequence, int64_t *image) {
  return rewards_sequence(prompt, source, sample, row, use * OUTPUTS + (uint64_t)output,
                          sample->outputs[output], sequence, image);
}

status_t reward_pairs_build(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  const reward_pairs_t *pairs = context;
  const source_t *source = pairs->source;
  dataset_sample_t sample;
  int32_t pair = i / OUTPUTS;
  int64_t row = pairs->rows[pair];
  TRY(dataset_sample_read(source->dataset, row, &sample));
  status_code_t status = output_sequence(pairs->prompt, source, row, (uint64_t)(pairs->use + pair), &sample,
                                         i % OUTPUTS, sequence, image);
  pairs->preferred[pair] = sample.preference - 1;
  if (status != STATUS_OK) status = source_name_sample(source, row, sample.id.bytes, status);
  dataset_sample_free(&sample);
  return status;
}

/* ---- Which pairs are used ---- */

typedef struct {
  const reward_prompt_t *prompt;
  source_t *source;
} look_t;

/* Token FROM or a later one that is learnt; the sequence's end without one. */
static int32_t next_learnt(const sequence_t *sequence, int32_t from) {
  while (from < sequence->n && !sequence->learnt[from])
    from++;
  return from;
}

/* Is what is left of both answers the same? The conversation before them is. */
static bool same_answers(const sequence_t *a, const sequence_t *b) {
  int32_t i = next_learnt(a, 0), j = next_learnt(b, 0);
  while (i < a->n && j < b->n && a->tokens[i] == b->tokens[j]) {
    i = next_learnt(a, i + 1);
    j = next_learnt(b, j + 1);
  }
  return i == a->n && j == b->n;
}

static status_t pair_look(void *context, int64_t row, const dataset_sample_t *sample, int32_t *found) {
  const look_t *look = context;
  sequence_t sequences[OUTPUTS] = {{0}};
  int64_t image;
  TRY(reward_check_pair(sample));
  status_code_t status = STATUS_OK;
  for (int32_t k = 0; k < OUTPUTS && status == STATUS_OK; k++)
    status = output_sequence(look->prompt, look->source, row, 0, sample, k, &sequences[k], &image);
  if (status == STATUS_OK && same_answers(&sequences[0], &sequences[1])) *found |= SCREENING_IDLE;
  if (screening_has_facts(sample)) *found |= SCREENING_FACTS;
  for (int32_t k = 0; k < OUTPUTS; k++)
    sequence_free(&sequences[k]);
  return status;
}

status_t reward_pairs_choose(session_t *session, const reward_prompt_t *prompt, source_t *source,
                             const char *use, dataset_rows_t *rows, screening_counts_t *counts) {
  char idle[160];
  look_t context = {prompt, source};
  snprintf(
      idle, sizeof idle,
      "have two answers that are the same within data.max_len = %lld tokens, so nothing is learnt from them",
      (long long)session->settings->data.max_len);
  const screening_t screening = {.use = use, .idle = idle, .look = pair_look, .context = &context};
  TRY(screening_run(session, source, &screening, rows, counts));
  session_skipped(session, counts->bad, NULL);
  return STATUS_OK;
}
