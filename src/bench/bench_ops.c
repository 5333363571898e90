#include "bench/bench_ops.h"

#include "perf/perf.h"
#include "tensor/op_cost.h"

static const char *const names[TIMED_COUNT] = {
    [TIMED_LINEAR] = "linear",
    [TIMED_LINEAR_BACKWARD] = "linear backward",
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

/* What an operation is reported with. */
static timed_t timed_of(op_number_t number) {
  static const timed_t groups[op_count] = {
      [op_gemm] = TIMED_LINEAR,
      [op_linear] = TIMED_LINEAR,
      [op_linear_backward] = TIMED_LINEAR_BACKWARD,
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

static status_t timer_run(device_watcher_t *watcher, device_t *device, int number, const void *arguments) {
  op_timer_t *timer = (op_timer_t *)watcher;
  op_time_t *time = &timer->times[timed_of((op_number_t)number)];
  TRY(device_synchronize(device));
  double begun = perf_now();
  TRY(device->run(device, number, arguments));
  TRY(device_synchronize(device));
  time->calls++;
  time->seconds += perf_now() - begun;
  time->flops += op_cost(device, (op_number_t)number, arguments).flops;
  return STATUS_OK;
}

void op_timer_start(device_t *device, op_timer_t *timer) {
  *timer = (op_timer_t){.watcher.run = timer_run};
  device->watcher = &timer->watcher;
}

void op_timer_stop(device_t *device) {
  device->watcher = NULL;
}
