/* Attention: cuts it into tasks and shares them among threads. */
#include "tensor/cpu/state.h"

#include <string.h>

/* Multiply-adds per nanosecond of a thread, exponentials included, for the work threshold. */
static const double pairs_per_ns = 20.0;
enum { MOST_ROWS = 512, LEAST_ROWS = 64, TASKS_PER_THREAD = 4 };

static double work_of_cpu(const op_attention_t *op, double products) {
  const sequences_t *all = op->sequences;
  double pairs = all->squares * (op->causal ? 0.5 : 1.0);
  return pairs * (double)all->heads * ((double)all->head_size * products + 20.0) / pairs_per_ns;
}

/* Query rows per task: whole sequences, so that keys are packed once, but enough tasks that all threads have
 * work to the end. A group's heads share a task, and the scratch. */
static int32_t task_rows(const cpu_state_t *state, const sequences_t *all) {
  double wanted = (double)(TASKS_PER_THREAD * state->threads);
  double rows = (double)sequences_positions(all) * (double)all->kv_heads / wanted;
  int32_t most = MOST_ROWS / (all->heads / all->kv_heads);
  if (state->threads == 1 || rows > most) return most > LEAST_ROWS ? most : LEAST_ROWS;
  return rows > LEAST_ROWS ? (int32_t)rows : LEAST_ROWS;
}

enum { TASK_NUMBERS = sizeof(attention_task_t) / sizeof(int32_t) };

/* The tasks of the forward pass. Long rows of causal attention first, so that threads end together. */
int64_t cpu_list_work(device_t *device, const sequences_t *all, int32_t *list) {
  int64_t count = 0;
  int32_t rows = task_rows(cpu_state(device), all);
  for (int32_t b = 0; b < all->count; b++) {
    int32_t begin = all->offsets_host[b], length = all->offsets_host[b + 1] - begin;
    if (length == 0) continue;
    for (int32_t first = (length - 1) / rows * rows; first >= 0; first -= rows)
      for (int32_t h = 0; h < all->kv_heads; h++, count++) {
        const attention_task_t task = {.begin = begin,
                                       .length = length,
                                       .kv_head = h,
                                       .query_begin = first,
                                       .query_end = length - first > rows ? first + rows : length};
        if (list) memcpy(list + count * TASK_NUMBERS, &task, sizeof task);
      }
  }
  return count * TASK_NUMBERS;
}

static status_t attention_cpu(device_t *device, const op_attention_t *op) {
  cpu_state_t *state = cpu_state(device);
  const sequences_t *all = op->sequences;
  int32_t group = all->heads / all->kv_heads, rows = task_rows(state, all);
  TRY(cpu_scratch(state, state->kernels.attention_scratch(rows < all->longest ? rows : all->longest, group,
                                                          all->head_size)));
  cpu_for_each(state, state->kernels.attention, op, all->listed / TASK_NUMBERS, work_of_cpu(op, 2.0));
  return STATUS_OK;
}

static status_t attention_backward_cpu(device_t *device, const op_attention_backward_t *op) {
  cpu_state_t *state = cpu_state(device);
  const sequences_t *all = op->forward.sequences;
  TRY(cpu_scratch(state, state->kernels.attention_backward_scratch(all->longest, all->head_size)));
  cpu_for_each(state, state->kernels.attention_backward, op, (int64_t)all->count * all->kv_heads,
               work_of_cpu(&op->forward, 5.0));
  return STATUS_OK;
}

static status_t attention_paged_cpu(device_t *device, const op_attention_paged_t *op) {
  cpu_state_t *state = cpu_state(device);
  const int32_t *lengths = (const int32_t *)op->lengths;
  int32_t group = op->heads / op->kv_heads;
  double keys = 0.0;
  for (int64_t r = 0; r < op->rows; r++)
    keys += (double)lengths[r];
  TRY(cpu_scratch(state, state->kernels.attention_paged_scratch(group, op->head_size)));
  double work = keys * (double)op->kv_heads * (double)op->head_size * (0.5 + 0.1 * (double)group);
  cpu_for_each(state, state->kernels.attention_paged, op, op->rows * op->kv_heads, work);
  return STATUS_OK;
}

void cpu_fill_attention(ops_t *ops) {
  ops->attention = attention_cpu;
  ops->attention_backward = attention_backward_cpu;
  ops->attention_paged = attention_paged_cpu;
}
