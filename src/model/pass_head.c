/* What hidden states are used for: vocabulary head in chunks of rows, so that full logits never exist, and
 * scalar heads. */
#include "base/memory.h"
#include "model/pass_internal.h"
#include "model/traffic.h"
#include "perf/perf.h"

enum { DEFAULT_LARGEST_LOGITS = 1 << 23, MOST_ROWS = 4096 };

int64_t pass_logit_rows(const pass_t *pass) {
  int64_t largest = pass->options.largest_logits > 0 ? pass->options.largest_logits : DEFAULT_LARGEST_LOGITS;
  int64_t rows = largest / pass->base->vocab_rows;
  if (rows < 1) rows = 1;
  return rows > MOST_ROWS ? MOST_ROWS : rows;
}

static void release_rows(pass_t *pass) {
  pass_head_t *head = &pass->head;
  void *all[] = {head->hidden, head->dhidden, head->value, head->dvalue, head->dvalue_real, head->index};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    device_release(pass->device, all[i]);
  head->hidden = head->dhidden = head->dvalue_real = NULL;
  head->value = head->dvalue = NULL;
  head->index = NULL;
  head->rows = 0;
}

static void release_logits(pass_t *pass) {
  pass_head_t *head = &pass->head;
  void *all[] = {head->logits, head->dlogits, head->max, head->sums, head->entropy, head->targets};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    device_release(pass->device, all[i]);
  memory_free(head->chunk);
  memory_free(head->hits);
  head->logits = head->max = head->sums = head->entropy = NULL;
  head->dlogits = NULL;
  head->targets = NULL;
  head->chunk = NULL;
  head->hits = NULL;
  head->logit_rows = 0;
}

void pass_head_free(pass_t *pass) {
  release_rows(pass);
  release_logits(pass);
}

/* Buffers for N hidden states at once. */
static status_t ensure_rows(pass_t *pass, int64_t n) {
  pass_head_t *head = &pass->head;
  device_t *device = pass->device;
  if (head->rows >= n) return STATUS_OK;
  release_rows(pass);
  size_t rows = (size_t)n, c = rows * (size_t)pass->base->config.hidden;
  TRY(real_alloc(device, ARENA_SCRATCH, c, &head->hidden));
  TRY(real_alloc(device, ARENA_SCRATCH, c, &head->dhidden));
  TRY(wide_alloc(device, ARENA_SCRATCH, rows, &head->value));
  TRY(wide_alloc(device, ARENA_SCRATCH, rows, &head->dvalue));
  TRY(real_alloc(device, ARENA_SCRATCH, rows, &head->dvalue_real));
  TRY(index_alloc(device, ARENA_SCRATCH, rows, &head->index));
  head->rows = n;
  return STATUS_OK;
}

static status_t allocate_logits(pass_t *pass, size_t rows) {
  pass_head_t *head = &pass->head;
  device_t *device = pass->device;
  TRY(wide_alloc(device, ARENA_SCRATCH, rows * (size_t)pass->base->vocab_rows, &head->logits));
  TRY(wide_alloc(device, ARENA_SCRATCH, rows, &head->max));
  TRY(wide_alloc(device, ARENA_SCRATCH, 3 * rows, &head->sums));
  TRY(wide_alloc(device, ARENA_SCRATCH, rows, &head->entropy));
  TRY(index_alloc(device, ARENA_SCRATCH, rows, &head->targets));
  TRY(memory_alloc(&head->chunk, ARENA_OTHER, CHUNK_COLUMNS * rows, sizeof *head->chunk));
  TRY(memory_alloc(&head->hits, ARENA_OTHER, rows, sizeof *head->hits));
  head->logit_rows = (int64_t)rows;
  return STATUS_OK;
}

/* Buffers for chunks of N rows (at most pass_logit_rows) of logits. */
static status_t ensure_logits(pass_t *pass, int64_t n, bool backward) {
  pass_head_t *head = &pass->head;
  TRY(ensure_rows(pass, n));
  if (head->logit_rows < n) {
    release_logits(pass);
    TRY(allocate_logits(pass, (size_t)n));
  }
  if (!backward || head->dlogits) return STATUS_OK;
  return real_alloc(pass->device, ARENA_SCRATCH, (size_t)(head->logit_rows * pass->base->vocab_rows),
                    &head->dlogits);
}

static int64_t chunk_rows(const pass_t *pass, int64_t n) {
  int64_t most = pass_logit_rows(pass);
  return n < most ? n : most;
}

/* Hidden states of ROWS (n) side by side in head.hidden. */
static status_t gather_hidden(pass_t *pass, int64_t n, const int32_t *rows) {
  pass_head_t *head = &pass->head;
  int64_t c = pass->base->config.hidden;
  TRY(index_upload(pass->device, head->index, rows, (size_t)n));
  return OP(pass->device, rows_gather,
            &(op_rows_t){.rows = n,
                         .cols = c,
                         .from = pass->final,
                         .ld_from = c,
                         .index = head->index,
                         .to = head->hidden,
                         .ld_to = c});
}

static status_t chunk_logits(pass_t *pass, int64_t n, const int32_t *rows) {
  const base_t *base = pass->base;
  int64_t c = base->config.hidden, v = base->vocab_rows;
  TRY(gather_hidden(pass, n, rows));
  perf_flops(2.0 * (double)n * (double)c * (double)v);
  perf_bytes(traffic_head(base).weights);
  return OP(pass->device, gemm,
            &(op_gemm_t){.trans_b = true,
                         .m = n,
                         .n = v,
                         .k = c,
                         .a = pass->head.hidden,
                         .lda = c,
                         .b = param_data(&base->params, base->lm_head),
                         .ldb = c,
                         .c = pass->head.logits,
                         .ldc = v,
                         .c_wide = true,
                         .alpha = 1.0});
}

status_t pass_logits(pass_t *pass, int64_t n, const int32_t *rows, const wide_t **logits) {
  TRY(ensure_logits(pass, n, false));
  TRY(chunk_logits(pass, n, rows));
  *logits = pass->head.logits;
  return STATUS_OK;
}

static vocab_shard_t shard_of(const pass_t *pass, int64_t n, double scale) {
  return (vocab_shard_t){.rows = n,
                         .ld = pass->base->vocab_rows,
                         .begin = pass->base->vocab_begin,
                         .count = pass->base->vocab_count,
                         .logits = pass->head.logits,
                         .scale = scale};
}

/* From head.logits and TARGETS (n) to head.max, sums, logprob, entropy over all shards. */
static status_t chunk_statistics(pass_t *pass, int64_t n, const int32_t *targets, double scale) {
  pass_head_t *head = &pass->head;
  vocab_shard_t shard = shard_of(pass, n, scale);
  TRY(index_upload(pass->device, head->targets, targets, (size_t)n));
  TRY(OP(pass->device, vocab_max, &(op_vocab_max_t){.shard = shard, .max = head->max}));
  TRY(wide_allreduce(pass->device, pass->grid->tp, head->max, (size_t)n, COMM_MAX));
  TRY(OP(pass->device, vocab_sums,
         &(op_vocab_sums_t){.shard = shard, .max = head->max, .targets = head->targets, .sums = head->sums}));
  TRY(wide_allreduce(pass->device, pass->grid->tp, head->sums, (size_t)(3 * n), COMM_SUM));
  return OP(
      pass->device, vocab_logprob,
      &(op_vocab_logprob_t){.rows = n, .sums = head->sums, .logprob = head->value, .entropy = head->entropy});
}

static status_t read_statistics(pass_t *pass, int64_t n, double *logprobs, double *entropies) {
  TRY(wide_download(pass->device, logprobs, DTYPE_F64, pass->head.value, (size_t)n));
  if (entropies) TRY(wide_download(pass->device, entropies, DTYPE_F64, pass->head.entropy, (size_t)n));
  return device_synchronize(pass->device);
}

status_t pass_logprobs_of_logits(pass_t *pass, int64_t n, const int32_t *targets, double scale,
                                 double *logprobs, double *entropies) {
  TRY(chunk_statistics(pass, n, targets, scale));
  return read_statistics(pass, n, logprobs, entropies);
}

status_t pass_logprobs(pass_t *pass, int64_t n, const int32_t *rows, const int32_t *targets, double scale,
                       double *logprobs, double *entropies) {
  int64_t chunk = chunk_rows(pass, n);
  TRY(ensure_logits(pass, chunk, false));
  for (int64_t i = 0; i < n; i += chunk) {
    int64_t count = n - i < chunk ? n - i : chunk;
    TRY(chunk_logits(pass, count, rows + i));
    TRY(chunk_statistics(pass, count, targets + i, scale));
    TRY(read_statistics(pass, count, logprobs + i, entropies ? entropies + i : NULL));
  }
  return STATUS_OK;
}

/* Gradient of a chunk's logits into the output head and, summed over shards, into the hidden states'
 * gradient. */
static status_t chunk_backward(pass_t *pass, int64_t n, double scale, const double *dlogprobs) {
  base_t *base = pass->base;
  pass_head_t *head = &pass->head;
  linear_context_t context = {pass->device, true};
  int64_t c = base->config.hidden, v = base->vocab_rows;
  traffic_t traffic = traffic_head(base);
  perf_bytes(traffic.weights + traffic.gradients);
  TRY(wide_upload(pass->device, head->dvalue, dlogprobs, DTYPE_F64, (size_t)n));
  TRY(OP(pass->device, vocab_backward,
         &(op_vocab_backward_t){.shard = shard_of(pass, n, scale),
                                .max = head->max,
                                .sums = head->sums,
                                .dlogprob = head->dvalue,
                                .targets = head->targets,
                                .dlogits = head->dlogits}));
  TRY(linear_backward_weight(&context, n, c, v, head->dlogits, head->hidden,
                             param_grad(&base->params, base->lm_head)));
  TRY(linear_backward_input(&context, n, c, v, head->dlogits, param_data(&base->params, base->lm_head), 1.0,
                            0.0, head->dhidden));
  TRY(real_allreduce(pass->device, pass->grid->tp, head->dhidden, (size_t)(n * c), COMM_SUM));
  return OP(pass->device, rows_scatter,
            &(op_rows_t){.rows = n,
                         .cols = c,
                         .from = head->dhidden,
                         .ld_from = c,
                         .index = head->index,
                         .to = pass->dfinal,
                         .ld_to = c,
                         .add = true});
}

/* The host arrays of one chunk. */
typedef struct {
  double *logprobs, *entropies, *dlogprobs, *sums;
  bool *hits;
} chunk_host_t;

static chunk_host_t chunk_host(const pass_t *pass) {
  int64_t n = pass->head.logit_rows;
  double *columns = pass->head.chunk;
  return (chunk_host_t){.logprobs = columns,
                        .entropies = columns + n,
                        .dlogprobs = columns + 2 * n,
                        .sums = columns + 3 * n,
                        .hits = pass->head.hits};
}

/* A target is the most likely token if its scaled logit is the largest: the third sum is their difference. */
static status_t read_chunk(pass_t *pass, int64_t n, const chunk_host_t *host) {
  TRY(wide_download(pass->device, host->sums, DTYPE_F64, pass->head.sums, (size_t)(3 * n)));
  TRY(read_statistics(pass, n, host->logprobs, host->entropies));
  for (int64_t i = 0; i < n; i++)
    host->hits[i] = host->sums[3 * i + 2] >= 0.0;
  return STATUS_OK;
}

status_t pass_logprobs_backward(pass_t *pass, int64_t n, const int32_t *rows, const int32_t *targets,
                                double scale, pass_loss_t loss, void *context) {
  if (!pass->kept)
    return error_set(STATUS_INTERNAL, "gradient of log-probabilities without a kept forward pass");
  if (n == 0) return STATUS_OK;
  int64_t chunk = chunk_rows(pass, n);
  TRY(ensure_logits(pass, chunk, true));
  chunk_host_t host = chunk_host(pass);
  for (int64_t i = 0; i < n; i += chunk) {
    int64_t count = n - i < chunk ? n - i : chunk;
    TRY(chunk_logits(pass, count, rows + i));
    TRY(chunk_statistics(pass, count, targets + i, scale));
    TRY(read_chunk(pass, count, &host));
    const pass_chunk_t values = {.begin = i,
                                 .count = count,
                                 .logprobs = host.logprobs,
                                 .entropies = host.entropies,
                                 .hits = host.hits};
    TRY(loss(context, &values, host.dlogprobs));
    TRY(chunk_backward(pass, count, scale, host.dlogprobs));
  }
  return STATUS_OK;
}

status_t pass_scalars(pass_t *pass, int64_t n, const int32_t *rows, double *values) {
  const head_t *head = pass->role.head;
  if (!head) return error_set(STATUS_INTERNAL, "a role without a scalar head was asked for values");
  if (n == 0) return STATUS_OK;
  TRY(ensure_rows(pass, n));
  TRY(gather_hidden(pass, n, rows));
  int64_t c = pass->base->config.hidden;
  perf_flops(2.0 * (double)n * (double)c);
  TRY(OP(pass->device, gemm,
         &(op_gemm_t){.trans_b = true,
                      .m = n,
                      .n = 1,
                      .k = c,
                      .a = pass->head.hidden,
                      .lda = c,
                      .b = param_data(&head->params, head->weight),
                      .ldb = c,
                      .c = pass->head.value,
                      .ldc = 1,
                      .c_wide = true,
                      .alpha = 1.0,
                      .bias = param_data(&head->params, head->bias)}));
  TRY(wide_download(pass->device, values, DTYPE_F64, pass->head.value, (size_t)n));
  return device_synchronize(pass->device);
}

/* head.dhidden (n, C) = dvalues (n) weight; gradients of weight and bias +=. */
static status_t scalar_gradients(pass_t *pass, int64_t n) {
  const head_t *head = pass->role.head;
  real_t *dvalues = pass->head.dvalue_real;
  linear_context_t context = {pass->device, true};
  int64_t c = pass->base->config.hidden;
  TRY(OP(pass->device, narrow, &(op_narrow_t){.n = n, .from = pass->head.dvalue, .to = dvalues}));
  TRY(linear_backward_weight(&context, n, c, 1, dvalues, pass->head.hidden,
                             param_grad(&head->params, head->weight)));
  TRY(linear_backward_bias(&context, n, 1, dvalues, param_grad(&head->params, head->bias)));
  return linear_backward_input(&context, n, c, 1, dvalues, param_data(&head->params, head->weight), 1.0, 0.0,
                               pass->head.dhidden);
}

status_t pass_scalars_backward(pass_t *pass, int64_t n, const int32_t *rows, const double *dvalues) {
  if (!pass->kept || !pass->role.head)
    return error_set(STATUS_INTERNAL, "gradient of values without a kept forward pass or without a head");
  if (n == 0) return STATUS_OK;
  TRY(ensure_rows(pass, n));
  TRY(gather_hidden(pass, n, rows));
  TRY(wide_upload(pass->device, pass->head.dvalue, dvalues, DTYPE_F64, (size_t)n));
  TRY(scalar_gradients(pass, n));
  int64_t c = pass->base->config.hidden;
  return OP(pass->device, rows_scatter,
            &(op_rows_t){.rows = n,
                         .cols = c,
                         .from = pass->head.dhidden,
                         .ld_from = c,
                         .index = pass->head.index,
                         .to = pass->dfinal,
                         .ld_to = c,
                         .add = true});
}
