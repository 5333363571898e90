/* What the reward model reads behind a conversation: the judging prompt of a run, with the facts of a sample.
 */
#ifndef RUN_CRITERIA_H
#define RUN_CRITERIA_H

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
} criteria_t;

/* Reads FILE ("" for the built-in wording). Errors, agreed: STATUS_DATA where it cannot be read; STATUS_INPUT
 * where FACTS are asked for and it has no slot for them. Collective. Free with criteria_free. */
status_t criteria_open(session_t *session, const char *file, bool facts, criteria_t *out);
void criteria_free(criteria_t *criteria);

/* Tells apart what is asked for and what there is: of SAMPLES samples in PATH, WITH have facts. Where none
 * has, none are shown any more. Warns, on rank 0, about samples without facts where they are asked for by
 * SETTING. Local. */
void criteria_count_facts(const session_t *session, criteria_t *criteria, const char *setting,
                          const char *path, int64_t with, int64_t samples);

/* How a reward head that is trained with CRITERIA is asked; valid as long as they are. Local. */
store_judging_t criteria_judging(const criteria_t *criteria);

/* Compares CRITERIA, of the settings GROUP.facts and GROUP.prompt_file, with what MODEL's reward head was
 * trained with. Errors: STATUS_INPUT where they differ, unless reward.allow_mismatch: then a warning. Local.
 */
status_t criteria_compare(const session_t *session, const criteria_t *criteria, const char *group,
                          const store_info_t *model);

/* Appends the judging prompt for a sample with FACTS (count) to SEQUENCE, of which the end is cut where both
 * exceed data.max_len; the facts' order is drawn for (SAMPLE, USE); USE below 2^32. Errors: STATUS_DATA where
 * the judging prompt alone is too long. Local. */
status_t criteria_append(const criteria_t *criteria, const tokenizer_t *tokenizer, const text_view_t *facts,
                         int32_t count, uint64_t sample, uint64_t use, sequence_t *sequence);

#endif
