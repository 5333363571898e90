/* One global batch of sequences: who works on what. Sequences of a unit stay together; units are dealt to dp
 * groups by length, longest first, and each group's are cut into micro-batches of bounded size. Membership of
 * the batch is the caller's; dealing changes no result but the order of sums. */
#ifndef RUN_PLAN_H
#define RUN_PLAN_H

#include "model/pass.h"
#include "parallel/grid.h"
#include "text/sequence.h"

/* Makes sequence I of the batch: *SEQUENCE becomes the plan's; *IMAGE is a number that PIXELS understands, -1
 * none. Called by several ranks for the same I: a pure function. */
typedef status_t (*plan_build_t)(void *context, int32_t i, sequence_t *sequence, int64_t *image);

typedef struct {
  int32_t n;        /* sequences of the whole batch */
  int32_t unit;     /* divides n */
  int32_t slots;    /* positions of an image */
  int32_t *lengths; /* (n) positions, images expanded */
  int32_t *learnt;  /* (n) learnt tokens */
  int32_t *group;   /* (n) dp group */
  int32_t *mine;    /* (mine_count) this group's sequences, ascending */
  int32_t mine_count;
  int32_t *micro;        /* (n) micro-batch of this group's sequences; -1 for others' */
  int32_t micro_count;   /* of this group; may be 0 */
  sequence_t *sequences; /* (n) this group's; empty for others' */
  int64_t *images;       /* (n) this group's; -1 for others' */
} plan_t;

/* Plans N sequences for micro-batches of at most MICRO_TOKENS positions. Collective on the grid's world. Free
 * with plan_free. Errors of BUILD are agreed. */
status_t plan_create(const grid_t *grid, int32_t n, int32_t unit, int32_t slots, int64_t micro_tokens,
                     plan_build_t build, void *context, plan_t *plan);

/* The same of sequences whose contents lie with some ranks only. Sequence I is to be worked on by GROUP[i]
 * (n): what it holds is brought there. Collective on the grid's world. */
typedef status_t (*plan_bring_t)(void *context, const int32_t *group);
/* BUILD makes sequences of the right lengths, whatever their tokens, until BRING has been called, once. */
status_t plan_create_bringing(const grid_t *grid, int32_t n, int32_t unit, int32_t slots,
                              int64_t micro_tokens, plan_build_t build, plan_bring_t bring, void *context,
                              plan_t *plan);
void plan_free(plan_t *plan);

/* Positions of this group's largest micro-batch. Local. Errors: STATUS_MEMORY. */
status_t plan_longest(const plan_t *plan, int64_t *positions);

/* Cuts this group's sequences anew for a model whose images take SLOTS positions; which sequences are the
 * group's stays as it is, and others' lengths remain those of plan_create. Local. */
status_t plan_recut(int32_t slots, int64_t micro_tokens, plan_t *plan);

/* One micro-batch, packed. */
typedef struct {
  int32_t count;  /* sequences */
  int32_t *which; /* (count): number in the batch, ascending */
  packed_t packed;
  int64_t *images; /* (image_count): distinct images, in the order of packed.image_index */
  int32_t image_count;
} micro_t;

/* Packs micro-batch INDEX. Free with micro_free. Local. */
status_t micro_create(const plan_t *plan, int32_t index, micro_t *micro);
void micro_free(micro_t *micro);

/* The predictions that a micro-batch is trained on: row t - 1 predicts learnt token t. ROWS, TARGETS, OWNER
 * (place in micro.which) of *N predictions, in order of position; one block, freed through ROWS with
 * memory_free. Local. */
status_t micro_targets(const plan_t *plan, const micro_t *micro, int32_t **rows, int32_t **targets,
                       int32_t **owner, int32_t *n);

#endif
