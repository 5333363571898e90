/* Operations on whole rows. */
#include "base/half.h"
#include "tensor/cpu/state.h"
#include "tensor/weight_nf4.h"

#include <math.h>
#include <string.h>

static const double move_cost = 0.1; /* nanoseconds per element, for the work threshold */
enum { LINE = 16, ROWS_PER_BLOCK = 32, MOST_BLOCKS = 64 };

/* The kept table of these frequencies, or the place for a new one. */
static rope_table_t *find_table(cpu_state_t *state, const op_rotary_t *op) {
  for (int i = 0; i < CPU_ROPE_TABLES; i++) {
    rope_table_t *table = &state->rope[i];
    if (table->head_size == op->head_size && table->base == op->base &&
        rope_scaling_equal(&table->scaling, &op->scaling))
      return table;
  }
  rope_table_t *table = &state->rope[state->rope_next];
  state->rope_next = (state->rope_next + 1) % CPU_ROPE_TABLES;
  memory_free(table->values);
  *table = (rope_table_t){.base = op->base, .scaling = op->scaling, .head_size = op->head_size};
  return table;
}

static void fill_table(rope_table_t *table, int64_t from) {
  int64_t half = table->head_size / 2;
  for (int64_t i = 0; i < half; i++) {
    double frequency = rope_frequency(table->base, &table->scaling, table->head_size, i);
    for (int64_t p = from; p < table->positions; p++) {
      double angle = (double)p * frequency;
      table->values[p * 2 * half + i] = (float)cos(angle);
      table->values[p * 2 * half + half + i] = (float)sin(angle);
    }
  }
}

/* The table for OP, extended to the largest of its positions. */
static status_t rope_table(cpu_state_t *state, const op_rotary_t *op, const float **values) {
  const int32_t *positions = (const int32_t *)op->positions;
  int64_t needed = 0;
  for (int64_t r = 0; r < op->rows; r++)
    if (positions[r] >= needed) needed = (int64_t)positions[r] + 1;
  rope_table_t *table = find_table(state, op);
  if (needed > table->positions) {
    int64_t old = table->positions, fresh = 2 * old > needed ? 2 * old : needed;
    TRY(memory_resize(&table->values, ARENA_SCRATCH, (size_t)(fresh * op->head_size), sizeof(float)));
    table->positions = fresh;
    fill_table(table, old);
  }
  *values = table->values;
  return STATUS_OK;
}

static status_t rotary_cpu(device_t *device, const op_rotary_t *op) {
  cpu_state_t *state = cpu_state(device);
  rope_job_t job = {.op = op};
  TRY(rope_table(state, op, &job.table));
  double heads = (double)op->heads + op->kv_heads * (op->k_cache ? 3.0 : 1.0);
  double work = (double)op->rows * heads * (double)op->head_size * 2.0 * move_cost;
  cpu_for(state, state->kernels.rotary, &job, op->rows, 1, work);
  return STATUS_OK;
}

static void embedding_range(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_embedding_t *op = argument;
  const int32_t *tokens = (const int32_t *)op->tokens;
  size_t cols = (size_t)op->cols;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    float *y = (float *)op->y + r * op->cols;
    int64_t row = tokens[r] - op->begin;
    if (row < 0 || row >= op->count)
      memset(y, 0, cols * sizeof *y);
    else if (op->weight.format == WEIGHT_BF16)
      half_from_bf16((const uint16_t *)op->weight.data + row * op->cols, y, cols);
    else if (op->weight.format == WEIGHT_NF4)
      weight_nf4_row(&op->weight, row, y);
    else
      memcpy(y, (const float *)op->weight.data + row * op->cols, cols * sizeof *y);
  }
}

static double row_work(int64_t rows, int64_t cols) {
  return (double)rows * (double)cols * move_cost;
}

static status_t embedding_cpu(device_t *device, const op_embedding_t *op) {
  cpu_for(cpu_state(device), embedding_range, op, op->rows, 1, row_work(op->rows, op->cols));
  return STATUS_OK;
}

static status_t embedding_backward_cpu(device_t *device, const op_embedding_backward_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.embedding_backward, op, op->cols, LINE, row_work(op->rows, op->cols));
  return STATUS_OK;
}

static status_t rows_gather_cpu(device_t *device, const op_rows_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.rows_gather, op, op->rows, 1, row_work(op->rows, op->cols));
  return STATUS_OK;
}

static status_t rows_scatter_cpu(device_t *device, const op_rows_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.rows_scatter, op, op->rows, 1, row_work(op->rows, op->cols));
  return STATUS_OK;
}

static status_t add_periodic_cpu(device_t *device, const op_add_periodic_t *op) {
  cpu_state_t *state = cpu_state(device);
  cpu_for(state, state->kernels.add_periodic, op, op->rows, 1, row_work(op->rows, op->cols));
  return STATUS_OK;
}

/* Partial sums of blocks of each phase's rows; item block * period + phase, so that one block's results form
 * a table like sums. */
static status_t sum_periodic_cpu(device_t *device, const op_sum_periodic_t *op) {
  cpu_state_t *state = cpu_state(device);
  if (op->rows <= 0) return STATUS_OK;
  int64_t per_phase = (op->rows + op->period - 1) / op->period, table = op->period * op->cols;
  int64_t block = (per_phase + MOST_BLOCKS - 1) / MOST_BLOCKS;
  block_op_t job = {.op = op, .block = block > ROWS_PER_BLOCK ? block : ROWS_PER_BLOCK, .columns = op->cols};
  int64_t blocks = (per_phase + job.block - 1) / job.block;
  TRY(cpu_shared(state, blocks * table * (int64_t)sizeof(float), &job.partial));
  cpu_for(state, state->kernels.sum_periodic, &job, blocks * op->period, 1, row_work(op->rows, op->cols));
  sum_blocks_t sum = {.partial = job.partial, .blocks = blocks, .stride = table, .out = (float *)op->sums};
  cpu_for(state, state->kernels.sum_blocks, &sum, table, LINE, row_work(blocks, table));
  return STATUS_OK;
}

void cpu_fill_rows(ops_t *ops) {
  ops->rotary = rotary_cpu;
  ops->embedding = embedding_cpu;
  ops->embedding_backward = embedding_backward_cpu;
  ops->rows_gather = rows_gather_cpu;
  ops->rows_scatter = rows_scatter_cpu;
  ops->add_periodic = add_periodic_cpu;
  ops->sum_periodic = sum_periodic_cpu;
}
