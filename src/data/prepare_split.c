/* Which samples are held out. */
#include "data/prepare_parts.h"

#include "base/memory.h"
#include "base/random.h"

#include <inttypes.h>

/* The samples in groups that are held out together or not at all. */
typedef struct {
  int64_t count;
  names_t keys;      /* of the images: names of one picture have the same (image_file_key) */
  int64_t *key;      /* (names): number of its key */
  int64_t *of_note;  /* (notes): group of each sample that is not bad */
  int64_t *of_image; /* (keys): group of its samples, -1 none yet */
  int64_t *size;     /* (groups): samples */
  int64_t *order;    /* (groups): as drawn */
  bool *chosen;      /* (groups) */
} split_t;

static status_t split_keys(const prepare_t *prepare, split_t *split) {
  TRY(memory_alloc(&split->key, ARENA_DATA, (size_t)prepare->names.count, sizeof *split->key));
  for (int64_t i = 0; i < prepare->names.count; i++)
    TRY(names_add(&split->keys, image_file_key(names_name(&prepare->names, i)), "", &split->key[i]));
  return STATUS_OK;
}

static status_t split_alloc(const prepare_t *prepare, int64_t good, split_t *split) {
  TRY(memory_alloc(&split->of_note, ARENA_DATA, (size_t)prepare->note_count, sizeof *split->of_note));
  TRY(memory_alloc(&split->of_image, ARENA_DATA, (size_t)split->keys.count, sizeof *split->of_image));
  TRY(memory_alloc(&split->size, ARENA_DATA, (size_t)good, sizeof *split->size));
  TRY(memory_alloc(&split->order, ARENA_DATA, (size_t)good, sizeof *split->order));
  return memory_alloc(&split->chosen, ARENA_DATA, (size_t)good, sizeof *split->chosen);
}

static void split_free(split_t *split) {
  names_free(&split->keys);
  memory_free(split->key);
  memory_free(split->of_note);
  memory_free(split->of_image);
  memory_free(split->size);
  memory_free(split->order);
  memory_free(split->chosen);
}

/* The entry of the note's image in of_image; NULL if it has none. */
static int64_t *split_image(const split_t *split, const sample_note_t *note) {
  return note->image < 0 ? NULL : &split->of_image[split->key[note->image]];
}

/* Groups in order of their first sample: by image, or each sample for itself. */
static void split_group(const prepare_t *prepare, split_t *split) {
  for (int64_t k = 0; k < split->keys.count; k++)
    split->of_image[k] = -1;
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    if (note->fate != FATE_KEPT) continue;
    int64_t *shared = prepare->options->split_images ? NULL : split_image(split, note);
    int64_t group = shared && *shared >= 0 ? *shared : split->count++;
    if (shared) *shared = group;
    split->of_note[i] = group;
    split->size[group]++;
  }
}

/* Chooses groups until they have as many samples as are wanted; returns how many they have. */
static int64_t split_draw(const prepare_t *prepare, split_t *split) {
  int64_t held_out = 0;
  random_permutation(prepare->options->seed, RANDOM_SPLIT, 0, split->count, split->order);
  for (int64_t g = 0; g < split->count && held_out < prepare->options->held_out; g++) {
    split->chosen[split->order[g]] = true;
    held_out += split->size[split->order[g]];
  }
  return held_out;
}

/* Marks the samples of the chosen groups, and counts those whose image training will see. */
static void split_mark(prepare_t *prepare, split_t *split) {
  enum { UNSEEN = -1, SEEN };
  for (int64_t k = 0; k < split->keys.count; k++)
    split->of_image[k] = UNSEEN;
  for (int64_t i = 0; i < prepare->note_count; i++) {
    sample_note_t *note = &prepare->notes[i];
    if (note->fate != FATE_KEPT) continue;
    note->held_out = split->chosen[split->of_note[i]];
    int64_t *image = split_image(split, note);
    if (!note->held_out && image != NULL) *image = SEEN;
  }
  for (int64_t i = 0; i < prepare->note_count; i++) {
    const sample_note_t *note = &prepare->notes[i];
    const int64_t *image = split_image(split, note);
    prepare->counts.shared += note->fate == FATE_KEPT && note->held_out && image != NULL && *image == SEEN;
  }
}

static status_t split_make(prepare_t *prepare, int64_t good) {
  SCOPED(split_free) split_t split = {0};
  TRY(split_keys(prepare, &split));
  TRY(split_alloc(prepare, good, &split));
  split_group(prepare, &split);
  if (split_draw(prepare, &split) == good)
    return error_set(STATUS_INPUT,
                     "%" PRId64 " samples were to be held out of %" PRId64 ", which show too few images: all "
                     "would be (an image is known by its file's name, without folders); hold out fewer, or "
                     "let images be on both sides (held_out_by = 'sample')",
                     prepare->options->held_out, good);
  split_mark(prepare, &split);
  return STATUS_OK;
}

static int64_t held_out_count(const prepare_t *prepare) {
  int64_t count = 0;
  for (int64_t i = 0; i < prepare->note_count; i++)
    count += prepare->notes[i].fate == FATE_KEPT && prepare->notes[i].held_out;
  return count;
}

status_t samples_hold_out(prepare_t *prepare, int64_t good) {
  const int64_t wanted = prepare->options->held_out, marked = held_out_count(prepare);
  if (marked == good)
    return error_set(STATUS_INPUT,
                     "all %" PRId64
                     " samples that are left of %s are held out: none is left to train on; leave "
                     "more of them (limits, prepare.apart_from, prepare.scores)",
                     good, prepare->options->dataset);
  if (wanted == 0) return STATUS_OK;
  if (marked > 0)
    return error_set(STATUS_INPUT,
                     "%s has %" PRId64
                     " samples that are held out already, and are so in what is made of it; "
                     "prepare.held_out = 0 leaves it at that",
                     prepare->options->dataset, marked);
  if (wanted >= good)
    return error_set(STATUS_INPUT, "%" PRId64 " samples were to be held out of %" PRId64 "; hold out fewer",
                     wanted, good);
  return split_make(prepare, good);
}
