/* Operations on single elements. */
#include "tensor/cpu/state.h"

#include <string.h>

/* Nanoseconds per element, for the work threshold. */
static const double exp_cost = 0.5, move_cost = 0.1, adamw_cost = 0.6;
enum { LINE = 16, SQUARES_BLOCK = 16384 };

static status_t activation_backward_cpu(device_t *device, const op_activation_backward_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.activation_backward, op, op->n, LINE, (double)op->n * exp_cost);
  return STATUS_OK;
}

static status_t swiglu_cpu(device_t *device, const op_swiglu_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.swiglu, op, op->rows, 1, (double)op->rows * (double)op->cols * exp_cost);
  return STATUS_OK;
}

static status_t swiglu_backward_cpu(device_t *device, const op_swiglu_backward_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.swiglu_backward, op, op->rows, 1,
          (double)op->rows * (double)op->cols * exp_cost);
  return STATUS_OK;
}

static status_t adamw_cpu(device_t *device, const op_adamw_t *op) {
  cpu_state_t *state = cpu_state(device);
  for (int32_t i = 0; i < op->count; i++) {
    const adamw_job_t job = {op, &op->runs[i]};
    cpu_for(state, state->kernels.adamw, &job, job.run->n, LINE, (double)job.run->n * adamw_cost);
  }
  return STATUS_OK;
}

static status_t add_cpu(device_t *device, const op_add_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.add, op, op->n, LINE, (double)op->n * move_cost);
  return STATUS_OK;
}

typedef struct {
  const float *x;
  float *y;
} copy_floats_t;

static void copy_range(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const copy_floats_t *op = argument;
  (void)scratch;
  memmove(op->y + begin, op->x + begin, (size_t)(end - begin) * sizeof *op->y);
}

static status_t copy_floats(device_t *device, int64_t n, const void *x, void *y) {
  copy_floats_t op = {.x = x, .y = y};
  if (x != y) cpu_for(cpu_state(device), copy_range, &op, n, LINE, (double)n * move_cost);
  return STATUS_OK;
}

static status_t copy_cpu(device_t *device, const op_copy_t *op) {
  return copy_floats(device, op->n, op->x, op->y);
}

static status_t narrow_cpu(device_t *device, const op_narrow_t *op) {
  return copy_floats(device, op->n, op->from, op->to);
}

static status_t widen_cpu(device_t *device, const op_widen_t *op) {
  return copy_floats(device, op->n, op->from, op->to);
}

typedef struct {
  float *x, value;
} fill_op_t;

static void fill_range(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const fill_op_t *op = argument;
  (void)scratch;
  if (op->value == 0.0f) {
    memset(op->x + begin, 0, (size_t)(end - begin) * sizeof *op->x);
    return;
  }
  for (int64_t i = begin; i < end; i++)
    op->x[i] = op->value;
}

static status_t fill_floats(device_t *device, int64_t n, double value, void *x) {
  fill_op_t op = {.x = x, .value = (float)value};
  cpu_for(cpu_state(device), fill_range, &op, n, LINE, (double)n * move_cost);
  return STATUS_OK;
}

static status_t fill_real_cpu(device_t *device, const op_fill_real_t *op) {
  return fill_floats(device, op->n, op->value, op->x);
}

static status_t fill_wide_cpu(device_t *device, const op_fill_wide_t *op) {
  return fill_floats(device, op->n, op->value, op->x);
}

static status_t sum_squares_cpu(device_t *device, const op_sum_squares_t *op) {
  cpu_state_t *state = cpu_state(device);
  int64_t blocks = (op->n + SQUARES_BLOCK - 1) / SQUARES_BLOCK;
  block_op_t job = {.op = op->x, .count = op->n, .block = SQUARES_BLOCK};
  TRY(cpu_shared(state, blocks * (int64_t)sizeof(double), &job.totals));
  cpu_for(state, state->kernels.sum_squares, &job, blocks, 1, (double)op->n * move_cost);
  float *sum = (float *)op->sum;
  double total = *sum;
  for (int64_t b = 0; b < blocks; b++)
    total += job.totals[b];
  *sum = (float)total;
  return STATUS_OK;
}

void cpu_fill_elementwise(ops_t *ops) {
  ops->activation_backward = activation_backward_cpu;
  ops->swiglu = swiglu_cpu;
  ops->swiglu_backward = swiglu_backward_cpu;
  ops->adamw = adamw_cpu;
  ops->add = add_cpu;
  ops->copy = copy_cpu;
  ops->fill_real = fill_real_cpu;
  ops->fill_wide = fill_wide_cpu;
  ops->narrow = narrow_cpu;
  ops->widen = widen_cpu;
  ops->sum_squares = sum_squares_cpu;
}
