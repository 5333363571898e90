/* AdamW over one or more sets of weights at once, its state sharded over dp; gradients reduced in buckets
 * while the backward pass runs, each rank getting an equal share of every bucket; one gradient-norm clip over
 * everything. */
#ifndef TRAIN_OPTIMIZER_H
#define TRAIN_OPTIMIZER_H

#include "input/settings.h"
#include "model/params.h"

/* Sets of one role share a GROUP: their gradients are complete together, and their norm is reported. Groups
 * count from 0 in the order of the backward passes. Sets without trained weights are not given. */
typedef struct {
  params_t *params;
  int32_t group;
} optimizer_set_t;

typedef struct {
  double beta1, beta2, eps, weight_decay;
  double grad_clip;        /* largest norm over all sets; 0 = no clipping */
  int64_t bucket_elements; /* of one reduction, about; 0 = a default */
} optimizer_options_t;

/* The options that the settings ask for (optim.*). */
optimizer_options_t optimizer_options(const settings_t *settings);

typedef struct optimizer optimizer_t;

/* Master weights start as the sets' present weights, unrounded where these were written after it was said
 * that they are trained (params_set_trainable). Errors: STATUS_INTERNAL where a set's trained weights do not
 * lie side by side. Free with optimizer_free before the sets. Collective on the grid's world. */
status_t optimizer_create(device_t *device, const grid_t *grid, const optimizer_set_t *sets, int32_t count,
                          const optimizer_options_t *options, optimizer_t **out);
void optimizer_free(optimizer_t *optimizer);
SCOPED_POINTER(optimizer_free, optimizer_t)

/* During the last backward pass of GROUP before a step: LAYER and all behind it have their gradients (-1: all
 * of the group). Starts their reductions. Groups that are not announced are reduced by optimizer_step. Local.
 */
status_t optimizer_layer_done(optimizer_t *optimizer, int32_t group, int32_t layer);

/* The same of group 0, for pass_backward; CONTEXT is the optimizer. */
status_t optimizer_only_layer_done(void *context, int32_t layer);

/* Finishes the reductions, clips, steps with learning rate LR, spreads the new weights over dp and zeroes the
 * gradients. NORMS (groups + 1), before clipping: of each group, then of all together. Errors: STATUS_NUMERIC
 * where the norm is not finite (the weights are then untouched). Collective on the grid's world. */
status_t optimizer_step(optimizer_t *optimizer, double lr, double *norms);

/* Instead of a step that is not to be made: ends the reductions that are under way, whose memory MPI would
 * still write to. All ranks come here alike, as to a step. Collective on the grid's world. */
status_t optimizer_discard(optimizer_t *optimizer);

/* Before optimizer_step: discards the step where its LOSS is not finite. All ranks pass the same. Errors:
 * STATUS_NUMERIC. Collective on the grid's world. */
status_t optimizer_check_loss(optimizer_t *optimizer, double loss, int64_t step);

/* Steps made so far, for bias correction; set when a checkpoint is continued. */
int64_t optimizer_steps(const optimizer_t *optimizer);
void optimizer_set_steps(optimizer_t *optimizer, int64_t steps);

/* A rectangle of one weight that this rank owns (for checkpoints): whole rows, or a part of one row. A weight
 * has any number of them, none of its vocabulary padding; they come in the order of sets, weights and
 * elements. */
typedef struct {
  int32_t set;
  const param_t *param;
  int64_t first_row, rows; /* of the stored shard */
  int64_t first_col, cols;
  int64_t offset; /* of the first element in the owned state; all of them lie side by side there */
  int64_t grad;   /* the same in the gradient */
} optimizer_piece_t;
typedef enum { OPTIMIZER_MASTER, OPTIMIZER_M, OPTIMIZER_V, OPTIMIZER_STATES } optimizer_state_t;
int32_t optimizer_piece_count(const optimizer_t *optimizer);
optimizer_piece_t optimizer_piece(const optimizer_t *optimizer, int32_t index);
/* Elements FIRST .. FIRST + N - 1 of a piece (rows, cols) to and from host floats. Reading synchronises.
 * Local. */
status_t optimizer_read(const optimizer_t *optimizer, const optimizer_piece_t *piece, optimizer_state_t state,
                        int64_t first, int64_t n, float *to);
status_t optimizer_write(optimizer_t *optimizer, const optimizer_piece_t *piece, optimizer_state_t state,
                         int64_t first, int64_t n, const float *from);

#endif
