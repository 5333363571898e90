/* Named weights of one kind (a base, an adapter, a head) in one block of device memory, each in a format of
 * its own, with gradients for those that are trained. */
#ifndef MODEL_PARAMS_H
#define MODEL_PARAMS_H

#include "parallel/grid.h"
#include "tensor/partition.h"
#include "tensor/weight.h"

enum { PARAM_NAME_MAX = 160, PARAM_DIMS_MAX = 4 };

typedef enum { INIT_ZERO, INIT_ONE, INIT_NORMAL, INIT_UNIFORM } init_t;

typedef struct {
  char name[PARAM_NAME_MAX]; /* outside name, without role */
  partition_t partition;     /* 2-d view: (rows, cols) */
  int ndim;
  int64_t shape[PARAM_DIMS_MAX]; /* outside shape */
  init_t init;
  double init_scale; /* standard deviation, or half width */
  weight_format_t format;
  bool trainable;
  int64_t elements;    /* stored here: partition_elements */
  size_t offset;       /* bytes, in params_t.data */
  int64_t grad_offset; /* in params_t.grad; -1 where not trainable */
  bool unrounded;      /* its gradient holds what was written to it, as it was before rounding */
} param_t;

typedef struct {
  device_t *device;
  const grid_t *grid;
  char name[32];  /* "base", "policy", ... in messages */
  param_t *items; /* (count), in the order of the forward pass */
  int32_t count, capacity;
  int64_t elements;  /* of all weights here */
  size_t bytes;      /* of data */
  void *data;        /* the weights, in this order */
  int64_t trainable; /* elements of the trained weights */
  wide_t *grad;      /* (params_grad_elements), NULL if nothing is trained */
  bool keeps;        /* what is written to trained weights is kept unrounded as well */
} params_t;

/* Over dp, gradients are summed in equal shares, one of each rank, that begin at multiples of this many
 * elements. */
enum { PARAMS_SHARE_UNIT = 16 };
/* Elements of grad: the trained weights' and, behind them, zeros that make it divide into such shares. Local.
 */
int64_t params_grad_elements(const params_t *params);

/* An empty set. Local. */
void params_create(device_t *device, const grid_t *grid, const char *name, params_t *out);

/* Describes one weight; *ID its index. HEADS as in partition_make. Weights of one format that follow each
 * other, the second with FOLLOWS, lie side by side: matrices of as many columns are one matrix then. Those in
 * the compute type always do. Errors: STATUS_INPUT where it does not split. Local. */
typedef struct {
  const char *name;
  split_t split;
  complete_t complete;
  int ndim;
  int64_t shape[PARAM_DIMS_MAX]; /* the 2-d view is (shape[0], product of the others) */
  int heads;
  weight_format_t format; /* trained weights are WEIGHT_REAL */
  bool follows;
  init_t init;
  double init_scale;
} param_spec_t;
status_t params_add(params_t *params, const param_spec_t *spec, int32_t *id);

/* Allocates data once all weights are described (contents undefined). Local. */
status_t params_allocate(params_t *params);
/* Says which weights are trained (TRAINABLE(param, context)), lays out their gradients in order and allocates
 * them, zeroed. Where the compute type is narrower than the accumulation type, what is written to them from
 * then on is kept unrounded in their gradients, until params_end_keeping: so that an optimiser's master
 * weights start from it, trained weights are loaded or initialised behind this call. Local. */
status_t params_set_trainable(params_t *params, bool (*trainable)(const param_t *param, const void *context),
                              const void *context);
/* The unrounded weights have been taken: gradients are zero. Local. */
status_t params_end_keeping(params_t *params);
/* Fills all weights by their init: a function of (seed, name, element of the global weight) only. Collective
 * on tp where one is kept in NF4, else local. */
status_t params_initialise(params_t *params, uint64_t seed);
/* The same values for elements FIRST .. FIRST + COUNT - 1, row-major, of the global weight. Local. */
void param_initial(const param_t *param, uint64_t seed, int64_t first, int64_t count, float *values);
/* Fills all weights as params_initialise does, but in a fraction of the time and with far fewer random
 * numbers: a row of normal ones is a piece of one table of a million. For measuring. The same on any layout.
 * Collective on tp where one is kept in NF4, else local. */
status_t params_randomise(params_t *params, uint64_t seed);
void params_free(params_t *params);

/* A weight's stored shard as operations take it: (local_rows, local_cols). */
weight_t param_weight(const params_t *params, int32_t id);
/* The same of a weight in the compute type: a norm's, a bias, an adapter's. */
real_t *param_real(const params_t *params, int32_t id);
/* The trained weights (trainable), which lie as their gradients do. Errors: STATUS_INTERNAL where they are
 * not side by side in the compute type. Local. */
status_t params_trained(const params_t *params, real_t **out);
/* A weight's gradient, NULL where not trained. */
wide_t *param_grad(const params_t *params, int32_t id);
status_t params_zero_grad(params_t *params);

/* Copies elements FIRST .. FIRST + N - 1 of a weight's shard (local_rows, local_cols) to and from host
 * floats, or F64, in whatever format it is kept; but in NF4, which is written as a whole
 * (model/param_writer.h) and not read. Reading synchronises. Local. */
status_t param_read_elements(const params_t *params, int32_t id, int64_t first, int64_t n, dtype_t host_type,
                             void *to);
status_t param_write_elements(params_t *params, int32_t id, int64_t first, int64_t n, dtype_t host_type,
                              const void *from);
/* All of them. */
status_t param_read(const params_t *params, int32_t id, dtype_t host_type, void *to);
status_t param_write(params_t *params, int32_t id, dtype_t host_type, const void *from);
/* Sets the vocabulary padding of all weights, which no file holds, to zero. Local. */
status_t params_clear_padding(params_t *params);

/* Trains all weights: gradients for every one. Local. */
status_t params_train_all(params_t *params);

/* The type that a weight has in files: bf16 where it is kept so, else float. */
dtype_t param_stored(const params_t *params, int32_t id);

#endif
