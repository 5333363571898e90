/* RMSNorm and LayerNorm. */
#include "tensor/cpu/state.h"

/* Nanoseconds per element, for the work threshold. */
static const double forward_cost = 0.1, backward_cost = 0.2;
enum { ROWS_PER_BLOCK = 32, MOST_BLOCKS = 64 };

static status_t rmsnorm_cpu(device_t *device, const op_rmsnorm_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.rmsnorm, op, op->rows, 1, (double)(op->rows * op->cols) * forward_cost);
  return STATUS_OK;
}

static status_t layernorm_cpu(device_t *device, const op_layernorm_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.layernorm, op, op->rows, 1, (double)(op->rows * op->cols) * forward_cost);
  return STATUS_OK;
}

/* Rows per block: at least ROWS_PER_BLOCK, at most MOST_BLOCKS blocks. */
static int64_t block_rows(int64_t rows) {
  int64_t block = (rows + MOST_BLOCKS - 1) / MOST_BLOCKS;
  return block > ROWS_PER_BLOCK ? block : ROWS_PER_BLOCK;
}

static void add_blocks(cpu_state_t *state, const float *partial, int64_t blocks, int64_t stride, int64_t cols,
                       wide_t *out) {
  sum_blocks_t sum = {.partial = partial, .blocks = blocks, .stride = stride, .out = (float *)out};
  cpu_for(state, state->kernels.sum_blocks, &sum, cols, 64, (double)(blocks * cols) * forward_cost);
}

static status_t rmsnorm_backward_cpu(device_t *device, const op_rmsnorm_backward_t *op) {
  cpu_state_t *state = cpu_state(device);
  block_op_t job = {.op = op, .block = block_rows(op->rows), .columns = op->cols};
  int64_t blocks = (op->rows + job.block - 1) / job.block;
  if (op->dweight) TRY(cpu_shared(state, blocks * job.columns * (int64_t)sizeof(float), &job.partial));
  cpu_for(state, state->kernels.rmsnorm_backward, &job, blocks, 1,
          (double)(op->rows * op->cols) * backward_cost);
  if (op->dweight) add_blocks(state, job.partial, blocks, job.columns, op->cols, op->dweight);
  return STATUS_OK;
}

static status_t layernorm_backward_cpu(device_t *device, const op_layernorm_backward_t *op) {
  cpu_state_t *state = cpu_state(device);
  bool wanted = op->dweight || op->dbias;
  block_op_t job = {.op = op, .block = block_rows(op->rows), .columns = 2 * op->cols};
  int64_t blocks = (op->rows + job.block - 1) / job.block;
  if (wanted) TRY(cpu_shared(state, blocks * job.columns * (int64_t)sizeof(float), &job.partial));
  cpu_for(state, state->kernels.layernorm_backward, &job, blocks, 1,
          (double)(op->rows * op->cols) * backward_cost);
  if (op->dweight) add_blocks(state, job.partial, blocks, job.columns, op->cols, op->dweight);
  if (op->dbias && wanted)
    add_blocks(state, job.partial + op->cols, blocks, job.columns, op->cols, op->dbias);
  return STATUS_OK;
}

void cpu_fill_norm(ops_t *ops) {
  ops->rmsnorm = rmsnorm_cpu;
  ops->layernorm = layernorm_cpu;
  ops->rmsnorm_backward = rmsnorm_backward_cpu;
  ops->layernorm_backward = layernorm_backward_cpu;
}
