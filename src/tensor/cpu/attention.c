/* Attention: cuts it into tasks and shares them among threads. */
#include "tensor/cpu/state.h"

/* Multiply-adds per nanosecond of a thread, exponentials included, for the work threshold. */
static const double pairs_per_ns = 20.0;
enum { MOST_ROWS = 512, LEAST_ROWS = 64, TASKS_PER_THREAD = 4 };

typedef struct {
  double pairs; /* (query, key) */
  double tokens;
  int64_t longest;
} attention_extent_t;

static attention_extent_t measure_cpu(const op_attention_t *op) {
  attention_extent_t extent = {0};
  for (int32_t b = 0; b < op->sequences; b++) {
    int64_t n = op->offsets_host[b + 1] - op->offsets_host[b];
    extent.tokens += (double)n;
    extent.pairs += (double)n * (double)n * (op->causal ? 0.5 : 1.0);
    if (n > extent.longest) extent.longest = n;
  }
  return extent;
}

static double work_of_cpu(const op_attention_t *op, double pairs, double products) {
  return pairs * (double)op->heads * ((double)op->head_size * products + 20.0) / pairs_per_ns;
}

/* Query rows per task: whole sequences, so that keys are packed once, but enough tasks that all threads have
 * work to the end. A group's heads share a task, and the scratch. */
static int32_t task_rows(const cpu_state_t *state, const op_attention_t *op,
                         const attention_extent_t *extent) {
  double wanted = (double)(TASKS_PER_THREAD * state->threads);
  double rows = extent->tokens * (double)op->kv_heads / wanted;
  int32_t most = MOST_ROWS / (op->heads / op->kv_heads);
  if (state->threads == 1 || rows > most) return most > LEAST_ROWS ? most : LEAST_ROWS;
  return rows > LEAST_ROWS ? (int32_t)rows : LEAST_ROWS;
}

/* All tasks of OP with at most ROWS query rows each; counts only where TASKS is NULL. Long rows of causal
 * attention first, so that threads end together. */
static int64_t list_tasks(const op_attention_t *op, int32_t rows, attention_task_t *tasks) {
  int64_t count = 0;
  for (int32_t b = 0; b < op->sequences; b++) {
    int32_t begin = op->offsets_host[b], length = op->offsets_host[b + 1] - begin;
    if (length == 0) continue;
    for (int32_t first = (length - 1) / rows * rows; first >= 0; first -= rows)
      for (int32_t h = 0; h < op->kv_heads; h++, count++)
        if (tasks)
          tasks[count] = (attention_task_t){.begin = begin,
                                            .length = length,
                                            .kv_head = h,
                                            .query_begin = first,
                                            .query_end = length - first > rows ? first + rows : length};
  }
  return count;
}

static status_t make_tasks(cpu_state_t *state, const op_attention_t *op, int32_t rows, int64_t *count,
                           attention_task_t **tasks) {
  *count = list_tasks(op, rows, NULL);
  TRY(cpu_shared(state, *count * (int64_t)sizeof **tasks, tasks));
  if (*count > 0) list_tasks(op, rows, *tasks);
  return STATUS_OK;
}

static status_t attention_cpu(device_t *device, const op_attention_t *op) {
  cpu_state_t *state = cpu_state(device);
  attention_extent_t extent = measure_cpu(op);
  int32_t group = op->heads / op->kv_heads, rows = task_rows(state, op, &extent);
  int64_t count = 0;
  attention_task_t *tasks = NULL;
  TRY(make_tasks(state, op, rows, &count, &tasks));
  TRY(cpu_scratch(state, state->kernels.attention_scratch(rows < extent.longest ? rows : extent.longest,
                                                          group, op->head_size)));
  attention_job_t job = {.forward = op, .tasks = tasks};
  cpu_for_each(state, state->kernels.attention, &job, count, work_of_cpu(op, extent.pairs, 2.0));
  return STATUS_OK;
}

static status_t attention_backward_cpu(device_t *device, const op_attention_backward_t *op) {
  cpu_state_t *state = cpu_state(device);
  const op_attention_t *forward = &op->forward;
  attention_extent_t extent = measure_cpu(forward);
  int64_t count = 0;
  attention_task_t *tasks = NULL;
  TRY(make_tasks(state, forward, INT32_MAX, &count, &tasks));
  TRY(cpu_scratch(state, state->kernels.attention_backward_scratch(extent.longest, forward->head_size)));
  attention_job_t job = {.forward = forward, .backward = op, .tasks = tasks};
  cpu_for_each(state, state->kernels.attention_backward, &job, count,
               work_of_cpu(forward, extent.pairs, 5.0));
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
