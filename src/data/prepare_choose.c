/* Which samples are kept. What is drawn depends on contents and seed alone: not on the order of a file, nor
 * on the other samples. Samples of an image follow each other in the order of drawing, so few images are used
 * up, and the sources of a dataset begin with the same ones. */
#include "data/prepare_parts.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/formats/scores_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* ---- Apart from other datasets ---- */

static status_t apart_add(prepare_t *prepare, const char *path, names_t *apart) {
  SCOPED(dataset_close_at) dataset_t *dataset = NULL;
  TRY(dataset_open(NULL, path, &dataset));
  for (int64_t i = 0; i < dataset_info(dataset).images; i++) {
    SCOPED_MEMORY char *name = NULL;
    int64_t number;
    TRY(stop_vote_continue(prepare->options->vote));
    TRY(dataset_image_name(dataset, i, &name));
    TRY(names_add(apart, image_file_key(name), "", &number));
  }
  return STATUS_OK;
}

static bool is_apart_source(const prepare_options_t *options, const prepare_source_t *source) {
  for (int64_t k = 0; k < options->apart_kind_count; k++)
    if (strcmp(options->apart_kinds[k], source->kind) == 0) return true;
  return options->apart_kind_count == 0;
}

static status_t choose_apart(prepare_t *prepare) {
  SCOPED(names_free) names_t apart = {0};
  const prepare_options_t *options = prepare->options;
  for (int64_t d = 0; d < options->apart_count; d++)
    TRY(apart_add(prepare, options->apart_from[d], &apart));
  for (int64_t i = 0; i < prepare->note_count && apart.count > 0; i++) {
    sample_note_t *note = &prepare->notes[i];
    if (note->fate != FATE_KEPT || note->image < 0) continue;
    if (!is_apart_source(options, &prepare->sources[note->source])) continue;
    if (names_find(&apart, image_file_key(names_name(&prepare->names, note->image))) >= 0)
      note->fate = FATE_APART;
  }
  return STATUS_OK;
}

/* ---- High rewards ---- */

typedef struct {
  double reward;
  uint64_t key;
  int64_t note;
} scored_t;

/* The highest reward first; among equals the sample decides. */
static int scored_compare(const void *a, const void *b) {
  const scored_t *x = a, *y = b;
  if (x->reward != y->reward) return x->reward > y->reward ? -1 : 1;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->note < y->note ? -1 : 1;
}

static status_t scores_check(const char *path, const char *dataset) {
  scores_info_t info;
  SCOPED(dataset_close_at) dataset_t *opened = NULL;
  TRY(dataset_open(NULL, dataset, &opened));
  TRY(scores_info_read(path, &info));
  const bool same = info.dataset_identity == dataset_info(opened).identity;
  status_code_t status =
      same ? STATUS_OK
           : error_set(STATUS_DATA,
                       "%s: these are scores of the dataset %s with other contents than %s; score the "
                       "samples of %s",
                       path, info.dataset, dataset, dataset);
  scores_info_free(&info);
  return status;
}

/* Those of SOURCE's samples that have a reward, to SCORED (*COUNT); the others are unscored. Held-out samples
 * take no part: they measure. */
static status_t scored_list(prepare_t *prepare, const prepare_source_t *source, const scores_file_t *scores,
                            scored_t *scored, int64_t *count) {
  sample_note_t *notes = prepare->notes + source->begin;
  const int64_t rows = source->end - source->begin;
  for (int64_t i = 0; i < rows; i++)
    if (notes[i].fate == FATE_KEPT && !notes[i].held_out) notes[i].fate = FATE_UNSCORED;
  for (int64_t s = 0; s < scores->samples; s++) {
    const int64_t row = scores->id[s];
    if (row < 0 || row >= rows)
      return error_set(STATUS_DATA, "%s: has a score of row %" PRId64 ", the dataset has %" PRId64 " rows",
                       prepare->options->scores, row, rows);
    if (notes[row].fate != FATE_UNSCORED || scores->offsets[s + 1] == scores->offsets[s]) continue;
    notes[row].fate = FATE_KEPT;
    scored[(*count)++] = (scored_t){scores->reward[s], notes[row].key, source->begin + row};
  }
  return STATUS_OK;
}

static status_t filter_source(prepare_t *prepare, const prepare_source_t *source,
                              const scores_file_t *scores) {
  SCOPED_MEMORY scored_t *scored = NULL;
  int64_t count = 0;
  if (!scores->has_reward)
    return error_set(STATUS_DATA, "%s: has no rewards; score the samples with a reward model",
                     prepare->options->scores);
  TRY(memory_alloc(&scored, ARENA_DATA, (size_t)scores->samples, sizeof *scored));
  TRY(scored_list(prepare, source, scores, scored, &count));
  if (count == 0) return STATUS_OK;
  qsort(scored, (size_t)count, sizeof *scored, scored_compare);
  const int64_t kept = (int64_t)llround(prepare->options->keep * (double)count);
  if (kept == 0)
    return error_set(STATUS_INPUT,
                     "a share of %g of the %" PRId64 " samples with a reward is none of them; keep more "
                     "(prepare.keep)",
                     prepare->options->keep, count);
  for (int64_t i = kept; i < count; i++)
    prepare->notes[scored[i].note].fate = FATE_FILTERED;
  log_info("rewards of the %" PRId64 " samples kept of %" PRId64 ": %.4g to %.4g", kept, count,
           scored[kept - 1].reward, scored[0].reward);
  return STATUS_OK;
}

static status_t choose_by_reward(prepare_t *prepare) {
  const prepare_options_t *options = prepare->options;
  if (!text_given(options->scores)) return STATUS_OK;
  scores_file_t scores;
  status_code_t status = STATUS_OK;
  TRY(scores_check(options->scores, options->dataset));
  TRY(scores_file_read(options->scores, 0, -1, &scores));
  for (int s = 0; s < prepare->source_count && status == STATUS_OK; s++)
    if (prepare->sources[s].read == source_read_dataset)
      status = filter_source(prepare, &prepare->sources[s], &scores);
  scores_file_free(&scores);
  return status;
}

/* ---- As many as wanted ---- */

typedef struct {
  uint64_t image, key;
  int64_t note;
} ticket_t;

static int ticket_compare(const void *a, const void *b) {
  const ticket_t *x = a, *y = b;
  if (x->image != y->image) return x->image < y->image ? -1 : 1;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->note < y->note ? -1 : 1;
}

static ticket_t ticket_of(const prepare_t *prepare, int64_t i) {
  const sample_note_t *note = &prepare->notes[i];
  if (note->image < 0) return (ticket_t){note->key, note->key, i};
  const char *key = image_file_key(names_name(&prepare->names, note->image));
  return (ticket_t){XXH3_64bits_withSeed(key, strlen(key), prepare->options->seed), note->key, i};
}

static status_t draw_of_source(prepare_t *prepare, const prepare_source_t *source) {
  SCOPED_MEMORY ticket_t *tickets = NULL;
  int64_t count = 0;
  TRY(memory_alloc(&tickets, ARENA_DATA, (size_t)(source->end - source->begin), sizeof *tickets));
  for (int64_t i = source->begin; i < source->end; i++)
    if (prepare->notes[i].fate == FATE_KEPT) tickets[count++] = ticket_of(prepare, i);
  if (count < source->limit)
    log_warning("%s: %" PRId64 " samples were asked for, all %" PRId64 " that there are are taken",
                source->path, source->limit, count);
  if (count > 0) qsort(tickets, (size_t)count, sizeof *tickets, ticket_compare);
  for (int64_t k = source->limit; k < count; k++)
    prepare->notes[tickets[k].note].fate = FATE_NOT_DRAWN;
  return STATUS_OK;
}

status_t samples_choose(prepare_t *prepare) {
  TRY(choose_apart(prepare));
  TRY(choose_by_reward(prepare));
  for (int s = 0; s < prepare->source_count; s++)
    if (prepare->sources[s].limit > 0) TRY(draw_of_source(prepare, &prepare->sources[s]));
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    if (note->fate != FATE_BAD) prepare->sources[note->source].fates[note->fate]++;
  }
  return STATUS_OK;
}
