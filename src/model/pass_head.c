/* What hidden states are used for: vocabulary head in chunks of rows, so that full logits never exist, and
 * scalar heads. */
#include "model/pass_internal.h"

enum { DEFAULT_LARGEST_LOGITS = 1 << 23, MOST_ROWS = 4096 };

int64_t pass_logit_rows(const pass_t *pass, const base_t *base) {
  int64_t largest = pass->options.largest_logits > 0 ? pass->options.largest_logits : DEFAULT_LARGEST_LOGITS;
  int64_t rows = largest / base->vocab_rows;
  if (rows < 1) rows = 1;
  return rows > MOST_ROWS ? MOST_ROWS : rows;
}

/* The table: N hidden states at once, LOGITS of them with their logits, and DLOGITS with those' gradient. */
static void pass_head_describe(workspace_t *w, const base_t *base, int64_t n, int64_t logits, int64_t dlogits,
                               pass_head_t *head) {
  int64_t c = n * base->config.hidden;
  workspace_real(w, ARENA_SCRATCH, "hidden", c, &head->hidden);
  workspace_real(w, ARENA_SCRATCH, "dhidden", c, &head->dhidden);
  workspace_wide(w, ARENA_SCRATCH, "value", n, &head->value);
  workspace_wide(w, ARENA_SCRATCH, "dvalue", n, &head->dvalue);
  workspace_real(w, ARENA_SCRATCH, "dvalue_real", n, &head->dvalue_real);
  workspace_index(w, ARENA_SCRATCH, "index", n, &head->index);
  workspace_wide(w, ARENA_SCRATCH, "logits", logits * base->vocab_rows, &head->logits);
  workspace_wide(w, ARENA_SCRATCH, "max", logits, &head->max);
  workspace_wide(w, ARENA_SCRATCH, "sums", VOCAB_SUMS * logits, &head->sums);
  workspace_wide(w, ARENA_SCRATCH, "entropy", logits, &head->entropy);
  workspace_index(w, ARENA_SCRATCH, "targets", logits, &head->targets);
  workspace_real(w, ARENA_SCRATCH, "dlogits", dlogits * base->vocab_rows, &head->dlogits);
  workspace_host(w, "logprobs", dlogits, &head->logprobs_host);
  workspace_host(w, "entropies", dlogits, &head->entropies_host);
  workspace_host(w, "dlogprobs", dlogits, &head->dlogprobs_host);
  workspace_host(w, "sums", VOCAB_SUMS * dlogits, &head->sums_host);
  workspace_host(w, "hits", dlogits, &head->hits);
}

static status_t head_reserve(pass_t *pass, int64_t n, int64_t logits, int64_t dlogits) {
  workspace_begin(&pass->head_workspace);
  pass_head_describe(&pass->head_workspace, pass->call.role.base, n, logits, dlogits, &pass->head);
  return workspace_end(&pass->head_workspace, NULL);
}

static int64_t chunk_rows(const pass_t *pass, int64_t n) {
  int64_t most = pass_logit_rows(pass, pass->call.role.base);
  return n < most ? n : most;
}

/* Hidden states of ROWS (n) side by side in head.hidden. */
static status_t pass_head_gather_hidden(pass_t *pass, int64_t n, const int32_t *rows) {
  pass_head_t *head = &pass->head;
  int64_t c = pass->call.role.base->config.hidden;
  TRY(index_upload(pass->device, head->index, rows, (size_t)n));
  return rows_gather(pass->device, n, c, pass->buffers.final, head->index, head->hidden, false);
}

static status_t chunk_logits(pass_t *pass, int64_t n, const int32_t *rows) {
  const base_t *base = pass->call.role.base;
  TRY(pass_head_gather_hidden(pass, n, rows));
  op_linear_t op =
      linear_op(n, param_weight(&base->params, base->lm_head), pass->head.hidden, pass->head.logits);
  op.y_wide = true;
  return OP(pass->device, linear, &op);
}

status_t pass_logits(pass_t *pass, int64_t n, const int32_t *rows, const wide_t **logits) {
  TRY(head_reserve(pass, n, n, 0));
  TRY(chunk_logits(pass, n, rows));
  *logits = pass->head.logits;
  return STATUS_OK;
}

static vocab_shard_t shard_of(const pass_t *pass, int64_t n, double scale) {
  return (vocab_shard_t){.rows = n,
                         .ld = pass->call.role.base->vocab_rows,
                         .begin = pass->call.role.base->vocab_begin,
                         .count = pass->call.role.base->vocab_count,
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
  TRY(wide_allreduce(pass->device, pass->grid->tp, head->sums, (size_t)(VOCAB_SUMS * n), COMM_SUM));
  return OP(
      pass->device, vocab_logprob,
      &(op_vocab_logprob_t){.rows = n, .sums = head->sums, .logprob = head->value, .entropy = head->entropy});
}

static status_t pass_head_read_statistics(pass_t *pass, int64_t n, double *logprobs, double *entropies) {
  TRY(wide_download(pass->device, logprobs, DTYPE_F64, pass->head.value, (size_t)n));
  if (entropies) TRY(wide_download(pass->device, entropies, DTYPE_F64, pass->head.entropy, (size_t)n));
  return device_synchronize(pass->device);
}

status_t pass_logprobs_of_logits(pass_t *pass, int64_t n, const int32_t *targets, double scale,
                                 double *logprobs, double *entropies) {
  TRY(chunk_statistics(pass, n, targets, scale));
  return pass_head_read_statistics(pass, n, logprobs, entropies);
}

status_t pass_logprobs(pass_t *pass, int64_t n, const int32_t *rows, const int32_t *targets, double scale,
                       double *logprobs, double *entropies) {
  int64_t chunk = chunk_rows(pass, n);
  TRY(head_reserve(pass, chunk, chunk, 0));
  for (int64_t i = 0; i < n; i += chunk) {
    int64_t count = n - i < chunk ? n - i : chunk;
    TRY(chunk_logits(pass, count, rows + i));
    TRY(chunk_statistics(pass, count, targets + i, scale));
    TRY(pass_head_read_statistics(pass, count, logprobs + i, entropies ? entropies + i : NULL));
  }
  return STATUS_OK;
}

/* Gradient of a chunk's logits into the output head and, summed over shards, into the hidden states'
 * gradient. */
static status_t chunk_backward(pass_t *pass, int64_t n, double scale, const double *dlogprobs) {
  const base_t *base = pass->call.role.base;
  pass_head_t *head = &pass->head;
  int64_t c = base->config.hidden;
  TRY(wide_upload(pass->device, head->dvalue, dlogprobs, DTYPE_F64, (size_t)n));
  TRY(OP(pass->device, vocab_backward,
         &(op_vocab_backward_t){.shard = shard_of(pass, n, scale),
                                .max = head->max,
                                .sums = head->sums,
                                .dlogprob = head->dvalue,
                                .targets = head->targets,
                                .dlogits = head->dlogits}));
  op_linear_backward_t backward = linear_backward_op(n, param_weight(&base->params, base->lm_head),
                                                     head->hidden, head->dlogits, head->dhidden);
  backward.segment[0].dw = param_grad(&base->params, base->lm_head);
  TRY(OP(pass->device, linear_backward, &backward));
  TRY(real_allreduce(pass->device, pass->grid->tp, head->dhidden, (size_t)(n * c), COMM_SUM));
  return rows_scatter(pass->device, n, c, head->dhidden, head->index, pass->buffers.dfinal, true);
}

/* A target is the most likely token if its scaled logit is the largest: the third sum is their difference. It
 * shares that with all that are as large, which the fourth counts. */
static status_t pass_head_read_chunk(pass_t *pass, int64_t n) {
  const pass_head_t *head = &pass->head;
  TRY(wide_download(pass->device, head->sums_host, DTYPE_F64, head->sums, (size_t)(VOCAB_SUMS * n)));
  TRY(pass_head_read_statistics(pass, n, head->logprobs_host, head->entropies_host));
  for (int64_t i = 0; i < n; i++) {
    const double *sums = head->sums_host + VOCAB_SUMS * i;
    head->hits[i] = sums[2] >= 0.0 ? 1.0 / sums[3] : 0.0;
  }
  return STATUS_OK;
}

status_t pass_logprobs_backward(pass_t *pass, int64_t n, const int32_t *rows, const int32_t *targets,
                                double scale, pass_loss_t loss, void *context) {
  if (!pass->call.keep)
    return error_set(STATUS_INTERNAL, "gradient of log-probabilities without a kept forward pass");
  if (n == 0) return STATUS_OK;
  int64_t chunk = chunk_rows(pass, n);
  TRY(head_reserve(pass, chunk, chunk, chunk));
  const pass_head_t *head = &pass->head;
  for (int64_t i = 0; i < n; i += chunk) {
    int64_t count = n - i < chunk ? n - i : chunk;
    TRY(chunk_logits(pass, count, rows + i));
    TRY(chunk_statistics(pass, count, targets + i, scale));
    TRY(pass_head_read_chunk(pass, count));
    const pass_chunk_t values = {.begin = i,
                                 .count = count,
                                 .logprobs = head->logprobs_host,
                                 .entropies = head->entropies_host,
                                 .hits = head->hits};
    TRY(loss(context, &values, head->dlogprobs_host));
    TRY(chunk_backward(pass, count, scale, head->dlogprobs_host));
  }
  return STATUS_OK;
}

status_t pass_scalars(pass_t *pass, int64_t n, const int32_t *rows, double *values) {
  const head_t *head = pass->call.role.head;
  if (!head) return error_set(STATUS_INTERNAL, "a role without a scalar head was asked for values");
  if (n == 0) return STATUS_OK;
  TRY(head_reserve(pass, n, 0, 0));
  TRY(pass_head_gather_hidden(pass, n, rows));
  op_linear_t op =
      linear_op(n, param_weight(&head->params, head->weight), pass->head.hidden, pass->head.value);
  op.bias = param_real(&head->params, head->bias);
  op.y_wide = true;
  TRY(OP(pass->device, linear, &op));
  TRY(wide_download(pass->device, values, DTYPE_F64, pass->head.value, (size_t)n));
  return device_synchronize(pass->device);
}

/* head.dhidden (n, C) = dvalues (n) weight; gradients of weight and bias +=. */
static status_t scalar_gradients(pass_t *pass, int64_t n) {
  const head_t *head = pass->call.role.head;
  real_t *dvalues = pass->head.dvalue_real;
  TRY(OP(pass->device, narrow, &(op_narrow_t){.n = n, .from = pass->head.dvalue, .to = dvalues}));
  op_linear_backward_t op = linear_backward_op(n, param_weight(&head->params, head->weight),
                                               pass->head.hidden, dvalues, pass->head.dhidden);
  op.segment[0].dw = param_grad(&head->params, head->weight);
  op.dbias = param_grad(&head->params, head->bias);
  return OP(pass->device, linear_backward, &op);
}

status_t pass_scalars_backward(pass_t *pass, int64_t n, const int32_t *rows, const double *dvalues) {
  if (!pass->call.keep || !pass->call.role.head)
    return error_set(STATUS_INTERNAL, "gradient of values without a kept forward pass or without a head");
  if (n == 0) return STATUS_OK;
  TRY(head_reserve(pass, n, 0, 0));
  TRY(pass_head_gather_hidden(pass, n, rows));
  TRY(wide_upload(pass->device, pass->head.dvalue, dvalues, DTYPE_F64, (size_t)n));
  TRY(scalar_gradients(pass, n));
  int64_t c = pass->call.role.base->config.hidden;
  return rows_scatter(pass->device, n, c, pass->head.dhidden, pass->head.index, pass->buffers.dfinal, true);
}
