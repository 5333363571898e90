/* What the reward model reads behind a conversation: the judging prompt of a run, with the facts of a sample.
 */
#ifndef SESSION_REWARD_PROMPT_H
#define SESSION_REWARD_PROMPT_H

#include "io/formats/dataset.h"
#include "session/session.h"
#include "session/store.h"
#include "text/sequence.h"
#include "text/tokenizer.h"

typedef struct {
  char *text;       /* prompt file, or the built-in wording */
  const char *file; /* "" for the built-in wording; the settings' */
  bool facts;       /* are shown */
  uint64_t seed;
  int32_t max_len; /* of conversation and judging prompt, in tokens; 0: no limit */
} reward_prompt_t;

/* Reads FILE ("" for the built-in wording). Errors, agreed: STATUS_DATA where it cannot be read; STATUS_INPUT
 * where FACTS are asked for and it has no slot for them. Collective. Free with reward_prompt_free. */
status_t reward_prompt_open(session_t *session, const char *file, bool facts, reward_prompt_t *out);
void reward_prompt_free(reward_prompt_t *reward_prompt);

/* Tells apart what is asked for and what there is: of SAMPLES samples in PATH, WITH have facts. Where none
 * has, none are shown any more. Warns, on rank 0, about samples without facts where they are asked for by
 * SETTING. Local. */
void reward_prompt_count_facts(const session_t *session, reward_prompt_t *reward_prompt, const char *setting,
                               const char *path, int64_t with, int64_t samples);

/* How a reward head that is trained with PROMPT is asked; valid as long as they are. Local. */
store_judging_t reward_prompt_judging(const reward_prompt_t *reward_prompt);

/* Compares PROMPT, of the settings GROUP.facts and GROUP.prompt_file, with what MODEL's reward head was
 * trained with. Errors: STATUS_INPUT where they differ, unless reward.allow_mismatch: then a warning. Local.
 */
status_t reward_prompt_compare(const session_t *session, const reward_prompt_t *reward_prompt,
                               const char *group, const store_info_t *model);

/* Appends the judging prompt for a sample with FACTS (count) to SEQUENCE, of which the end is cut where both
 * exceed data.max_len; the facts' order is drawn for (SAMPLE, USE); USE below 2^32. Errors: STATUS_DATA where
 * the judging prompt alone is too long. Local. */
status_t reward_prompt_append(const reward_prompt_t *reward_prompt, const tokenizer_t *tokenizer,
                              const text_view_t *facts, int32_t count, uint64_t sample, uint64_t use,
                              sequence_t *sequence);

#endif
