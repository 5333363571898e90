/* What the sources of the optimizer share.
 *
 * A set's gradient is cut into buckets, and each bucket into equal shares, one of each rank of dp: rank d
 * owns share d of every bucket. So one reduce-scatter per bucket sums the gradients, and one all-gather
 * spreads the new weights. */
#ifndef TRAIN_OPTIMIZER_INTERNAL_H
#define TRAIN_OPTIMIZER_INTERNAL_H

#include "tensor/ops.h"
#include "train/optimizer.h"

typedef struct {
  int64_t begin;  /* in the gradient */
  int64_t share;  /* elements of each rank's share; those of the last bucket reach into the padding */
  int64_t mine;   /* of this rank's share, without the padding */
  int64_t offset; /* of this rank's share in the owned state */
  device_request_t *request;
  bool started;
} bucket_t;

typedef struct {
  params_t *params;
  int32_t group;
  real_t *weights;   /* that are trained, side by side as their gradients */
  bucket_t *buckets; /* ascending */
  int32_t bucket_count;
  int64_t owned;                   /* elements of all of this rank's shares */
  wide_t *state[OPTIMIZER_STATES]; /* (owned): the shares, one behind the other */
} set_t;

struct optimizer {
  device_t *device;
  const grid_t *grid;
  optimizer_options_t options;
  set_t *sets;
  int32_t count, groups;
  optimizer_piece_t *pieces; /* by set, weight and bucket */
  int32_t piece_count;
  adamw_run_t *runs; /* of a step: this rank's share of each bucket */
  int32_t run_count;
  size_t *counts;      /* (dp): scratch */
  wide_t *squares;     /* (groups) */
  comm_t *kv_comm;     /* the ranks that hold the same key-value heads; NULL where each has its own */
  comm_t *reduce_comm; /* the ranks of dp: for what runs in the background, so that its order does not depend
                          on what a rank does meanwhile; NULL where dp is 1 */
  int64_t steps;
};

/* First element of this rank's share of BUCKET in the gradient. */
static inline int64_t bucket_own(const optimizer_t *optimizer, const bucket_t *bucket) {
  return bucket->begin + optimizer->grid->dp_rank * bucket->share;
}

/* ---- optimizer_pieces.c ---- */

/* Elements of a piece. */
int64_t piece_elements(const optimizer_piece_t *piece);
/* Lists the pieces of all sets, whose buckets are made. */
status_t optimizer_make_pieces(optimizer_t *optimizer);

/* ---- optimizer_reduce.c ---- */

/* Cuts SET's gradient into buckets of about LARGEST elements; one where dp is 1. */
status_t optimizer_make_buckets(const grid_t *grid, set_t *set, int64_t largest);
/* Makes the communicators of the reductions. Collective on the grid's world. */
status_t optimizer_make_comms(optimizer_t *optimizer);
void optimizer_free_comms(optimizer_t *optimizer);
/* Starts what has not been started, waits for all of it, and sums over tp what its ranks hold parts of. */
status_t optimizer_finish_reductions(optimizer_t *optimizer);
status_t optimizer_complete_over_tp(optimizer_t *optimizer);
/* Spreads this rank's new weights of SET over dp. Collective on dp. */
status_t optimizer_spread(optimizer_t *optimizer, const set_t *set);

#endif
