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
                   .saved = &buffers->saved[call->keep && !call->recompute ? index : 0],
                   .base = call->role.base,
                   .ids = &call->role.base->layers[index],
                   .index = index};
}

/* A projection's local sizes and operands. */
typedef struct {
  int64_t in, out;
  const real_t *w, *a, *b; /* a, b NULL without an adapter on it */
  wide_t *dw, *da, *db;    /* NULL where frozen */
  int64_t r;
  double scale; /* alpha / r */
} projection_t;

static projection_t projection_of(const layer_t *layer, proj_t proj) {
  const params_t *base = &layer->base->params;
  int32_t id = layer->ids->proj[proj], index = layer->index;
  projection_t p = {.in = base->items[id].partition.local_cols,
                    .out = base->items[id].partition.local_rows,
                    .w = param_data(base, id),
                    .dw = param_grad(base, id)};
  const adapter_t *adapter = layer->call->role.adapter;
  if (!adapter || adapter->a[index][proj] < 0) return p;
  p.a = param_data(&adapter->params, adapter->a[index][proj]);
  p.b = param_data(&adapter->params, adapter->b[index][proj]);
  p.da = param_grad(&adapter->params, adapter->a[index][proj]);
  p.db = param_grad(&adapter->params, adapter->b[index][proj]);
  p.r = adapter->config.r;
  p.scale = adapter->config.alpha / adapter->config.r;
  return p;
}

/* y = beta * y + x W^T + scale * (x A^T) B^T; u (T, r) keeps scale * x A^T. */
static status_t decoder_project(const layer_t *layer, proj_t proj, const real_t *x, double beta, real_t *y) {
  projection_t p = projection_of(layer, proj);
  TRY(linear_forward(layer->device, layer->rows, p.in, p.out, x, p.w, 1.0, beta, y));
  if (!p.a) return STATUS_OK;
  real_t *u = layer->saved->u[proj];
  TRY(linear_forward(layer->device, layer->rows, p.in, p.r, x, p.a, p.scale, 0.0, u));
  return linear_forward(layer->device, layer->rows, p.r, p.out, u, p.b, 1.0, 1.0, y);
}

/* y = residual + the sum over tp of x W^T (+ adapter): a projection whose inputs are split. The first rank
 * brings the residual. */
static status_t project_residual(const layer_t *layer, proj_t proj, const real_t *x, const real_t *residual,
                                 real_t *y) {
  int64_t n = layer->rows * layer->base->config.hidden;
  bool first = layer->call->grid->tp_rank == 0;
  if (first) TRY(OP(layer->device, copy, &(op_copy_t){.n = n, .x = residual, .y = y}));
  TRY(decoder_project(layer, proj, x, first ? 1.0 : 0.0, y));
  return real_allreduce(layer->device, layer->call->grid->tp, y, (size_t)n, COMM_SUM);
}

/* dx = beta * dx + dy (W + scale B A); gradients of what is trained +=. */
static status_t project_backward(const layer_t *layer, proj_t proj, const real_t *x, const real_t *dy,
                                 double beta, real_t *dx) {
  projection_t p = projection_of(layer, proj);
  TRY(linear_backward_weight(layer->device, layer->rows, p.in, p.out, dy, x, p.dw));
  if (dx) TRY(linear_backward_input(layer->device, layer->rows, p.in, p.out, dy, p.w, 1.0, beta, dx));
  if (!p.a) return STATUS_OK;
  TRY(linear_backward_weight(layer->device, layer->rows, p.r, p.out, dy, layer->saved->u[proj], p.db));
  TRY(linear_backward_input(layer->device, layer->rows, p.r, p.out, dy, p.b, p.scale, 0.0,
                            layer->buffers->du));
  TRY(linear_backward_weight(layer->device, layer->rows, p.in, p.r, layer->buffers->du, x, p.da));
  return dx ? linear_backward_input(layer->device, layer->rows, p.in, p.r, layer->buffers->du, p.a, 1.0, 1.0,
                                    dx)
            : STATUS_OK;
}

status_t pass_norm(const pass_call_t *call, int32_t weight, const real_t *x, real_t *y, wide_t *rstd) {
  const base_t *base = call->role.base;
  return OP(call->device, rmsnorm,
            &(op_rmsnorm_t){.rows = call->rows,
                            .cols = base->config.hidden,
                            .x = x,
                            .weight = param_data(&base->params, weight),
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
                                     .weight = param_data(&base->params, weight),
                                     .dy = dy,
                                     .rstd = rstd,
                                     .dx = dx,
                                     .dx_add = add,
                                     .dweight = param_grad(&base->params, weight)});
}

static status_t decoder_rotate(const layer_t *layer, int32_t heads, real_t *x, bool inverse) {
  int32_t head_size = layer->base->config.head_size;
  return OP(layer->device, rope,
            &(op_rope_t){.rows = layer->rows,
                         .heads = heads,
                         .head_size = head_size,
                         .x = x,
                         .ld = (int64_t)heads * head_size,
                         .positions = layer->call->positions,
                         .base = layer->base->config.rope_base,
                         .scaling = layer->base->config.rope_scaling,
                         .inverse = inverse});
}

static double attention_scale(const layer_t *layer) {
  return 1.0 / sqrt((double)layer->base->config.head_size);
}

static op_attention_t decoder_attention_of(const layer_t *layer) {
  const pass_saved_t *saved = layer->saved;
  const base_t *base = layer->base;
  int64_t q = (int64_t)base->heads * base->config.head_size,
          kv = (int64_t)base->kv_heads * base->config.head_size;
  return (op_attention_t){.sequences = layer->call->packed->sequences,
                          .offsets_host = layer->call->packed->offsets,
                          .offsets = layer->buffers->offsets,
                          .heads = base->heads,
                          .kv_heads = base->kv_heads,
                          .head_size = base->config.head_size,
                          .q = saved->q,
                          .k = saved->k,
                          .v = saved->v,
                          .ldq = q,
                          .ldkv = kv,
                          .ldo = q,
                          .scale = attention_scale(layer),
                          .causal = true,
                          .out = saved->attended,
                          .lse = saved->lse};
}

static status_t attend_paged(const layer_t *layer) {
  const base_t *base = layer->base;
  const pass_call_t *call = layer->call;
  int64_t q = (int64_t)base->heads * base->config.head_size;
  return OP(layer->device, attention_paged,
            &(op_attention_paged_t){.rows = layer->rows,
                                    .heads = base->heads,
                                    .kv_heads = base->kv_heads,
                                    .head_size = base->config.head_size,
                                    .page_size = call->cache->page_size,
                                    .max_pages = call->max_pages,
                                    .positions = call->cached,
                                    .q = layer->saved->q,
                                    .ldq = q,
                                    .k_cache = cache_keys(call->cache, layer->index),
                                    .v_cache = cache_values(call->cache, layer->index),
                                    .pages = layer->call->pages,
                                    .lengths = layer->call->lengths,
                                    .scale = attention_scale(layer),
                                    .out = layer->saved->attended,
                                    .ldo = q});
}

static status_t decoder_write_cache(const layer_t *layer) {
  const base_t *base = layer->base;
  const cache_t *cache = layer->call->cache;
  return OP(layer->device, cache_write,
            &(op_cache_write_t){.rows = layer->rows,
                                .kv_heads = base->kv_heads,
                                .head_size = base->config.head_size,
                                .page_size = cache->page_size,
                                .k = layer->saved->k,
                                .v = layer->saved->v,
                                .ldkv = (int64_t)base->kv_heads * base->config.head_size,
                                .slots = layer->call->slots,
                                .k_cache = cache_keys(cache, layer->index),
                                .v_cache = cache_values(cache, layer->index)});
}

static status_t decoder_attend(const layer_t *layer) {
  if (layer->call->cache) TRY(decoder_write_cache(layer));
  if (!layer->call->packed) return attend_paged(layer);
  op_attention_t attention = decoder_attention_of(layer);
  return OP(layer->device, attention, &attention);
}

/* All of a layer up to and including the gated MLP's product: what the backward pass reads. */
static status_t layer_inner(const layer_t *layer, const real_t *x) {
  const pass_saved_t *saved = layer->saved;
  TRY(pass_norm(layer->call, layer->ids->input_norm, x, saved->n1, saved->rstd1));
  TRY(decoder_project(layer, PROJ_Q, saved->n1, 0.0, saved->q));
  TRY(decoder_project(layer, PROJ_K, saved->n1, 0.0, saved->k));
  TRY(decoder_project(layer, PROJ_V, saved->n1, 0.0, saved->v));
  TRY(decoder_rotate(layer, layer->base->heads, saved->q, false));
  TRY(decoder_rotate(layer, layer->base->kv_heads, saved->k, false));
  TRY(decoder_attend(layer));
  TRY(project_residual(layer, PROJ_O, saved->attended, x, saved->mid));
  TRY(pass_norm(layer->call, layer->ids->post_norm, saved->mid, saved->n2, saved->rstd2));
  TRY(decoder_project(layer, PROJ_GATE, saved->n2, 0.0, saved->gate));
  TRY(decoder_project(layer, PROJ_UP, saved->n2, 0.0, saved->up));
  return OP(layer->device, swiglu,
            &(op_swiglu_t){
                .n = layer->rows * layer->base->mlp, .gate = saved->gate, .up = saved->up, .y = saved->act});
}

status_t pass_layer_forward(const pass_call_t *call, const pass_buffers_t *buffers, int32_t index,
                            const real_t *x, real_t *out) {
  layer_t layer = layer_of(call, buffers, index);
  TRY(layer_inner(&layer, x));
  return project_residual(&layer, PROJ_DOWN, layer.saved->act, layer.saved->mid, out);
}

/* Runs the layer again up to what the backward pass reads; u of the down projection, whose product is not
 * needed, apart. */
static status_t layer_again(const layer_t *layer, const real_t *x) {
  TRY(layer_inner(layer, x));
  projection_t down = projection_of(layer, PROJ_DOWN);
  if (!down.a) return STATUS_OK;
  return linear_forward(layer->device, layer->rows, down.in, down.r, layer->saved->act, down.a, down.scale,
                        0.0, layer->saved->u[PROJ_DOWN]);
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
  size_t n = (size_t)(layer->rows * layer->base->config.hidden);
  TRY(project_backward(layer, PROJ_DOWN, saved->act, layer->buffers->dx, 0.0, layer->buffers->dact));
  TRY(OP(layer->device, swiglu_backward,
         &(op_swiglu_backward_t){.n = layer->rows * layer->base->mlp,
                                 .gate = saved->gate,
                                 .up = saved->up,
                                 .dy = layer->buffers->dact,
                                 .dgate = saved->gate,
                                 .dup = saved->up}));
  TRY(project_backward(layer, PROJ_GATE, saved->n2, saved->gate, 0.0, layer->buffers->dn));
  TRY(project_backward(layer, PROJ_UP, saved->n2, saved->up, 1.0, layer->buffers->dn));
  TRY(real_allreduce(layer->device, layer->call->grid->tp, layer->buffers->dn, n, COMM_SUM));
  return pass_norm_backward(layer->call, layer->ids->post_norm, saved->mid, saved->rstd2, layer->buffers->dn,
                            layer->buffers->dx, true);
}

static status_t decoder_attention_backward(const layer_t *layer, const real_t *x, bool need_input) {
  const pass_saved_t *saved = layer->saved;
  const base_t *base = layer->base;
  size_t n = (size_t)(layer->rows * base->config.hidden);
  TRY(project_backward(layer, PROJ_O, saved->attended, layer->buffers->dx, 0.0, layer->buffers->dattended));
  op_attention_backward_t backward = {.forward = decoder_attention_of(layer),
                                      .dout = layer->buffers->dattended,
                                      .dq = layer->buffers->dq,
                                      .dk = layer->buffers->dk,
                                      .dv = layer->buffers->dv};
  TRY(OP(layer->device, attention_backward, &backward));
  TRY(decoder_rotate(layer, base->heads, layer->buffers->dq, true));
  TRY(decoder_rotate(layer, base->kv_heads, layer->buffers->dk, true));
  real_t *dn = need_input || base->params.items[layer->ids->input_norm].trainable ? layer->buffers->dn : NULL;
  TRY(project_backward(layer, PROJ_Q, saved->n1, layer->buffers->dq, 0.0, dn));
  TRY(project_backward(layer, PROJ_K, saved->n1, layer->buffers->dk, 1.0, dn));
  TRY(project_backward(layer, PROJ_V, saved->n1, layer->buffers->dv, 1.0, dn));
  if (!dn) return STATUS_OK;
  TRY(real_allreduce(layer->device, layer->call->grid->tp, dn, n, COMM_SUM));
  return pass_norm_backward(layer->call, layer->ids->input_norm, x, saved->rstd1, dn, layer->buffers->dx,
                            true);
}

status_t pass_layer_backward(const pass_call_t *call, const pass_buffers_t *buffers, int32_t index,
                             const real_t *x, bool need_input) {
  layer_t layer = layer_of(call, buffers, index);
  if (call->recompute) TRY(decoder_recompute(&layer, x));
  TRY(mlp_backward(&layer));
  return decoder_attention_backward(&layer, x, need_input);
}
