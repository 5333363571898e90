/* One decoder layer, forward and backward. */
#include "model/pass_internal.h"

#include <math.h>

/* A layer in a call: what its functions see. */
typedef struct {
  device_t *device;
  int64_t rows;
  const pass_call_t *call;
  const pass_buffers_t *buffers;
  const pass_saved_t *saved;
  const base_t *base;
  const decoder_layer_t *ids;
  int32_t index;
} layer_t;

static layer_t layer_of(const pass_call_t *call, const pass_buffers_t *buffers, int32_t index) {
  return (layer_t){.device = call->device,
                   .rows = call->rows,
                   .call = call,
                   .buffers = buffers,
                   .saved = &buffers->saved[call->keep ? index : 0],
                   .base = call->role.base,
                   .ids = &call->role.base->layers[index],
                   .index = index};
}

/* Projections that read the same input: one linear operation. */
static const struct {
  proj_t first;
  int32_t count;
} groups[GROUP_COUNT] = {[GROUP_QKV] = {PROJ_Q, 3},
                         [GROUP_O] = {PROJ_O, 1},
                         [GROUP_GATE_UP] = {PROJ_GATE, 2},
                         [GROUP_DOWN] = {PROJ_DOWN, 1}};

int32_t pass_adapters(const role_t *role, group_t group) {
  int32_t count = 0;
  for (int32_t i = 0; role->adapter && i < groups[group].count; i++)
    count += role->adapter->config.targets[groups[group].first + i];
  return count;
}

/* The group's adapters' A, one matrix (adapters * r, this rank's columns), and where its columns begin. */
typedef struct {
  int32_t first; /* param id of the first A */
  int64_t rows, begin, cols;
} adapters_t;

static adapters_t adapters_of(const layer_t *layer, group_t group) {
  const adapter_t *adapter = layer->call->role.adapter;
  adapters_t found = {.rows = (int64_t)pass_adapters(&layer->call->role, group) * adapter->config.r};
  proj_t proj = groups[group].first;
  while (!adapter->config.targets[proj])
    proj++;
  found.first = adapter->a[layer->index][proj];
  const partition_t *part = &adapter->params.items[found.first].partition;
  /* Where the group's inputs are split, x has no other columns. */
  found.begin = layer->base->params.items[layer->ids->proj[proj]].partition.split == SPLIT_COLUMNS
                    ? 0
                    : part->col_begin;
  found.cols = part->local_cols;
  return found;
}

/* Whether ranks make parts of u. */
static bool shares_adapters(const layer_t *layer, group_t group) {
  return layer->call->grid->tp_size > 1 && pass_adapters(&layer->call->role, group) > 0;
}

/* One segment with its adapter; the K-th adapter of the group has columns k * r .. of u. */
static linear_segment_t segment_of(const layer_t *layer, proj_t proj, bool share, real_t *u) {
  linear_segment_t segment = {.weight = param_weight(&layer->base->params, layer->ids->proj[proj])};
  const adapter_t *adapter = layer->call->role.adapter;
  if (!u) return segment;
  int32_t b = adapter->b[layer->index][proj];
  const partition_t *part = &adapter->params.items[b].partition;
  if (!share) segment.a = param_real(&adapter->params, adapter->a[layer->index][proj]);
  segment.b = param_real(&adapter->params, b);
  segment.b_begin = part->local_rows < segment.weight.rows ? part->row_begin : 0;
  segment.b_rows = part->local_rows;
  segment.u = u;
  return segment;
}

/* The biases of a group, side by side; NULL: it has none. Of outputs that ranks make parts of, only the first
 * rank adds them. */
static const real_t *biases_of(const layer_t *layer, group_t group) {
  const params_t *params = &layer->base->params;
  proj_t proj = groups[group].first;
  int32_t id = layer->ids->bias[proj];
  bool parts = params->items[layer->ids->proj[proj]].partition.split == SPLIT_COLUMNS;
  if (id < 0 || (parts && layer->call->grid->tp_rank > 0)) return NULL;
  return param_real(params, id);
}

/* The group's operation on X, without what y is made of besides. */
static op_linear_t group_linear(const layer_t *layer, group_t group, const real_t *x) {
  const adapter_t *adapter = layer->call->role.adapter;
  bool share = shares_adapters(layer, group);
  op_linear_t op = {.rows = layer->rows, .x = x, .segments = groups[group].count};
  op.bias = biases_of(layer, group);
  op.ldu = adapter ? (int64_t)pass_adapters(&layer->call->role, group) * adapter->config.r : 0;
  int32_t adapters = 0;
  for (int32_t i = 0; i < op.segments; i++) {
    proj_t proj = groups[group].first + (proj_t)i;
    bool adapted = adapter && adapter->config.targets[proj];
    real_t *u =
        adapted ? real_at(layer->device, layer->saved->u[group], adapters++ * adapter->config.r) : NULL;
    op.segment[i] = segment_of(layer, proj, share, u);
    op.out += op.segment[i].weight.rows;
  }
  op.in = op.ldx = op.segment[0].weight.cols;
  op.ldy = op.out;
  if (!adapter) return op;
  op.lora_rank = adapter->config.r;
  op.lora_scale = adapter->config.alpha / adapter->config.r;
  return op;
}

/* The product with this rank's columns of A as an operation of its own: a part of u from X. */
static op_linear_t part_of_u(const layer_t *layer, group_t group, const op_linear_t *op) {
  const adapters_t a = adapters_of(layer, group);
  const params_t *params = &layer->call->role.adapter->params;
  const real_t *x = real_at(layer->device, op->x, a.begin);
  op_linear_t part = linear_op(op->rows, weight_real(param_real(params, a.first), a.rows, a.cols), x,
                               layer->saved->u[group]);
  part.ldx = op->ldx;
  return part;
}

/* u of the group, where ranks make parts of it. */
static status_t decoder_share_u(const layer_t *layer, group_t group, const op_linear_t *op) {
  if (!shares_adapters(layer, group)) return STATUS_OK;
  op_linear_t part = part_of_u(layer, group, op);
  TRY(OP(layer->device, linear, &part));
  return real_allreduce(layer->device, layer->call->grid->tp, layer->saved->u[group],
                        (size_t)(op->rows * op->ldu), COMM_SUM);
}

/* y = x W^T + bias + scale * (x A^T) B^T, of all projections of the group side by side. */
static status_t decoder_project(const layer_t *layer, group_t group, const real_t *x, real_t *y) {
  op_linear_t op = group_linear(layer, group, x);
  TRY(decoder_share_u(layer, group, &op));
  op.y = y;
  return OP(layer->device, linear, &op);
}

/* The same once more: u is there already. */
static status_t decoder_project_again(const layer_t *layer, group_t group, const real_t *x, real_t *y) {
  op_linear_t op = group_linear(layer, group, x);
  for (int32_t i = 0; i < op.segments; i++)
    op.segment[i].a = NULL;
  op.y = y;
  return OP(layer->device, linear, &op);
}

/* y = residual + bias + the sum over tp of x W^T (+ adapter): a projection whose inputs are split. The first
 * rank brings residual and bias. */
static status_t project_residual(const layer_t *layer, group_t group, const real_t *x, const real_t *residual,
                                 real_t *y) {
  op_linear_t op = group_linear(layer, group, x);
  TRY(decoder_share_u(layer, group, &op));
  op.y = y;
  op.residual = layer->call->grid->tp_rank == 0 ? residual : NULL;
  TRY(OP(layer->device, linear, &op));
  return real_allreduce(layer->device, layer->call->grid->tp, y,
                        (size_t)(layer->rows * layer->base->config.hidden), COMM_SUM);
}

/* From the sum of the parts of du: gradient of A's columns, and what they add to dx. */
static status_t backward_of_u(const layer_t *layer, group_t group, const op_linear_backward_t *op) {
  if (!shares_adapters(layer, group)) return STATUS_OK;
  const adapters_t a = adapters_of(layer, group);
  const op_linear_t *forward = &op->forward;
  TRY(real_allreduce(layer->device, layer->call->grid->tp, layer->buffers->du,
                     (size_t)(forward->rows * forward->ldu), COMM_SUM));
  op_linear_backward_t part = {.forward = part_of_u(layer, group, forward),
                               .dy = layer->buffers->du,
                               .lddy = forward->ldu,
                               .dx = op->dx ? real_at(layer->device, op->dx, a.begin) : NULL,
                               .lddx = op->lddx,
                               .dx_add = true};
  part.segment[0].dw = param_grad(&layer->call->role.adapter->params, a.first);
  return OP(layer->device, linear_backward, &part);
}

/* dx (NULL: not wanted) = dy (W + scale B A) for the group's Y side by side in DY; gradients of what is
 * trained +=. */
static status_t project_backward(const layer_t *layer, group_t group, const real_t *x, const real_t *dy,
                                 real_t *dx) {
  op_linear_backward_t op = {.forward = group_linear(layer, group, x), .dy = dy, .dx = dx};
  const adapter_t *adapter = layer->call->role.adapter;
  int32_t adapters = 0;
  op.lddy = op.forward.out;
  op.lddx = op.forward.in;
  int32_t bias = layer->ids->bias[groups[group].first];
  if (bias >= 0) op.dbias = param_grad(&layer->base->params, bias);
  for (int32_t i = 0; i < op.forward.segments; i++) {
    proj_t proj = groups[group].first + (proj_t)i;
    op.segment[i].dw = param_grad(&layer->base->params, layer->ids->proj[proj]);
    if (!op.forward.segment[i].b) continue;
    op.segment[i].db = param_grad(&adapter->params, adapter->b[layer->index][proj]);
    op.segment[i].du = real_at(layer->device, layer->buffers->du, adapters++ * adapter->config.r);
    if (op.forward.segment[i].a)
      op.segment[i].da = param_grad(&adapter->params, adapter->a[layer->index][proj]);
  }
  TRY(OP(layer->device, linear_backward, &op));
  return backward_of_u(layer, group, &op);
}

status_t pass_norm(const pass_call_t *call, int32_t weight, const real_t *x, real_t *y, wide_t *rstd) {
  const base_t *base = call->role.base;
  return OP(call->device, rmsnorm,
            &(op_rmsnorm_t){.rows = call->rows,
                            .cols = base->config.hidden,
                            .x = x,
                            .weight = param_real(&base->params, weight),
                            .eps = base->config.norm_eps,
                            .y = y,
                            .rstd = rstd});
}

status_t pass_norm_backward(const pass_call_t *call, int32_t weight, const real_t *x, const wide_t *rstd,
                            const real_t *dy, real_t *dx, bool add) {
  const base_t *base = call->role.base;
  return OP(call->device, rmsnorm_backward,
            &(op_rmsnorm_backward_t){.rows = call->rows,
                                     .cols = base->config.hidden,
                                     .x = x,
                                     .weight = param_real(&base->params, weight),
                                     .dy = dy,
                                     .rstd = rstd,
                                     .dx = dx,
                                     .dx_add = add,
                                     .dweight = param_grad(&base->params, weight)});
}

/* Columns of queries, keys and values side by side: this rank's heads. */
static int64_t queries(const base_t *base) {
  return (int64_t)base->heads * base->config.head_size;
}
static int64_t keys(const base_t *base) {
  return (int64_t)base->kv_heads * base->config.head_size;
}

/* Turns queries and keys by their positions, rounds keys and values where they are kept so, and keeps keys
 * and values in the cache, if there is one. */
static status_t decoder_rotate(const layer_t *layer) {
  const base_t *base = layer->base;
  const cache_t *cache = layer->call->cache;
  op_rotary_t op = {.rows = layer->rows,
                    .heads = base->heads,
                    .kv_heads = base->kv_heads,
                    .head_size = base->config.head_size,
                    .qkv = layer->saved->qkv,
                    .ld = queries(base) + 2 * keys(base),
                    .positions = layer->call->positions,
                    .base = base->config.rope_base,
                    .scaling = base->config.rope_scaling,
                    .half = base->storage.half_keys};
  if (cache) {
    op.page_size = cache->page_size;
    op.slots = layer->call->slots;
    op.k_cache = cache_keys(cache, layer->index);
    op.v_cache = cache_values(cache, layer->index);
  }
  return OP(layer->device, rotary, &op);
}

/* The backward pass of that, from and to gradients. */
static status_t decoder_rotate_back(const layer_t *layer, real_t *dqkv) {
  const base_t *base = layer->base;
  return OP(layer->device, rotary,
            &(op_rotary_t){.rows = layer->rows,
                           .heads = base->heads,
                           .kv_heads = base->kv_heads,
                           .head_size = base->config.head_size,
                           .qkv = dqkv,
                           .ld = queries(base) + 2 * keys(base),
                           .positions = layer->call->positions,
                           .base = base->config.rope_base,
                           .scaling = base->config.rope_scaling,
                           .inverse = true});
}

static double attention_scale(const layer_t *layer) {
  return 1.0 / sqrt((double)layer->base->config.head_size);
}

static op_attention_t decoder_attention_of(const layer_t *layer) {
  const pass_saved_t *saved = layer->saved;
  const base_t *base = layer->base;
  int64_t q = queries(base), kv = keys(base), ld = q + 2 * kv;
  return (op_attention_t){.sequences = layer->call->prepared,
                          .q = saved->qkv,
                          .k = real_at(layer->device, saved->qkv, q),
                          .v = real_at(layer->device, saved->qkv, q + kv),
                          .ldq = ld,
                          .ldkv = ld,
                          .ldo = q,
                          .scale = attention_scale(layer),
                          .causal = true,
                          .out = saved->attended,
                          .lse = saved->lse};
}

static status_t attend_paged(const layer_t *layer) {
  const base_t *base = layer->base;
  const pass_call_t *call = layer->call;
  return OP(layer->device, attention_paged,
            &(op_attention_paged_t){.rows = layer->rows,
                                    .heads = base->heads,
                                    .kv_heads = base->kv_heads,
                                    .head_size = base->config.head_size,
                                    .page_size = call->cache->page_size,
                                    .max_pages = call->max_pages,
                                    .positions = call->cached,
                                    .q = layer->saved->qkv,
                                    .ldq = queries(base) + 2 * keys(base),
                                    .half = call->cache->half,
                                    .k_cache = cache_keys(call->cache, layer->index),
                                    .v_cache = cache_values(call->cache, layer->index),
                                    .pages = layer->call->pages,
                                    .lengths = layer->call->lengths,
                                    .scale = attention_scale(layer),
                                    .out = layer->saved->attended,
                                    .ldo = queries(base)});
}

static status_t decoder_attend(const layer_t *layer) {
  if (!layer->call->packed) return attend_paged(layer);
  op_attention_t attention = decoder_attention_of(layer);
  return OP(layer->device, attention, &attention);
}

static status_t decoder_swiglu(const layer_t *layer) {
  return OP(layer->device, swiglu,
            &(op_swiglu_t){.rows = layer->rows,
                           .cols = layer->base->mlp,
                           .gate_up = layer->saved->gate_up,
                           .y = layer->saved->act});
}

status_t pass_layer_forward(const pass_call_t *call, const pass_buffers_t *buffers, int32_t index,
                            const real_t *x, real_t *out) {
  layer_t layer = layer_of(call, buffers, index);
  const pass_saved_t *saved = layer.saved;
  TRY(pass_norm(call, layer.ids->input_norm, x, saved->n1, saved->rstd1));
  TRY(decoder_project(&layer, GROUP_QKV, saved->n1, saved->qkv));
  TRY(decoder_rotate(&layer));
  TRY(decoder_attend(&layer));
  TRY(project_residual(&layer, GROUP_O, saved->attended, x, saved->mid));
  TRY(pass_norm(call, layer.ids->post_norm, saved->mid, saved->n2, saved->rstd2));
  TRY(decoder_project(&layer, GROUP_GATE_UP, saved->n2, saved->gate_up));
  TRY(decoder_swiglu(&layer));
  return project_residual(&layer, GROUP_DOWN, saved->act, saved->mid, out);
}

/* What the backward pass reads and the forward pass has not kept, from what it has: no product of O and down,
 * whose sums over tp are in mid and in the next layer's input, and none of A. */
static status_t layer_again(const layer_t *layer, const real_t *x) {
  const pass_saved_t *saved = layer->saved;
  bool full = layer->call->recompute == RECOMPUTE_FULL;
  TRY(pass_norm(layer->call, layer->ids->input_norm, x, saved->n1, saved->rstd1));
  if (full) {
    TRY(decoder_project_again(layer, GROUP_QKV, saved->n1, saved->qkv));
    TRY(decoder_rotate(layer));
    TRY(decoder_attend(layer));
  }
  TRY(pass_norm(layer->call, layer->ids->post_norm, saved->mid, saved->n2, saved->rstd2));
  if (full) TRY(decoder_project_again(layer, GROUP_GATE_UP, saved->n2, saved->gate_up));
  return decoder_swiglu(layer);
}

/* Work that is done a second time is not counted. */
static status_t decoder_recompute(const layer_t *layer, const real_t *x) {
  layer->device->uncounted = true;
  status_code_t status = layer_again(layer, x);
  layer->device->uncounted = false;
  return status;
}

static status_t mlp_backward(const layer_t *layer) {
  const pass_saved_t *saved = layer->saved;
  const pass_buffers_t *buffers = layer->buffers;
  size_t n = (size_t)(layer->rows * layer->base->config.hidden);
  TRY(project_backward(layer, GROUP_DOWN, saved->act, buffers->dx, buffers->dact));
  TRY(OP(layer->device, swiglu_backward,
         &(op_swiglu_backward_t){.rows = layer->rows,
                                 .cols = layer->base->mlp,
                                 .gate_up = saved->gate_up,
                                 .dy = buffers->dact,
                                 .dgate_up = saved->gate_up}));
  TRY(project_backward(layer, GROUP_GATE_UP, saved->n2, saved->gate_up, buffers->dn));
  TRY(real_allreduce(layer->device, layer->call->grid->tp, buffers->dn, n, COMM_SUM));
  return pass_norm_backward(layer->call, layer->ids->post_norm, saved->mid, saved->rstd2, buffers->dn,
                            buffers->dx, true);
}

static status_t decoder_attention_backward(const layer_t *layer, const real_t *x, bool need_input) {
  const pass_saved_t *saved = layer->saved;
  const pass_buffers_t *buffers = layer->buffers;
  const base_t *base = layer->base;
  size_t n = (size_t)(layer->rows * base->config.hidden);
  TRY(project_backward(layer, GROUP_O, saved->attended, buffers->dx, buffers->dattended));
  op_attention_backward_t backward = {.forward = decoder_attention_of(layer),
                                      .dout = buffers->dattended,
                                      .dq = buffers->dqkv,
                                      .dk = real_at(layer->device, buffers->dqkv, queries(base)),
                                      .dv =
                                          real_at(layer->device, buffers->dqkv, queries(base) + keys(base))};
  TRY(OP(layer->device, attention_backward, &backward));
  TRY(decoder_rotate_back(layer, buffers->dqkv));
  real_t *dn = need_input || base->params.items[layer->ids->input_norm].trainable ? buffers->dn : NULL;
  TRY(project_backward(layer, GROUP_QKV, saved->n1, buffers->dqkv, dn));
  if (!dn) return STATUS_OK;
  TRY(real_allreduce(layer->device, layer->call->grid->tp, dn, n, COMM_SUM));
  return pass_norm_backward(layer->call, layer->ids->input_norm, x, saved->rstd1, dn, buffers->dx, true);
}

status_t pass_layer_backward(const pass_call_t *call, const pass_buffers_t *buffers, int32_t index,
                             const real_t *x, bool need_input) {
  layer_t layer = layer_of(call, buffers, index);
  if (call->recompute != RECOMPUTE_NONE) TRY(decoder_recompute(&layer, x));
  TRY(mlp_backward(&layer));
  return decoder_attention_backward(&layer, x, need_input);
}
