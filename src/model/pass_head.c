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

/* How much of everything a call needs. */
typedef struct {
  int64_t rows;    /* that the call is about */
  int64_t hidden;  /* hidden states at once */
  int64_t logits;  /* of them with their logits */
  int64_t dlogits; /* and those' gradient */
  int64_t given;   /* 1: a loss is given something for each row */
} pass_head_need_t;

static void pass_head_describe(workspace_t *w, const base_t *base, const pass_head_need_t *need, int tp,
                               pass_head_t *head) {
  int64_t n = need->rows, c = need->hidden * base->config.hidden;
  workspace_real(w, ARENA_SCRATCH, "hidden", c, &head->hidden);
  workspace_real(w, ARENA_SCRATCH, "dhidden", c, &head->dhidden);
  workspace_index(w, ARENA_SCRATCH, "rows", n, &head->rows);
  workspace_index(w, ARENA_SCRATCH, "targets", n, &head->targets);
  workspace_wide(w, ARENA_SCRATCH, "value", n, &head->value);
  workspace_wide(w, ARENA_SCRATCH, "entropy", n, &head->entropy);
  workspace_wide(w, ARENA_SCRATCH, "ties", n, &head->ties);
  workspace_wide(w, ARENA_SCRATCH, "dvalue", n, &head->dvalue);
  workspace_real(w, ARENA_SCRATCH, "dvalue_real", n, &head->dvalue_real);
  workspace_wide(w, ARENA_SCRATCH, "logits", need->logits * base->vocab_rows, &head->logits);
  workspace_wide(w, ARENA_SCRATCH, "records", tp * need->logits * VOCAB_RECORD, &head->records);
  workspace_wide(w, ARENA_SCRATCH, "normaliser", 2 * need->dlogits, &head->normaliser);
  workspace_real(w, ARENA_SCRATCH, "dlogits", need->dlogits * base->vocab_rows, &head->dlogits);
  for (int i = 0; i < 3; i++)
    workspace_wide(w, ARENA_SCRATCH, "given", need->given * n, &head->given[i]);
}

static status_t head_reserve(pass_t *pass, const pass_head_need_t *need) {
  bool fresh;
  workspace_begin(&pass->head_workspace);
  pass_head_describe(&pass->head_workspace, pass->call.role.base, need, pass->grid->tp_size, &pass->head);
  TRY(workspace_end(&pass->head_workspace, &fresh));
  if (fresh) pass->head.written = 0;
  return STATUS_OK;
}

static int64_t chunk_rows(const pass_t *pass, int64_t n) {
  int64_t most = pass_logit_rows(pass, pass->call.role.base);
  return n < most ? n : most;
}

/* Hidden states of ROWS (n) side by side in head.hidden. */
static status_t pass_head_gather_hidden(pass_t *pass, int64_t n, const index_t *rows) {
  return rows_gather(pass->device, n, pass->call.role.base->config.hidden, pass->buffers.final, rows,
                     pass->head.hidden, false);
}

/* Logits of ROWS (n) to head.logits. */
static status_t chunk_logits(pass_t *pass, int64_t n, const index_t *rows) {
  const base_t *base = pass->call.role.base;
  TRY(pass_head_gather_hidden(pass, n, rows));
  op_linear_t op =
      linear_op(n, param_weight(&base->params, base->lm_head), pass->head.hidden, pass->head.logits);
  op.y_wide = true;
  return OP(pass->device, linear, &op);
}

static vocab_shard_t shard_of(const pass_t *pass, int64_t n, double scale) {
  return (vocab_shard_t){.rows = n,
                         .ld = pass->call.role.base->vocab_rows,
                         .begin = pass->call.role.base->vocab_begin,
                         .count = pass->call.role.base->vocab_count,
                         .logits = pass->head.logits,
                         .scale = scale};
}

/* Padding takes no hidden state: its rows hold what was there before, and numbers from the start. */
static status_t pass_head_clear(pass_t *pass, int64_t n) {
  int64_t wanted = n * pass->call.role.base->config.hidden, written = pass->head.written;
  if (wanted <= written) return STATUS_OK;
  pass->head.written = wanted;
  real_t *rest = real_at(pass->device, pass->head.hidden, written);
  return OP(pass->device, fill_real, &(op_fill_real_t){.n = wanted - written, .value = 0.0, .x = rest});
}

status_t pass_logits(pass_t *pass, int64_t n, const index_t *rows, double scale, vocab_shard_t *logits) {
  TRY(head_reserve(pass, &(pass_head_need_t){.hidden = n, .logits = n}));
  TRY(pass_head_clear(pass, n));
  TRY(chunk_logits(pass, n, rows));
  *logits = shard_of(pass, n, scale);
  return STATUS_OK;
}

/* The records of SHARD's rows, of TARGETS or drawn, from all ranks of the tp group to head.records. */
static status_t pass_head_gather_records(pass_t *pass, const vocab_shard_t *shard, const index_t *targets,
                                         const vocab_draw_t *draw) {
  const grid_t *grid = pass->grid;
  int64_t numbers = shard->rows * VOCAB_RECORD;
  wide_t *mine = wide_at(pass->device, pass->head.records, grid->tp_rank * numbers);
  TRY(OP(pass->device, vocab_statistics,
         &(op_vocab_statistics_t){.shard = *shard, .targets = targets, .draw = draw, .records = mine}));
  if (grid->tp_size == 1) return STATUS_OK;
  for (int rank = 0; rank < grid->tp_size; rank++)
    pass->tp_counts[rank] = (size_t)numbers;
  return wide_allgatherv(pass->device, grid->tp, mine, pass->head.records, pass->tp_counts);
}

status_t pass_draw(pass_t *pass, const vocab_shard_t *logits, const vocab_draw_t *draw, index_t *tokens,
                   wide_t *logprobs, wide_t *entropies) {
  TRY(pass_head_gather_records(pass, logits, NULL, draw));
  return OP(pass->device, vocab_combine,
            &(op_vocab_combine_t){.shards = pass->grid->tp_size,
                                  .rows = logits->rows,
                                  .records = pass->head.records,
                                  .logprob = logprobs,
                                  .entropy = entropies,
                                  .tokens = tokens});
}

/* Rows BEGIN .. BEGIN + N - 1 of the call: logits, and from them log-probability, entropy and ties to the
 * call's arrays; DERIVE: and the normaliser. */
static status_t chunk_statistics(pass_t *pass, int64_t begin, int64_t n, double scale, bool derive) {
  const pass_head_t *head = &pass->head;
  const device_t *device = pass->device;
  TRY(chunk_logits(pass, n, index_at(head->rows, begin)));
  vocab_shard_t shard = shard_of(pass, n, scale);
  TRY(pass_head_gather_records(pass, &shard, index_at(head->targets, begin), NULL));
  return OP(pass->device, vocab_combine,
            &(op_vocab_combine_t){.shards = pass->grid->tp_size,
                                  .rows = n,
                                  .records = head->records,
                                  .logprob = wide_at(device, head->value, begin),
                                  .entropy = wide_at(device, head->entropy, begin),
                                  .ties = derive ? wide_at(device, head->ties, begin) : NULL,
                                  .normaliser = derive ? head->normaliser : NULL});
}

/* Rows and targets of a call, once. */
static status_t pass_head_upload(pass_t *pass, int64_t n, const int32_t *rows, const int32_t *targets) {
  TRY(index_upload(pass->device, pass->head.rows, rows, (size_t)n));
  return index_upload(pass->device, pass->head.targets, targets, (size_t)n);
}

status_t pass_logprobs(pass_t *pass, int64_t n, const int32_t *rows, const int32_t *targets, double scale,
                       double *logprobs, double *entropies) {
  int64_t chunk = chunk_rows(pass, n);
  TRY(head_reserve(pass, &(pass_head_need_t){.rows = n, .hidden = chunk, .logits = chunk}));
  TRY(pass_head_upload(pass, n, rows, targets));
  for (int64_t i = 0; i < n; i += chunk)
    TRY(chunk_statistics(pass, i, n - i < chunk ? n - i : chunk, scale, false));
  TRY(wide_download(pass->device, logprobs, DTYPE_F64, pass->head.value, (size_t)n));
  if (entropies) TRY(wide_download(pass->device, entropies, DTYPE_F64, pass->head.entropy, (size_t)n));
  return device_synchronize(pass->device);
}

/* Gradient of the logits of rows BEGIN .. BEGIN + N - 1 into the output head and, summed over shards, into
 * the hidden states' gradient. */
static status_t chunk_backward(pass_t *pass, int64_t begin, int64_t n, double scale) {
  const base_t *base = pass->call.role.base;
  const pass_head_t *head = &pass->head;
  int64_t c = base->config.hidden;
  TRY(OP(pass->device, vocab_backward,
         &(op_vocab_backward_t){.shard = shard_of(pass, n, scale),
                                .normaliser = head->normaliser,
                                .dlogprob = wide_at(pass->device, head->dvalue, begin),
                                .targets = index_at(head->targets, begin),
                                .dlogits = head->dlogits}));
  op_linear_backward_t backward = linear_backward_op(n, param_weight(&base->params, base->lm_head),
                                                     head->hidden, head->dlogits, head->dhidden);
  backward.segment[0].dw = param_grad(&base->params, base->lm_head);
  TRY(OP(pass->device, linear_backward, &backward));
  TRY(real_allreduce(pass->device, pass->grid->tp, head->dhidden, (size_t)(n * c), COMM_SUM));
  return rows_scatter(pass->device, n, c, head->dhidden, index_at(head->rows, begin), pass->buffers.dfinal,
                      true);
}

/* What LOSS is given of all rows: a linear one's slopes are the derivatives. */
static status_t token_loss_upload(pass_t *pass, int64_t n, const pass_token_loss_t *loss) {
  const pass_head_t *head = &pass->head;
  if (!loss->old_logprobs) return wide_upload(pass->device, head->dvalue, loss->slopes, DTYPE_F64, (size_t)n);
  TRY(wide_upload(pass->device, head->given[0], loss->slopes, DTYPE_F64, (size_t)n));
  return wide_upload(pass->device, head->given[1], loss->old_logprobs, DTYPE_F64, (size_t)n);
}

/* Derivatives of rows BEGIN .. BEGIN + N - 1 to head.dvalue. */
static status_t chunk_loss(pass_t *pass, int64_t begin, int64_t n, const pass_token_loss_t *loss) {
  const pass_head_t *head = &pass->head;
  device_t *device = pass->device;
  if (!loss->old_logprobs) return STATUS_OK;
  return OP(device, policy_loss,
            &(op_policy_loss_t){.n = n,
                                .logprob = wide_at(device, head->value, begin),
                                .old_logprob = wide_at(device, head->given[1], begin),
                                .slope = wide_at(device, head->given[0], begin),
                                .clip = loss->clip,
                                .dlogprob = wide_at(device, head->dvalue, begin)});
}

static status_t token_numbers_download(pass_t *pass, int64_t n, const pass_token_numbers_t *numbers) {
  const pass_head_t *head = &pass->head;
  double *const to[] = {numbers->logprobs, numbers->entropies, numbers->ties};
  const wide_t *const from[] = {head->value, head->entropy, head->ties};
  for (int i = 0; i < 3; i++)
    if (to[i]) TRY(wide_download(pass->device, to[i], DTYPE_F64, from[i], (size_t)n));
  return STATUS_OK;
}

status_t pass_logprobs_backward(pass_t *pass, int64_t n, const int32_t *rows, const int32_t *targets,
                                double scale, const pass_token_loss_t *loss,
                                const pass_token_numbers_t *numbers) {
  if (!pass->call.keep)
    return error_set(STATUS_INTERNAL, "gradient of log-probabilities without a kept forward pass");
  if (n == 0) return STATUS_OK;
  int64_t chunk = chunk_rows(pass, n);
  TRY(head_reserve(pass, &(pass_head_need_t){.rows = n,
                                             .hidden = chunk,
                                             .logits = chunk,
                                             .dlogits = chunk,
                                             .given = loss->old_logprobs != NULL}));
  TRY(pass_head_upload(pass, n, rows, targets));
  TRY(token_loss_upload(pass, n, loss));
  for (int64_t i = 0; i < n; i += chunk) {
    int64_t count = n - i < chunk ? n - i : chunk;
    TRY(chunk_statistics(pass, i, count, scale, true));
    TRY(chunk_loss(pass, i, count, loss));
    TRY(chunk_backward(pass, i, count, scale));
  }
  return token_numbers_download(pass, n, numbers);
}

/* ---- Values ---- */

/* Values of ROWS (n) to head.value, their hidden states to head.hidden. */
static status_t scalar_values(pass_t *pass, int64_t n, const int32_t *rows, bool given) {
  const head_t *head = pass->call.role.head;
  TRY(head_reserve(pass, &(pass_head_need_t){.rows = n, .hidden = n, .given = given}));
  TRY(index_upload(pass->device, pass->head.rows, rows, (size_t)n));
  TRY(pass_head_gather_hidden(pass, n, pass->head.rows));
  op_linear_t op =
      linear_op(n, param_weight(&head->params, head->weight), pass->head.hidden, pass->head.value);
  op.bias = param_real(&head->params, head->bias);
  op.y_wide = true;
  return OP(pass->device, linear, &op);
}

status_t pass_scalars(pass_t *pass, int64_t n, const int32_t *rows, double *values) {
  if (!pass->call.role.head)
    return error_set(STATUS_INTERNAL, "a role without a scalar head was asked for values");
  if (n == 0) return STATUS_OK;
  TRY(scalar_values(pass, n, rows, false));
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

static status_t value_loss(pass_t *pass, int64_t n, const pass_scalar_loss_t *loss) {
  const pass_head_t *head = &pass->head;
  const double *const from[] = {loss->weights, loss->old_values, loss->returns};
  for (int i = 0; i < 3; i++)
    TRY(wide_upload(pass->device, head->given[i], from[i], DTYPE_F64, (size_t)n));
  return OP(pass->device, value_loss,
            &(op_value_loss_t){.n = n,
                               .value = head->value,
                               .weight = head->given[0],
                               .old_value = head->given[1],
                               .ret = head->given[2],
                               .clip = loss->clip,
                               .dvalue = head->dvalue});
}

static status_t pair_loss(pass_t *pass, int64_t n, const pass_scalar_loss_t *loss) {
  const pass_head_t *head = &pass->head;
  TRY(index_upload(pass->device, head->targets, loss->preferred, (size_t)n / 2));
  return OP(pass->device, pair_loss,
            &(op_pair_loss_t){.pairs = n / 2,
                              .group = loss->group,
                              .rewards = head->value,
                              .preferred = head->targets,
                              .center_coef = loss->center_coef,
                              .weight = loss->weight,
                              .drewards = head->dvalue});
}

/* Derivatives of all rows to head.dvalue. */
static status_t scalar_loss(pass_t *pass, int64_t n, const pass_scalar_loss_t *loss) {
  if (loss->preferred) return pair_loss(pass, n, loss);
  if (loss->returns) return value_loss(pass, n, loss);
  return wide_upload(pass->device, pass->head.dvalue, loss->weights, DTYPE_F64, (size_t)n);
}

status_t pass_scalars_backward(pass_t *pass, int64_t n, const int32_t *rows, const pass_scalar_loss_t *loss,
                               double *values) {
  if (!pass->call.keep || !pass->call.role.head)
    return error_set(STATUS_INTERNAL, "gradient of values without a kept forward pass or without a head");
  if (n == 0) return STATUS_OK;
  TRY(scalar_values(pass, n, rows, loss->returns != NULL));
  TRY(scalar_loss(pass, n, loss));
  TRY(scalar_gradients(pass, n));
  int64_t c = pass->call.role.base->config.hidden;
  TRY(rows_scatter(pass->device, n, c, pass->head.dhidden, pass->head.rows, pass->buffers.dfinal, true));
  return wide_download(pass->device, values, DTYPE_F64, pass->head.value, (size_t)n);
}

status_t pass_synchronize(pass_t *pass) {
  return device_synchronize(pass->device);
}

status_t pass_pace(pass_t *pass) {
  TRY(device_event_record(pass->paces[pass->paced++ % 2]));
  return pass->paced > 1 ? device_event_wait(pass->paces[pass->paced % 2]) : STATUS_OK;
}
