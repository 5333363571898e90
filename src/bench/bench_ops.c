#include "bench/bench_ops.h"

#include "tensor/op_cost.h"

static const char *const names[TIMED_COUNT] = {
    [TIMED_QKV] = "linear, q k v",
    [TIMED_O] = "linear, o",
    [TIMED_GATE_UP] = "linear, gate up",
    [TIMED_DOWN] = "linear, down",
    [TIMED_HEAD] = "linear, head",
    [TIMED_LINEAR] = "linear, others",
    [TIMED_QKV_BACKWARD] = "backward, q k v",
    [TIMED_O_BACKWARD] = "backward, o",
    [TIMED_GATE_UP_BACKWARD] = "backward, gate up",
    [TIMED_DOWN_BACKWARD] = "backward, down",
    [TIMED_HEAD_BACKWARD] = "backward, head",
    [TIMED_LINEAR_BACKWARD] = "backward, others",
    [TIMED_ATTENTION] = "attention",
    [TIMED_ATTENTION_BACKWARD] = "attention backward",
    [TIMED_ATTENTION_PAGED] = "attention, paged",
    [TIMED_VOCAB] = "vocabulary",
    [TIMED_NORM] = "norms",
    [TIMED_ACTIVATION] = "activations",
    [TIMED_ROTARY] = "rotary embedding",
    [TIMED_ROWS] = "rows",
    [TIMED_ADAMW] = "AdamW",
    [TIMED_COPY] = "copies and sums",
};

const char *timed_name(timed_t timed) {
  return names[timed];
}

/* By how many weights share the input, and by shape. */
static timed_t timed_linear(const op_timer_sizes_t *sizes, const op_linear_t *op) {
  if (op->segments == 3) return TIMED_QKV;
  if (op->segments == 2) return TIMED_GATE_UP;
  if (op->out == sizes->vocab) return TIMED_HEAD;
  if (op->out != sizes->hidden) return TIMED_LINEAR;
  return op->in == sizes->mlp ? TIMED_DOWN : TIMED_O;
}

/* What other operations are reported with. */
static timed_t timed_other(op_number_t number) {
  static const timed_t groups[op_count] = {
      [op_gemm] = TIMED_LINEAR,
      [op_rmsnorm] = TIMED_NORM,
      [op_rmsnorm_backward] = TIMED_NORM,
      [op_layernorm] = TIMED_NORM,
      [op_layernorm_backward] = TIMED_NORM,
      [op_activation_backward] = TIMED_ACTIVATION,
      [op_swiglu] = TIMED_ACTIVATION,
      [op_swiglu_backward] = TIMED_ACTIVATION,
      [op_rotary] = TIMED_ROTARY,
      [op_attention] = TIMED_ATTENTION,
      [op_attention_backward] = TIMED_ATTENTION_BACKWARD,
      [op_attention_paged] = TIMED_ATTENTION_PAGED,
      [op_cache_copy] = TIMED_COPY,
      [op_decode_begin] = TIMED_ROWS,
      [op_decode_advance] = TIMED_ROWS,
      [op_embedding] = TIMED_ROWS,
      [op_embedding_backward] = TIMED_ROWS,
      [op_rows_gather] = TIMED_ROWS,
      [op_rows_scatter] = TIMED_ROWS,
      [op_add_periodic] = TIMED_ROWS,
      [op_sum_periodic] = TIMED_ROWS,
      [op_vocab_max] = TIMED_VOCAB,
      [op_vocab_statistics] = TIMED_VOCAB,
      [op_vocab_combine] = TIMED_VOCAB,
      [op_vocab_backward] = TIMED_VOCAB,
      [op_vocab_histogram] = TIMED_VOCAB,
      [op_vocab_walk] = TIMED_VOCAB,
      [op_policy_loss] = TIMED_VOCAB,
      [op_value_loss] = TIMED_VOCAB,
      [op_pair_loss] = TIMED_VOCAB,
      [op_adamw] = TIMED_ADAMW,
      [op_add] = TIMED_COPY,
      [op_copy] = TIMED_COPY,
      [op_fill_real] = TIMED_COPY,
      [op_fill_wide] = TIMED_COPY,
      [op_narrow] = TIMED_COPY,
      [op_widen] = TIMED_COPY,
      [op_sum_squares] = TIMED_COPY,
  };
  return groups[number];
}

static timed_t timed_of(const op_timer_sizes_t *sizes, op_number_t number, const void *arguments) {
  enum { TO_BACKWARD = TIMED_QKV_BACKWARD - TIMED_QKV };
  if (number == op_linear) return timed_linear(sizes, arguments);
  if (number != op_linear_backward) return timed_other(number);
  const op_linear_backward_t *backward = arguments;
  return (timed_t)(timed_linear(sizes, &backward->forward) + TO_BACKWARD);
}

/* Waits for operation number I and takes its time. */
static status_t timer_take(op_timer_t *timer, int64_t i) {
  const int64_t place = i % TIMER_PLACES;
  double seconds;
  TRY(device_event_wait(timer->places[place].end));
  TRY(device_event_seconds(timer->places[place].begin, timer->places[place].end, &seconds));
  timer->times[timer->places[place].timed].seconds += seconds;
  return STATUS_OK;
}

static status_t timer_run(device_watcher_t *watcher, device_t *device, int number, const void *arguments) {
  op_timer_t *timer = (op_timer_t *)watcher;
  const int64_t place = timer->count % TIMER_PLACES;
  if (timer->count >= TIMER_PLACES) TRY(timer_take(timer, timer->count - TIMER_PLACES));
  const op_cost_t cost = op_cost(device, (op_number_t)number, arguments);
  const timed_t timed = timed_of(&timer->sizes, (op_number_t)number, arguments);
  timer->places[place].timed = timed;
  timer->times[timed].calls++;
  timer->times[timed].flops += cost.flops;
  timer->times[timed].bytes += cost.bytes;
  timer->count++;
  TRY(device_event_record(timer->places[place].begin));
  TRY(device->run(device, number, arguments));
  return device_event_record(timer->places[place].end);
}

status_t op_timer_start(device_t *device, const op_timer_sizes_t *sizes, op_timer_t *timer) {
  *timer = (op_timer_t){.watcher.run = timer_run, .device = device, .sizes = *sizes};
  for (int p = 0; p < TIMER_PLACES; p++) {
    TRY(device_event_create(device, &timer->places[p].begin));
    TRY(device_event_create(device, &timer->places[p].end));
  }
  device->watcher = &timer->watcher;
  return STATUS_OK;
}

status_t op_timer_stop(op_timer_t *timer) {
  int64_t first = timer->count > TIMER_PLACES ? timer->count - TIMER_PLACES : 0;
  timer->device->watcher = NULL;
  for (int64_t i = first; i < timer->count; i++)
    TRY(timer_take(timer, i));
  return STATUS_OK;
}

void op_timer_free(op_timer_t *timer) {
  timer->device->watcher = NULL;
  for (int p = 0; p < TIMER_PLACES; p++) {
    device_event_free(timer->places[p].begin);
    device_event_free(timer->places[p].end);
  }
}
