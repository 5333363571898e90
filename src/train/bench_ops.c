#include "train/bench_ops.h"

#include "perf/perf.h"

#include <string.h>

static const char *const names[TIMED_COUNT] = {
    [TIMED_GEMM_FORWARD] = "gemm forward",
    [TIMED_GEMM_INPUT] = "gemm input gradient",
    [TIMED_GEMM_WEIGHT] = "gemm weight gradient",
    [TIMED_ATTENTION] = "attention",
    [TIMED_ATTENTION_BACKWARD] = "attention backward",
    [TIMED_ATTENTION_PAGED] = "attention, paged",
    [TIMED_VOCAB] = "vocabulary",
    [TIMED_NORM] = "norms",
    [TIMED_ACTIVATION] = "activations",
    [TIMED_ROPE] = "rotary embedding",
    [TIMED_CACHE_WRITE] = "cache write",
    [TIMED_ROWS] = "rows",
    [TIMED_ADAMW] = "AdamW",
    [TIMED_COPY] = "copies and sums",
};

const char *timed_name(timed_t timed) {
  return names[timed];
}

static op_timer_t *timer_of(const device_t *device) {
  return (op_timer_t *)(uintptr_t)device->ops;
}

static const ops_t *inner(const device_t *device) {
  return timer_of(device)->inner;
}

/* Waits for what is under way; NOW is the time then. */
static status_t begin(device_t *device, double *now) {
  TRY(device_synchronize(device));
  *now = perf_now();
  return STATUS_OK;
}

static status_t end(device_t *device, timed_t timed, double begun, double flops) {
  op_time_t *time = &timer_of(device)->times[timed];
  TRY(device_synchronize(device));
  time->calls++;
  time->seconds += perf_now() - begun;
  time->flops += flops;
  return STATUS_OK;
}

/* By its transposes: what the model uses each form for. */
static timed_t timed_of(const op_gemm_t *op) {
  if (op->trans_a) return TIMED_GEMM_WEIGHT;
  return op->trans_b ? TIMED_GEMM_FORWARD : TIMED_GEMM_INPUT;
}

static status_t gemm(device_t *device, const op_gemm_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->gemm(device, op));
  return end(device, timed_of(op), begun, 2.0 * (double)op->m * (double)op->n * (double)op->k);
}

static double attention_flops(const op_attention_t *op) {
  double pairs = 0.0;
  for (int32_t s = 0; s < op->sequences; s++) {
    double n = op->offsets_host[s + 1] - op->offsets_host[s];
    pairs += op->causal ? 0.5 * n * (n + 1.0) : n * n;
  }
  return 4.0 * pairs * op->heads * op->head_size;
}

static status_t attention(device_t *device, const op_attention_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->attention(device, op));
  return end(device, TIMED_ATTENTION, begun, attention_flops(op));
}

static status_t attention_backward(device_t *device, const op_attention_backward_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->attention_backward(device, op));
  return end(device, TIMED_ATTENTION_BACKWARD, begun, 2.0 * attention_flops(&op->forward));
}

static status_t rmsnorm(device_t *device, const op_rmsnorm_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->rmsnorm(device, op));
  return end(device, TIMED_NORM, begun, 0.0);
}

static status_t rmsnorm_backward(device_t *device, const op_rmsnorm_backward_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->rmsnorm_backward(device, op));
  return end(device, TIMED_NORM, begun, 0.0);
}

static status_t layernorm(device_t *device, const op_layernorm_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->layernorm(device, op));
  return end(device, TIMED_NORM, begun, 0.0);
}

static status_t layernorm_backward(device_t *device, const op_layernorm_backward_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->layernorm_backward(device, op));
  return end(device, TIMED_NORM, begun, 0.0);
}

static status_t activation_backward(device_t *device, const op_activation_backward_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->activation_backward(device, op));
  return end(device, TIMED_ACTIVATION, begun, 0.0);
}

static status_t swiglu(device_t *device, const op_swiglu_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->swiglu(device, op));
  return end(device, TIMED_ACTIVATION, begun, 0.0);
}

static status_t swiglu_backward(device_t *device, const op_swiglu_backward_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->swiglu_backward(device, op));
  return end(device, TIMED_ACTIVATION, begun, 0.0);
}

static status_t rope(device_t *device, const op_rope_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->rope(device, op));
  return end(device, TIMED_ROPE, begun, 0.0);
}

static status_t cache_write(device_t *device, const op_cache_write_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->cache_write(device, op));
  return end(device, TIMED_CACHE_WRITE, begun, 0.0);
}

static status_t attention_paged(device_t *device, const op_attention_paged_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->attention_paged(device, op));
  return end(device, TIMED_ATTENTION_PAGED, begun, 0.0);
}

static status_t embedding(device_t *device, const op_embedding_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->embedding(device, op));
  return end(device, TIMED_ROWS, begun, 0.0);
}

static status_t embedding_backward(device_t *device, const op_embedding_backward_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->embedding_backward(device, op));
  return end(device, TIMED_ROWS, begun, 0.0);
}

static status_t rows_gather(device_t *device, const op_rows_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->rows_gather(device, op));
  return end(device, TIMED_ROWS, begun, 0.0);
}

static status_t rows_scatter(device_t *device, const op_rows_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->rows_scatter(device, op));
  return end(device, TIMED_ROWS, begun, 0.0);
}

static status_t add_periodic(device_t *device, const op_add_periodic_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->add_periodic(device, op));
  return end(device, TIMED_ROWS, begun, 0.0);
}

static status_t sum_periodic(device_t *device, const op_sum_periodic_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->sum_periodic(device, op));
  return end(device, TIMED_ROWS, begun, 0.0);
}

static status_t vocab_max(device_t *device, const op_vocab_max_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->vocab_max(device, op));
  return end(device, TIMED_VOCAB, begun, 0.0);
}

static status_t vocab_sums(device_t *device, const op_vocab_sums_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->vocab_sums(device, op));
  return end(device, TIMED_VOCAB, begun, 0.0);
}

static status_t vocab_logprob(device_t *device, const op_vocab_logprob_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->vocab_logprob(device, op));
  return end(device, TIMED_VOCAB, begun, 0.0);
}

static status_t vocab_backward(device_t *device, const op_vocab_backward_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->vocab_backward(device, op));
  return end(device, TIMED_VOCAB, begun, 0.0);
}

static status_t sample(device_t *device, const op_sample_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->sample(device, op));
  return end(device, TIMED_VOCAB, begun, 0.0);
}

static status_t vocab_histogram(device_t *device, const op_vocab_histogram_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->vocab_histogram(device, op));
  return end(device, TIMED_VOCAB, begun, 0.0);
}

static status_t adamw(device_t *device, const op_adamw_t *op) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->adamw(device, op));
  return end(device, TIMED_ADAMW, begun, 0.0);
}

static status_t add(device_t *device, int64_t n, const real_t *x, real_t *y) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->add(device, n, x, y));
  return end(device, TIMED_COPY, begun, 0.0);
}

static status_t copy(device_t *device, int64_t n, const real_t *x, real_t *y) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->copy(device, n, x, y));
  return end(device, TIMED_COPY, begun, 0.0);
}

static status_t fill_real(device_t *device, int64_t n, double value, real_t *x) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->fill_real(device, n, value, x));
  return end(device, TIMED_COPY, begun, 0.0);
}

static status_t fill_wide(device_t *device, int64_t n, double value, wide_t *x) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->fill_wide(device, n, value, x));
  return end(device, TIMED_COPY, begun, 0.0);
}

static status_t narrow(device_t *device, int64_t n, const wide_t *from, real_t *to) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->narrow(device, n, from, to));
  return end(device, TIMED_COPY, begun, 0.0);
}

static status_t widen(device_t *device, int64_t n, const real_t *from, wide_t *to) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->widen(device, n, from, to));
  return end(device, TIMED_COPY, begun, 0.0);
}

static status_t sum_squares(device_t *device, int64_t n, const wide_t *x, wide_t *sum) {
  double begun;
  TRY(begin(device, &begun));
  TRY(inner(device)->sum_squares(device, n, x, sum));
  return end(device, TIMED_COPY, begun, 0.0);
}

static const ops_t measuring = {
    .gemm = gemm,
    .rmsnorm = rmsnorm,
    .rmsnorm_backward = rmsnorm_backward,
    .layernorm = layernorm,
    .layernorm_backward = layernorm_backward,
    .activation_backward = activation_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .rope = rope,
    .attention = attention,
    .attention_backward = attention_backward,
    .cache_write = cache_write,
    .attention_paged = attention_paged,
    .embedding = embedding,
    .embedding_backward = embedding_backward,
    .rows_gather = rows_gather,
    .rows_scatter = rows_scatter,
    .add_periodic = add_periodic,
    .sum_periodic = sum_periodic,
    .vocab_max = vocab_max,
    .vocab_sums = vocab_sums,
    .vocab_logprob = vocab_logprob,
    .vocab_backward = vocab_backward,
    .sample = sample,
    .vocab_histogram = vocab_histogram,
    .adamw = adamw,
    .add = add,
    .copy = copy,
    .fill_real = fill_real,
    .fill_wide = fill_wide,
    .narrow = narrow,
    .widen = widen,
    .sum_squares = sum_squares,
};

typedef void (*operation_t)(void);
enum { OPERATIONS = sizeof(ops_t) / sizeof(operation_t) };

void op_timer_start(device_t *device, op_timer_t *timer) {
  operation_t measured[OPERATIONS], there[OPERATIONS];
  *timer = (op_timer_t){.inner = device->ops};
  memcpy(measured, &measuring, sizeof measured);
  memcpy(there, device->ops, sizeof there);
  /* What the device lacks stays missing, so that the error names it. */
  for (int i = 0; i < OPERATIONS; i++)
    if (!there[i]) measured[i] = NULL;
  memcpy(&timer->ops, measured, sizeof measured);
  device->ops = &timer->ops;
}

void op_timer_stop(device_t *device, op_timer_t *timer) {
  device->ops = timer->inner;
}
