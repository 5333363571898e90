/* The optimizer over dp: gradients summed in equal shares, AdamW on each rank's own, weights spread again;
 * against AdamW computed here on the whole. */
#include "base/half.h"
#include "base/memory.h"
#include "mpi_test.h"
#include "tensor/ops.h"
#include "tensor/plain/plain.h"
#include "train/optimizer.h"

#include <math.h>

/* BUCKET divides into shares for 1 to 4 ranks, and into no row. */
enum { PARAMS = 4, SETS = 2, BUCKET = 12 * 2 * PARAMS_SHARE_UNIT, STEPS = 3 };
static const int64_t shapes[PARAMS][2] = {{7, 5}, {3, 1}, {53, 19}, {1, 1}};
static const double lr = 0.01, beta1 = 0.9, beta2 = 0.99, eps = 1e-8, decay = 0.1;

/* ---- A device that counts ---- */

static struct {
  int reductions, gathers, updates, comms;
  status_t (*reduce_scatter_begin)(device_t *device, const device_comm_t *comm, void *data, dtype_t type,
                                   size_t n, device_request_t **request);
  status_t (*allgatherv)(device_t *device, const device_comm_t *comm, const void *mine, void *all,
                         const size_t *counts, dtype_t type);
  status_t (*run)(device_t *device, int number, const void *arguments);
} counted;

static status_t count_reduction(device_t *device, const device_comm_t *comm, void *data, dtype_t type,
                                size_t n, device_request_t **request) {
  counted.reductions++;
  return counted.reduce_scatter_begin(device, comm, data, type, n, request);
}

static status_t count_gather(device_t *device, const device_comm_t *comm, const void *mine, void *all,
                             const size_t *counts, dtype_t type) {
  counted.gathers++;
  return counted.allgatherv(device, comm, mine, all, counts, type);
}

static status_t count_update(device_t *device, int number, const void *arguments) {
  counted.updates += number == op_adamw;
  return counted.run(device, number, arguments);
}

static void start_counting(device_t *device) {
  counted.reductions = counted.gathers = counted.updates = 0;
  counted.reduce_scatter_begin = device->reduce_scatter_begin;
  counted.allgatherv = device->allgatherv;
  counted.run = device->run;
  device->reduce_scatter_begin = count_reduction;
  device->allgatherv = count_gather;
  device->run = count_update;
}

/* It wants to be told of communicators. */
static status_t count_comm(device_t *device, comm_t *comm, void **own) {
  (void)device;
  (void)comm;
  counted.comms++;
  *own = NULL;
  return STATUS_OK;
}

static void count_comm_freed(device_t *device, void *own) {
  (void)device;
  (void)own;
  counted.comms--;
}

/* ---- Weights ---- */

typedef struct {
  grid_t grid;
  device_t *device;
  params_t sets[SETS];
  optimizer_t *optimizer;
} optimizer_fixture_t;

/* Weights and gradients of one set as numbers of their elements; the gradient is this rank's part. */
static double weight_at(int set, int64_t element) {
  return sin(0.37 * (double)element + set);
}

static double gradient_at(int set, int step, int rank, int64_t element) {
  return cos(0.11 * (double)element + set + 3 * step) * (rank + 1);
}

static void describe_set(optimizer_fixture_t *f, int s) {
  params_t *params = &f->sets[s];
  params_create(f->device, &f->grid, s == 0 ? "first" : "second", params);
  for (int p = 0; p < PARAMS; p++) {
    char name[16];
    int32_t id;
    snprintf(name, sizeof name, "weight%d", p);
    assert_ok(params_add(params,
                         &(param_spec_t){.name = name,
                                         .split = SPLIT_NONE,
                                         .complete = COMPLETE_EQUAL,
                                         .ndim = 2,
                                         .shape = {shapes[p][0], shapes[p][1]},
                                         .init = INIT_NORMAL,
                                         .init_scale = 1.0},
                         &id));
  }
}

static void make_set(optimizer_fixture_t *f, int s) {
  params_t *params = &f->sets[s];
  describe_set(f, s);
  assert_ok(params_allocate(params));
  assert_ok(params_train_all(params));
  SCOPED_MEMORY double *values = NULL;
  assert_ok(memory_alloc(&values, ARENA_OTHER, (size_t)params->elements, sizeof *values));
  for (int64_t i = 0; i < params->elements; i++)
    values[i] = weight_at(s, i);
  assert_ok(real_upload(f->device, params->data, values, DTYPE_F64, (size_t)params->elements));
}

static void optimizer_open(optimizer_fixture_t *f) {
  assert_ok(grid_create(mpi_test_world(), 1, 1, &f->grid));
  assert_ok(plain_create(PLAIN_DOUBLE, true, &f->device));
  f->device->comm_create = count_comm;
  f->device->comm_free = count_comm_freed;
  assert_ok(device_comm_create(f->device, f->grid.dp));
  for (int s = 0; s < SETS; s++)
    make_set(f, s);
  const optimizer_set_t sets[SETS] = {{&f->sets[0], 0}, {&f->sets[1], 1}};
  const optimizer_options_t options = {
      .beta1 = beta1, .beta2 = beta2, .eps = eps, .weight_decay = decay, .bucket_elements = BUCKET};
  assert_ok(optimizer_create(f->device, &f->grid, sets, SETS, &options, &f->optimizer));
}

static void optimizer_close(optimizer_fixture_t *f) {
  optimizer_free(f->optimizer);
  for (int s = 0; s < SETS; s++)
    params_free(&f->sets[s]);
  device_comm_free(f->device, f->grid.dp);
  assert_int_equal(counted.comms, 0);
  device_free(f->device);
  grid_free(&f->grid);
}

/* The weights after STEP steps by the equations, on the whole gradient. */
static double expected_at(int set, int steps, int ranks, int64_t element) {
  double weight = weight_at(set, element), m = 0.0, v = 0.0;
  for (int step = 1; step <= steps; step++) {
    double g = 0.0;
    for (int r = 0; r < ranks; r++)
      g += gradient_at(set, step, r, element);
    m = beta1 * m + (1.0 - beta1) * g;
    v = beta2 * v + (1.0 - beta2) * g * g;
    weight *= 1.0 - lr * decay;
    weight -= lr * m / (1.0 - pow(beta1, step)) / (sqrt(v / (1.0 - pow(beta2, step))) + eps);
  }
  return weight;
}

static void upload_gradients(optimizer_fixture_t *f, int step) {
  for (int s = 0; s < SETS; s++) {
    size_t n = (size_t)f->sets[s].trainable;
    SCOPED_MEMORY double *values = NULL;
    assert_ok(memory_alloc(&values, ARENA_OTHER, n, sizeof *values));
    for (size_t i = 0; i < n; i++)
      values[i] = gradient_at(s, step, f->grid.rank, (int64_t)i);
    assert_ok(wide_upload(f->device, f->sets[s].grad, values, DTYPE_F64, n));
  }
}

static void compare_weights(optimizer_fixture_t *f, int steps) {
  for (int s = 0; s < SETS; s++) {
    const params_t *params = &f->sets[s];
    SCOPED_MEMORY double *values = NULL;
    assert_ok(memory_alloc(&values, ARENA_OTHER, (size_t)params->elements, sizeof *values));
    assert_ok(real_download(f->device, values, DTYPE_F64, params->data, (size_t)params->elements));
    assert_ok(device_synchronize(f->device));
    for (int64_t i = 0; i < params->elements; i++) {
      double expected = expected_at(s, steps, f->grid.size, i);
      if (!(fabs(values[i] - expected) < 1e-9))
        fail_msg("set %d, element %lld: %.12g, expected %.12g", s, (long long)i, values[i], expected);
    }
  }
}

/* ---- Tests ---- */

/* Steps give the weights of the whole gradient; their calls are one per bucket, and one for all updates. */
static void steps_are_those_of_the_whole(void **state) {
  optimizer_fixture_t f = {0};
  double norms[SETS + 1];
  (void)state;
  optimizer_open(&f);
  start_counting(f.device);
  int buckets = 0;
  for (int s = 0; s < SETS; s++)
    buckets += (int)((f.sets[s].trainable + BUCKET - 1) / BUCKET);
  for (int step = 1; step <= STEPS; step++) {
    upload_gradients(&f, step);
    if (step == STEPS) assert_ok(optimizer_layer_done(f.optimizer, 0, -1));
    assert_ok(optimizer_step(f.optimizer, lr, norms));
    compare_weights(&f, step);
  }
  assert_int_equal(counted.updates, STEPS);
  assert_int_equal(counted.reductions, f.grid.dp_size > 1 ? STEPS * buckets : 0);
  assert_int_equal(counted.gathers, f.grid.dp_size > 1 ? STEPS * buckets : 0);
  double squares = 0.0, all = 0.0;
  for (int s = 0; s < SETS; s++, squares = 0.0) {
    for (int64_t i = 0; i < f.sets[s].trainable; i++) {
      double g = 0.0;
      for (int r = 0; r < f.grid.size; r++)
        g += gradient_at(s, STEPS, r, i);
      squares += g * g;
    }
    assert_true(fabs(norms[s] - sqrt(squares)) < 1e-9 * norms[s]);
    all += squares;
  }
  assert_true(fabs(norms[SETS] - sqrt(all)) < 1e-9 * norms[SETS]);
  optimizer_close(&f);
}

/* Adds one for each element of PIECE to COUNTS, and compares its master weights with what they are made of.
 */
static void check_piece(optimizer_fixture_t *f, const optimizer_piece_t *piece, float *counts) {
  SCOPED_MEMORY float *values = NULL;
  int64_t cols = piece->param->partition.local_cols;
  assert_true(piece->rows == 1 || (piece->first_col == 0 && piece->cols == cols));
  assert_ok(memory_alloc(&values, ARENA_OTHER, (size_t)(piece->rows * piece->cols), sizeof *values));
  assert_ok(optimizer_read(f->optimizer, piece, OPTIMIZER_MASTER, 0, piece->rows * piece->cols, values));
  for (int64_t i = 0; i < piece->rows * piece->cols; i++) {
    int64_t element = (piece->first_row + i / piece->cols) * cols + piece->first_col + i % piece->cols +
                      piece->param->grad_offset;
    counts[element]++;
    assert_true(values[i] == (float)weight_at(piece->set, element));
    values[i] = (float)element;
  }
  assert_ok(optimizer_write(f->optimizer, piece, OPTIMIZER_M, 0, piece->rows * piece->cols, values));
}

/* The ranks' pieces are every element once, and what is written to one is read there again. */
static void pieces_cover_every_weight_once(void **state) {
  optimizer_fixture_t f = {0};
  (void)state;
  optimizer_open(&f);
  for (int s = 0; s < SETS; s++) {
    SCOPED_MEMORY float *counts = NULL;
    size_t n = (size_t)f.sets[s].elements;
    assert_ok(memory_alloc(&counts, ARENA_OTHER, n, sizeof *counts));
    for (int32_t p = 0; p < optimizer_piece_count(f.optimizer); p++) {
      const optimizer_piece_t piece = optimizer_piece(f.optimizer, p);
      if (piece.set == s) check_piece(&f, &piece, counts);
    }
    assert_ok(comm_allreduce(mpi_test_world(), counts, n, COMM_F32, COMM_SUM));
    for (size_t i = 0; i < n; i++)
      assert_true(counts[i] == 1.0f);
  }
  for (int32_t p = 0; p < optimizer_piece_count(f.optimizer); p++) {
    const optimizer_piece_t piece = optimizer_piece(f.optimizer, p);
    SCOPED_MEMORY float *values = NULL;
    assert_ok(memory_alloc(&values, ARENA_OTHER, (size_t)(piece.rows * piece.cols), sizeof *values));
    assert_ok(optimizer_read(f.optimizer, &piece, OPTIMIZER_M, 0, piece.rows * piece.cols, values));
    for (int64_t i = 0; i < piece.rows * piece.cols; i++)
      assert_true(values[i] ==
                  (float)(piece.param->grad_offset + piece.first_row * piece.param->partition.local_cols +
                          piece.first_col + i));
  }
  optimizer_close(&f);
}

/* ---- Weights that the compute type rounds ---- */

/* bf16 is computed in by no device here: memory of the plain one, with the conversions and the operations
 * that an optimizer begins with. */
static status_t narrow_upload(device_t *device, void *to, dtype_t to_type, const void *from,
                              dtype_t from_type, size_t n) {
  float *values = NULL;
  (void)device;
  TRY(memory_alloc(&values, ARENA_OTHER, n, sizeof *values));
  for (size_t i = 0; i < n; i++)
    values[i] = from_type == DTYPE_F64 ? (float)((const double *)from)[i] : ((const float *)from)[i];
  if (to_type == DTYPE_BF16)
    half_to_bf16(values, to, n);
  else
    memcpy(to, values, n * sizeof *values);
  memory_free(values);
  return STATUS_OK;
}

static status_t narrow_download(device_t *device, void *to, dtype_t to_type, const void *from,
                                dtype_t from_type, size_t n) {
  (void)device;
  assert_int_equal(to_type, DTYPE_F32);
  if (from_type == DTYPE_BF16)
    half_from_bf16(from, to, n);
  else
    memcpy(to, from, n * sizeof(float));
  return STATUS_OK;
}

static status_t narrow_run(device_t *device, int number, const void *arguments) {
  (void)device;
  if (number == op_widen) {
    const op_widen_t *op = arguments;
    half_from_bf16(op->from, (float *)op->to, (size_t)op->n);
    return STATUS_OK;
  }
  assert_int_equal(number, op_fill_wide);
  const op_fill_wide_t *fill = arguments;
  for (int64_t i = 0; i < fill->n; i++)
    ((float *)fill->x)[i] = (float)fill->value;
  return STATUS_OK;
}

static float rounded(float value) {
  uint16_t bits;
  half_to_bf16(&value, &bits, 1);
  half_from_bf16(&bits, &value, 1);
  return value;
}

/* Compares an optimizer's master weights with VALUES (elements), rounded where ROUND; they differ from them
 * somewhere else. */
static void expect_masters(const optimizer_t *optimizer, const float *values, bool round) {
  int64_t differ = 0;
  for (int32_t p = 0; p < optimizer_piece_count(optimizer); p++) {
    const optimizer_piece_t piece = optimizer_piece(optimizer, p);
    SCOPED_MEMORY float *masters = NULL;
    const float *expected = values + piece.param->grad_offset +
                            piece.first_row * piece.param->partition.local_cols + piece.first_col;
    assert_ok(memory_alloc(&masters, ARENA_OTHER, (size_t)(piece.rows * piece.cols), sizeof *masters));
    assert_ok(optimizer_read(optimizer, &piece, OPTIMIZER_MASTER, 0, piece.rows * piece.cols, masters));
    for (int64_t i = 0; i < piece.rows * piece.cols; i++) {
      assert_true(masters[i] == (round ? rounded(expected[i]) : expected[i]));
      differ += rounded(expected[i]) != expected[i];
    }
  }
  assert_true(differ > 0);
}

static void expect_gradients_of_zero(const params_t *params) {
  SCOPED_MEMORY float *values = NULL;
  size_t n = (size_t)params_grad_elements(params);
  assert_ok(memory_alloc(&values, ARENA_OTHER, n, sizeof *values));
  assert_ok(wide_download(params->device, values, DTYPE_F32, params->grad, n));
  for (size_t i = 0; i < n; i++)
    assert_true(values[i] == 0.0f);
}

/* LATE: that weights are trained is said only once they are there, in the compute type. */
static void check_masters(optimizer_fixture_t *f, bool late, bool written) {
  params_t *params = &f->sets[0];
  SCOPED_MEMORY float *values = NULL;
  describe_set(f, 0);
  assert_ok(params_allocate(params));
  assert_ok(memory_alloc(&values, ARENA_OTHER, (size_t)params->elements, sizeof *values));
  if (!late) assert_ok(params_train_all(params));
  assert_ok(params_initialise(params, 3));
  for (int32_t i = 0; i < params->count; i++) {
    const param_t *param = &params->items[i];
    int64_t first = (int64_t)(param->offset / dtype_size(DTYPE_BF16));
    param_initial(param, 3, 0, param->elements, values + first);
    for (int64_t e = 0; e < param->elements && written; e++)
      values[first + e] = (float)weight_at(1, first + e);
    if (written) assert_ok(param_write(params, i, DTYPE_F32, values + first));
  }
  if (late) assert_ok(params_train_all(params));
  const optimizer_set_t set = {params, 0};
  const optimizer_options_t options = {.beta1 = beta1, .beta2 = beta2, .eps = eps, .bucket_elements = BUCKET};
  assert_ok(optimizer_create(f->device, &f->grid, &set, 1, &options, &f->optimizer));
  expect_masters(f->optimizer, values, late);
  expect_gradients_of_zero(params);
  assert_ok(param_write(params, 0, DTYPE_F32, values)); /* as from a checkpoint: no gradient */
  expect_gradients_of_zero(params);
  optimizer_free(f->optimizer);
  params_free(params);
}

/* Master weights are what the generator or a file gave, not what the compute type made of it. */
static void masters_start_unrounded(void **state) {
  optimizer_fixture_t f = {0};
  (void)state;
  assert_ok(grid_create(mpi_test_world(), 1, 1, &f.grid));
  assert_ok(plain_create(PLAIN_FLOAT, false, &f.device));
  f.device->real_type = DTYPE_BF16;
  f.device->upload = narrow_upload;
  f.device->download = narrow_download;
  f.device->run = narrow_run;
  for (int late = 0; late < 2; late++)
    for (int written = 0; written < 2; written++)
      check_masters(&f, late, written);
  device_free(f.device);
  grid_free(&f.grid);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_are_those_of_the_whole),
      cmocka_unit_test(pieces_cover_every_weight_once),
      cmocka_unit_test(masters_start_unrounded),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
