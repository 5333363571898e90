/* One decoder layer, forward and backward. */
#include "model/pass_internal.h"
#include "perf/perf.h"

#include <math.h>

static pass_saved_t *saved_of(const pass_t *pass, int32_t index) {
  return &pass->saved[pass->kept && !pass->options.recompute ? index : 0];
}

/* A projection's local sizes and operands. */
typedef struct {
  int64_t in, out;
  const real_t *w, *a, *b; /* a, b NULL without an adapter on it */
  wide_t *dw, *da, *db;    /* NULL where frozen */
  int64_t r;
  double scale; /* alpha / r */
} projection_t;

static projection_t projection_of(const pass_t *pass, int32_t index, proj_t proj) {
  const params_t *base = &pass->base->params;
  int32_t id = pass->base->layers[index].proj[proj];
  projection_t p = {.in = base->items[id].partition.local_cols,
                    .out = base->items[id].partition.local_rows,
                    .w = param_data(base, id),
                    .dw = param_grad(base, id)};
  const adapter_t *adapter = pass->role.adapter;
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
static status_t project(pass_t *pass, int32_t index, proj_t proj, const real_t *x, double beta, real_t *y) {
  projection_t p = projection_of(pass, index, proj);
  linear_context_t context = pass_context(pass);
  TRY(linear_forward(&context, pass->rows, p.in, p.out, x, p.w, 1.0, beta, y));
  if (!p.a) return STATUS_OK;
  real_t *u = saved_of(pass, index)->u[proj];
  TRY(linear_forward(&context, pass->rows, p.in, p.r, x, p.a, p.scale, 0.0, u));
  return linear_forward(&context, pass->rows, p.r, p.out, u, p.b, 1.0, 1.0, y);
}

/* y = residual + the sum over tp of x W^T (+ adapter): a projection whose inputs are split. The first rank
 * brings the residual. */
static status_t project_residual(pass_t *pass, int32_t index, proj_t proj, const real_t *x,
                                 const real_t *residual, real_t *y) {
  int64_t n = pass->rows * pass->base->config.hidden;
  bool first = pass->grid->tp_rank == 0;
  if (first) TRY(OP(pass->device, copy, &(op_copy_t){.n = n, .x = residual, .y = y}));
  TRY(project(pass, index, proj, x, first ? 1.0 : 0.0, y));
  return real_allreduce(pass->device, pass->grid->tp, y, (size_t)n, COMM_SUM);
}

/* dx = beta * dx + dy (W + scale B A); gradients of what is trained +=. */
static status_t project_backward(pass_t *pass, int32_t index, proj_t proj, const real_t *x, const real_t *dy,
                                 double beta, real_t *dx) {
  projection_t p = projection_of(pass, index, proj);
  linear_context_t context = pass_context(pass);
  TRY(linear_backward_weight(&context, pass->rows, p.in, p.out, dy, x, p.dw));
  if (dx) TRY(linear_backward_input(&context, pass->rows, p.in, p.out, dy, p.w, 1.0, beta, dx));
  if (!p.a) return STATUS_OK;
  TRY(linear_backward_weight(&context, pass->rows, p.r, p.out, dy, saved_of(pass, index)->u[proj], p.db));
  TRY(linear_backward_input(&context, pass->rows, p.r, p.out, dy, p.b, p.scale, 0.0, pass->du));
  TRY(linear_backward_weight(&context, pass->rows, p.in, p.r, pass->du, x, p.da));
  return dx ? linear_backward_input(&context, pass->rows, p.in, p.r, pass->du, p.a, 1.0, 1.0, dx) : STATUS_OK;
}

static status_t rmsnorm(pass_t *pass, int32_t weight, const real_t *x, real_t *y, wide_t *rstd) {
  return OP(pass->device, rmsnorm,
            &(op_rmsnorm_t){.rows = pass->rows,
                            .cols = pass->base->config.hidden,
                            .x = x,
                            .weight = param_data(&pass->base->params, weight),
                            .eps = pass->base->config.norm_eps,
                            .y = y,
                            .rstd = rstd});
}

/* pass->dx += gradient through the norm of pass->dn. */
static status_t rmsnorm_backward(pass_t *pass, int32_t weight, const real_t *x, const wide_t *rstd) {
  return OP(pass->device, rmsnorm_backward,
            &(op_rmsnorm_backward_t){.rows = pass->rows,
                                     .cols = pass->base->config.hidden,
                                     .x = x,
                                     .weight = param_data(&pass->base->params, weight),
                                     .dy = pass->dn,
                                     .rstd = rstd,
                                     .dx = pass->dx,
                                     .dx_add = true,
                                     .dweight = param_grad(&pass->base->params, weight)});
}

static status_t rotate(pass_t *pass, int32_t heads, real_t *x, bool inverse) {
  int32_t head_size = pass->base->config.head_size;
  return OP(pass->device, rope,
            &(op_rope_t){.rows = pass->rows,
                         .heads = heads,
                         .head_size = head_size,
                         .x = x,
                         .ld = (int64_t)heads * head_size,
                         .positions = pass->positions,
                         .base = pass->base->config.rope_base,
                         .scaling = pass->base->config.rope_scaling,
                         .inverse = inverse});
}

static double attention_scale(const pass_t *pass) {
  return 1.0 / sqrt((double)pass->base->config.head_size);
}

static op_attention_t attention_of(const pass_t *pass, const pass_saved_t *saved) {
  const base_t *base = pass->base;
  int64_t q = (int64_t)base->heads * base->config.head_size,
          kv = (int64_t)base->kv_heads * base->config.head_size;
  return (op_attention_t){.sequences = pass->packed->sequences,
                          .offsets_host = pass->packed->offsets,
                          .offsets = pass->offsets,
                          .heads = base->heads,
                          .kv_heads = base->kv_heads,
                          .head_size = base->config.head_size,
                          .q = saved->q,
                          .k = saved->k,
                          .v = saved->v,
                          .ldq = q,
                          .ldkv = kv,
                          .ldo = q,
                          .scale = attention_scale(pass),
                          .causal = true,
                          .out = saved->attended,
                          .lse = saved->lse};
}

static status_t attend_paged(pass_t *pass, int32_t index, const pass_saved_t *saved) {
  const base_t *base = pass->base;
  int64_t q = (int64_t)base->heads * base->config.head_size;
  return OP(pass->device, attention_paged,
            &(op_attention_paged_t){.rows = pass->rows,
                                    .heads = base->heads,
                                    .kv_heads = base->kv_heads,
                                    .head_size = base->config.head_size,
                                    .page_size = pass->cache->page_size,
                                    .max_pages = pass->max_pages,
                                    .q = saved->q,
                                    .ldq = q,
                                    .k_cache = pass->cache->k[index],
                                    .v_cache = pass->cache->v[index],
                                    .pages = pass->pages,
                                    .lengths = pass->lengths,
                                    .scale = attention_scale(pass),
                                    .out = saved->attended,
                                    .ldo = q});
}

static double attention_flops(const pass_t *pass) {
  return 4.0 * pass->pairs * pass->base->heads * pass->base->config.head_size;
}

static status_t attend(pass_t *pass, int32_t index, const pass_saved_t *saved) {
  const base_t *base = pass->base;
  if (!pass->recomputing) perf_flops(attention_flops(pass));
  if (pass->cache && !pass->recomputing)
    TRY(OP(pass->device, cache_write,
           &(op_cache_write_t){.rows = pass->rows,
                               .kv_heads = base->kv_heads,
                               .head_size = base->config.head_size,
                               .page_size = pass->cache->page_size,
                               .k = saved->k,
                               .v = saved->v,
                               .ldkv = (int64_t)base->kv_heads * base->config.head_size,
                               .slots = pass->slots,
                               .k_cache = pass->cache->k[index],
                               .v_cache = pass->cache->v[index]}));
  if (pass->decode) return attend_paged(pass, index, saved);
  op_attention_t attention = attention_of(pass, saved);
  return OP(pass->device, attention, &attention);
}

/* All of a layer up to and including the gated MLP's product: what the backward pass reads. */
static status_t layer_inner(pass_t *pass, int32_t index, const real_t *x) {
  const decoder_layer_t *layer = &pass->base->layers[index];
  const pass_saved_t *saved = saved_of(pass, index);
  TRY(rmsnorm(pass, layer->input_norm, x, saved->n1, saved->rstd1));
  TRY(project(pass, index, PROJ_Q, saved->n1, 0.0, saved->q));
  TRY(project(pass, index, PROJ_K, saved->n1, 0.0, saved->k));
  TRY(project(pass, index, PROJ_V, saved->n1, 0.0, saved->v));
  TRY(rotate(pass, pass->base->heads, saved->q, false));
  TRY(rotate(pass, pass->base->kv_heads, saved->k, false));
  TRY(attend(pass, index, saved));
  TRY(project_residual(pass, index, PROJ_O, saved->attended, x, saved->mid));
  TRY(rmsnorm(pass, layer->post_norm, saved->mid, saved->n2, saved->rstd2));
  TRY(project(pass, index, PROJ_GATE, saved->n2, 0.0, saved->gate));
  TRY(project(pass, index, PROJ_UP, saved->n2, 0.0, saved->up));
  return OP(pass->device, swiglu,
            &(op_swiglu_t){
                .n = pass->rows * pass->base->mlp, .gate = saved->gate, .up = saved->up, .y = saved->act});
}

status_t pass_layer_forward(pass_t *pass, int32_t index, const real_t *x, real_t *out) {
  TRY(layer_inner(pass, index, x));
  const pass_saved_t *saved = saved_of(pass, index);
  return project_residual(pass, index, PROJ_DOWN, saved->act, saved->mid, out);
}

/* Runs the layer again up to what the backward pass reads; u of the down projection, whose product is not
 * needed, apart. */
static status_t recompute(pass_t *pass, int32_t index, const real_t *x) {
  pass->recomputing = true;
  status_code_t status = layer_inner(pass, index, x);
  projection_t down = projection_of(pass, index, PROJ_DOWN);
  if (status == STATUS_OK && down.a) {
    linear_context_t context = pass_context(pass);
    pass_saved_t *saved = saved_of(pass, index);
    status = linear_forward(&context, pass->rows, down.in, down.r, saved->act, down.a, down.scale, 0.0,
                            saved->u[PROJ_DOWN]);
  }
  pass->recomputing = false;
  return status;
}

static status_t mlp_backward(pass_t *pass, int32_t index, const pass_saved_t *saved) {
  size_t n = (size_t)(pass->rows * pass->base->config.hidden);
  TRY(project_backward(pass, index, PROJ_DOWN, saved->act, pass->dx, 0.0, pass->dact));
  TRY(OP(pass->device, swiglu_backward,
         &(op_swiglu_backward_t){.n = pass->rows * pass->base->mlp,
                                 .gate = saved->gate,
                                 .up = saved->up,
                                 .dy = pass->dact,
                                 .dgate = saved->gate,
                                 .dup = saved->up}));
  TRY(project_backward(pass, index, PROJ_GATE, saved->n2, saved->gate, 0.0, pass->dn));
  TRY(project_backward(pass, index, PROJ_UP, saved->n2, saved->up, 1.0, pass->dn));
  TRY(real_allreduce(pass->device, pass->grid->tp, pass->dn, n, COMM_SUM));
  return rmsnorm_backward(pass, pass->base->layers[index].post_norm, saved->mid, saved->rstd2);
}

static status_t attention_backward(pass_t *pass, int32_t index, const pass_saved_t *saved, const real_t *x,
                                   bool need_input) {
  const base_t *base = pass->base;
  size_t n = (size_t)(pass->rows * base->config.hidden);
  TRY(project_backward(pass, index, PROJ_O, saved->attended, pass->dx, 0.0, pass->dattended));
  op_attention_backward_t backward = {.forward = attention_of(pass, saved),
                                      .dout = pass->dattended,
                                      .dq = pass->dq,
                                      .dk = pass->dk,
                                      .dv = pass->dv};
  perf_flops(2.0 * attention_flops(pass));
  TRY(OP(pass->device, attention_backward, &backward));
  TRY(rotate(pass, base->heads, pass->dq, true));
  TRY(rotate(pass, base->kv_heads, pass->dk, true));
  real_t *dn = need_input || base->params.items[base->layers[index].input_norm].trainable ? pass->dn : NULL;
  TRY(project_backward(pass, index, PROJ_Q, saved->n1, pass->dq, 0.0, dn));
  TRY(project_backward(pass, index, PROJ_K, saved->n1, pass->dk, 1.0, dn));
  TRY(project_backward(pass, index, PROJ_V, saved->n1, pass->dv, 1.0, dn));
  if (!dn) return STATUS_OK;
  TRY(real_allreduce(pass->device, pass->grid->tp, dn, n, COMM_SUM));
  return rmsnorm_backward(pass, base->layers[index].input_norm, x, saved->rstd1);
}

status_t pass_layer_backward(pass_t *pass, int32_t index, const real_t *x, bool need_input) {
  if (pass->options.recompute) TRY(recompute(pass, index, x));
  const pass_saved_t *saved = saved_of(pass, index);
  TRY(mlp_backward(pass, index, saved));
  return attention_backward(pass, index, saved, x, need_input);
}
