/* A tiny model: the tested device against the plain one in double, and all ranks together against one. */
#include "selftest/selftest_tiny.h"

#include "base/log.h"

#include <math.h>

/* Errors that rounding leaves, of the largest number: of log-probabilities; of gradients, and the number
 * below which a gradient counts as small; of losses and norms over the steps of a training. */
typedef struct {
  double forward, gradient, small, training;
} tolerances_t;

static tolerances_t tolerances_of(const device_t *device) {
  if (device->real_type == DTYPE_BF16)
    return (tolerances_t){.forward = 3e-2, .gradient = 2.5e-1, .small = 0.1, .training = 5e-2};
  if (device->real_type == DTYPE_F32)
    return (tolerances_t){.forward = 1e-5, .gradient = 1e-4, .small = 1e-3, .training = 1e-4};
  return (tolerances_t){.forward = 1e-10, .gradient = 1e-9, .small = 1e-3, .training = 1e-9};
}

/* ---- Each rank alone ---- */

/* A grid of this rank alone, and the two devices on it. */
typedef struct {
  comm_t *comm;
  grid_t grid;
  device_t *tested; /* the run's */
  device_t *oracle;
} alone_t;

static status_t alone_open(const selftest_t *test, alone_t *alone) {
  const grid_t *grid = test->grid;
  *alone = (alone_t){.tested = test->device};
  TRY(comm_split(grid->world, grid->rank, 0, "alone", &alone->comm));
  TRY(grid_create(alone->comm, 1, grid->threads, &alone->grid));
  TRY(device_comm_create(test->device, alone->grid.tp));
  TRY(device_comm_create(test->device, alone->grid.dp));
  return test->make_oracle(&alone->oracle);
}

static void alone_close(alone_t *alone) {
  device_free(alone->oracle);
  if (alone->grid.world) {
    device_comm_free(alone->tested, alone->grid.dp);
    device_comm_free(alone->tested, alone->grid.tp);
    grid_free(&alone->grid);
  }
  comm_free(alone->comm);
}

static status_t gradient_read(const params_t *params, int32_t id, double **out) {
  SCOPED_MEMORY double *gradient = NULL;
  size_t n = (size_t)params->items[id].elements;
  TRY(memory_alloc(&gradient, ARENA_OTHER, n, sizeof *gradient));
  TRY(wide_download(params->device, gradient, DTYPE_F64, param_grad(params, id), n));
  TRY(device_synchronize(params->device));
  memory_hand_over(out, &gradient);
  return STATUS_OK;
}

static status_t gradients_compare(const params_t *found, const params_t *expected, tolerances_t tolerances) {
  for (int32_t i = 0; i < expected->count; i++) {
    SCOPED_MEMORY double *mine = NULL;
    SCOPED_MEMORY double *right = NULL;
    if (!expected->items[i].trainable) continue;
    TRY(gradient_read(found, i, &mine));
    TRY(gradient_read(expected, i, &right));
    TRY(selftest_compare(expected->items[i].name, mine, right, expected->items[i].elements, tolerances.small,
                         tolerances.gradient));
  }
  return STATUS_OK;
}

static status_t model_compare(alone_t *alone, bool adapters) {
  tolerances_t tolerances = tolerances_of(alone->tested);
  SCOPED(tiny_free) tiny_t found = {0};
  SCOPED(tiny_free) tiny_t expected = {0};
  double loss, right;
  TRY(tiny_create(alone->tested, &alone->grid, adapters, &found));
  TRY(tiny_create(alone->oracle, &alone->grid, adapters, &expected));
  TRY(tiny_pass(&found, NULL, NULL, &loss));
  TRY(tiny_pass(&expected, NULL, NULL, &right));
  TRY(selftest_compare("log-probabilities", found.logprobs, expected.logprobs, expected.predictions, 0.0,
                       tolerances.forward));
  TRY(selftest_compare("the loss", &loss, &right, 1, 0.0, tolerances.forward));
  return gradients_compare(tiny_trained(&found), tiny_trained(&expected), tolerances);
}

status_t selftest_model(const selftest_t *test) {
  alone_t alone;
  status_code_t status = alone_open(test, &alone);
  for (int adapters = 0; adapters < 2 && status == STATUS_OK; adapters++)
    status = model_compare(&alone, adapters != 0);
  alone_close(&alone);
  return status;
}

/* ---- All ranks together ---- */

typedef struct {
  double losses[TINY_STEPS], norms[TINY_STEPS];
} course_t;

static status_t course_of_one(const selftest_t *test, bool adapters, course_t *course) {
  alone_t alone;
  status_code_t status = alone_open(test, &alone);
  if (status == STATUS_OK)
    status = tiny_train(alone.oracle, &alone.grid, adapters, course->losses, course->norms);
  alone_close(&alone);
  return status;
}

static status_t course_compare(const course_t *found, const course_t *expected, double tolerance) {
  TRY(selftest_compare("losses of the steps", found->losses, expected->losses, TINY_STEPS, 0.0, tolerance));
  TRY(selftest_compare("gradient norms of the steps", found->norms, expected->norms, TINY_STEPS, 0.0,
                       tolerance));
  if (found->losses[TINY_STEPS - 1] < found->losses[0]) return STATUS_OK;
  return error_set(STATUS_NUMERIC, "training does not lower the loss: it goes from %.6f to %.6f",
                   found->losses[0], found->losses[TINY_STEPS - 1]);
}

static status_t layout_train(const selftest_t *test, const grid_t *grid, bool adapters) {
  course_t found, expected;
  TRY(comm_agree(grid->world, course_of_one(test, adapters, &expected)));
  TRY(tiny_train(test->device, grid, adapters, found.losses, found.norms));
  return error_context(course_compare(&found, &expected, tolerances_of(test->device).training),
                       "while %s were trained on %d x %d ranks (dp x tp)",
                       adapters ? "adapters" : "all weights", grid->dp_size, grid->tp_size);
}

/* On all ranks, TP of them to a copy of the model. */
static status_t layout_check(const selftest_t *test, const grid_t *grid) {
  status_code_t status = device_comm_create(test->device, grid->tp);
  if (status == STATUS_OK) status = device_comm_create(test->device, grid->dp);
  status = comm_agree(grid->world, status);
  for (int adapters = 0; adapters < 2 && status == STATUS_OK; adapters++)
    status = comm_agree(grid->world, layout_train(test, grid, adapters != 0));
  device_comm_free(test->device, grid->dp);
  device_comm_free(test->device, grid->tp);
  return status;
}

/* *GRID: TP ranks to a copy; *FITS: whether the ranks and nodes let it. */
static status_t layout_create(const selftest_t *test, int tp, grid_t *grid, bool *fits) {
  status_code_t status = STATUS_INPUT;
  if (test->grid->size % tp == 0 && tiny_splits(tp))
    status = grid_create(test->grid->world, tp, test->grid->threads, grid);
  *fits = status == STATUS_OK;
  if (status == STATUS_INPUT) error_clear();
  return status == STATUS_INPUT ? STATUS_OK : status;
}

/* The largest that fits, at most MOST. */
static status_t layout_find(const selftest_t *test, int most, grid_t *grid) {
  bool fits = false;
  for (int tp = most; !fits; tp--)
    TRY(layout_create(test, tp, grid, &fits));
  return STATUS_OK;
}

static status_t layout_try(const selftest_t *test, int most) {
  grid_t grid;
  TRY(layout_find(test, most, &grid));
  status_code_t status = layout_check(test, &grid);
  grid_free(&grid);
  return status;
}

status_t selftest_training(const selftest_t *test) {
  return layout_try(test, 1);
}

status_t selftest_training_split(const selftest_t *test) {
  enum { MOST = 12 };
  return layout_try(test, MOST < test->grid->size ? MOST : test->grid->size);
}
