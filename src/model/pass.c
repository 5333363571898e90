#include "model/pass.h"

#include "base/memory.h"
#include "model/pass_internal.h"
#include "perf/perf.h"

#include <string.h>

status_t pass_create(device_t *device, const grid_t *grid, const pass_options_t *options, pass_t **out) {
  TRY(memory_alloc(out, ARENA_OTHER, 1, sizeof **out));
  pass_t *pass = *out;
  *pass = (pass_t){.device = device,
                   .grid = grid,
                   .options = *options,
                   .workspace = workspace_create(device, "layers"),
                   .head_workspace = workspace_create(device, "heads"),
                   .sequences = sequences_create(device)};
  for (int i = 0; i < 2; i++)
    TRY(device_event_create(device, &pass->paces[i]));
  TRY(memory_alloc(&pass->tp_counts, ARENA_OTHER, (size_t)grid->tp_size, sizeof *pass->tp_counts));
  return tower_pass_create(device, &pass->tower);
}

static void pass_free_buffers(pass_t *pass) {
  workspace_free(&pass->workspace);
  memory_free(pass->buffers.saved);
  memory_free(pass->buffers.inputs);
  pass->buffers = (pass_buffers_t){0};
}

void pass_release(pass_t *pass) {
  if (!pass->device->free_memory) return;
  pass_free_buffers(pass);
  workspace_free(&pass->head_workspace);
  pass->head_workspace = workspace_create(pass->device, "heads");
  tower_pass_release(pass->tower);
}

void pass_free(pass_t *pass) {
  if (!pass) return;
  pass_free_buffers(pass);
  workspace_free(&pass->head_workspace);
  tower_pass_free(pass->tower);
  sequences_free(&pass->sequences);
  for (int i = 0; i < 2; i++)
    device_event_free(pass->paces[i]);
  memory_free(pass->tp_counts);
  memory_free(pass);
}

/* ---- The workspace ---- */

/* Elements of a buffer of layer L that is kept for the backward pass unless the pass runs again as much as
 * AGAIN says: where it is not kept, all layers share the first one's. */
static int64_t kept(const pass_call_t *call, int32_t l, recompute_t again, int64_t n) {
  return l == 0 || (call->keep && call->recompute < again) ? n : 0;
}

/* Buffers of layer L. */
static void pass_describe_layer(workspace_t *w, const pass_call_t *call, int32_t l, pass_saved_t *saved) {
  const recompute_t always = RECOMPUTE_FULL + 1;
  const base_t *base = call->role.base;
  int64_t t = call->rows, c = t * base->config.hidden, f = t * base->mlp;
  int64_t q = t * base->heads * base->config.head_size, kv = t * base->kv_heads * base->config.head_size;
  int64_t r = call->role.adapter ? t * call->role.adapter->config.r : 0;
  workspace_real(w, ARENA_ACTIVATIONS, "mid", kept(call, l, always, c), &saved->mid);
  for (int g = 0; g < GROUP_COUNT; g++)
    workspace_real(w, ARENA_ACTIVATIONS, "u",
                   kept(call, l, always, r * pass_adapters(&call->role, (group_t)g)), &saved->u[g]);
  workspace_real(w, ARENA_ACTIVATIONS, "qkv", kept(call, l, RECOMPUTE_FULL, q + 2 * kv), &saved->qkv);
  workspace_real(w, ARENA_ACTIVATIONS, "attended", kept(call, l, RECOMPUTE_FULL, q), &saved->attended);
  workspace_wide(w, ARENA_ACTIVATIONS, "lse", kept(call, l, RECOMPUTE_FULL, t * base->heads), &saved->lse);
  workspace_real(w, ARENA_ACTIVATIONS, "gate_up", kept(call, l, RECOMPUTE_FULL, 2 * f), &saved->gate_up);
  workspace_real(w, ARENA_ACTIVATIONS, "n1", kept(call, l, RECOMPUTE_SELECTIVE, c), &saved->n1);
  workspace_wide(w, ARENA_ACTIVATIONS, "rstd1", kept(call, l, RECOMPUTE_SELECTIVE, t), &saved->rstd1);
  workspace_real(w, ARENA_ACTIVATIONS, "n2", kept(call, l, RECOMPUTE_SELECTIVE, c), &saved->n2);
  workspace_wide(w, ARENA_ACTIVATIONS, "rstd2", kept(call, l, RECOMPUTE_SELECTIVE, t), &saved->rstd2);
  workspace_real(w, ARENA_ACTIVATIONS, "act", kept(call, l, RECOMPUTE_SELECTIVE, f), &saved->act);
}

/* The first layer's buffers for what layer L has not kept. */
static void share_buffers(const pass_call_t *call, const pass_saved_t *first, pass_saved_t *saved) {
  if (call->recompute >= RECOMPUTE_SELECTIVE) {
    saved->n1 = first->n1;
    saved->rstd1 = first->rstd1;
    saved->n2 = first->n2;
    saved->rstd2 = first->rstd2;
    saved->act = first->act;
  }
  if (call->recompute == RECOMPUTE_FULL) {
    saved->qkv = first->qkv;
    saved->attended = first->attended;
    saved->lse = first->lse;
    saved->gate_up = first->gate_up;
  }
}

/* T rows of the backward pass's scratch. */
static void pass_describe_backward(workspace_t *w, const pass_call_t *call, int64_t t, pass_buffers_t *b) {
  const base_t *base = call->role.base;
  int64_t c = t * base->config.hidden, q = t * base->heads * base->config.head_size,
          kv = t * base->kv_heads * base->config.head_size;
  workspace_real(w, ARENA_SCRATCH, "dfinal", c, &b->dfinal);
  workspace_real(w, ARENA_SCRATCH, "dx", c, &b->dx);
  workspace_real(w, ARENA_SCRATCH, "dn", c, &b->dn);
  workspace_real(w, ARENA_SCRATCH, "dqkv", q + 2 * kv, &b->dqkv);
  workspace_real(w, ARENA_SCRATCH, "dattended", q, &b->dattended);
  workspace_real(w, ARENA_SCRATCH, "dact", t * base->mlp, &b->dact);
  int64_t adapters = 0;
  for (int g = 0; g < GROUP_COUNT; g++)
    if (pass_adapters(&call->role, (group_t)g) > adapters) adapters = pass_adapters(&call->role, (group_t)g);
  int64_t r = call->role.adapter ? t * call->role.adapter->config.r : 0;
  workspace_real(w, ARENA_SCRATCH, "du", adapters * r, &b->du);
}

/* Image tokens of all images, and gradients of this rank's share where they are wanted. */
static void pass_describe_images(workspace_t *w, const pass_call_t *call, pass_buffers_t *b) {
  const base_t *base = call->role.base;
  int64_t patches = config_patches(&base->config), hidden = base->config.hidden;
  bool trained = call->keep && base->params.items[base->projector[0].weight].trainable;
  int64_t share = trained ? call->image_share : 0;
  workspace_real(w, ARENA_FEATURES, "image_tokens", call->images * patches * hidden, &b->image_tokens);
  workspace_real(w, ARENA_FEATURES, "dimage", share * patches * hidden, &b->dimage);
  workspace_index(w, ARENA_SCRATCH, "dimage_rows", share * patches, &b->dimage_rows);
  workspace_host(w, "dimage_rows", share * patches, &b->dimage_rows_host);
  workspace_host(w, "dimage_seen", share, &b->dimage_seen);
}

/* The table of all that CALL needs. */
static void pass_describe(workspace_t *w, const pass_call_t *call, pass_buffers_t *b) {
  int32_t layers = call->role.base->config.layers;
  int64_t t = call->rows, c = t * call->role.base->config.hidden;
  bool decode = !call->packed;
  workspace_real(w, ARENA_ACTIVATIONS, "final", c, &b->final);
  workspace_wide(w, ARENA_ACTIVATIONS, "final_rstd", t, &b->final_rstd);
  workspace_index(w, ARENA_SCRATCH, "tokens", decode ? 0 : t, &b->tokens);
  workspace_index(w, ARENA_SCRATCH, "positions", decode ? 0 : t, &b->positions);
  workspace_index(w, ARENA_SCRATCH, "slots", decode ? 0 : t, &b->slots);
  workspace_index(w, ARENA_SCRATCH, "image_rows", t, &b->image_rows);
  workspace_host(w, "image_rows", t, &b->image_rows_host);
  pass_describe_images(w, call, b);
  pass_describe_backward(w, call, call->keep ? t : 0, b);
  for (int32_t i = 0; i <= layers; i++)
    workspace_real(w, ARENA_ACTIVATIONS, "x", call->keep || i < 2 ? c : 0, &b->inputs[i]);
  for (int32_t l = 0; l < (call->keep ? layers : 1); l++)
    pass_describe_layer(w, call, l, &b->saved[l]);
}

/* Lists for LAYERS layers: what is in the workspace has its addresses in them. */
static status_t pass_reserve_layers(pass_t *pass, int32_t layers) {
  pass_buffers_t *buffers = &pass->buffers;
  if (layers == buffers->layers) return STATUS_OK;
  pass_free_buffers(pass);
  pass->workspace = workspace_create(pass->device, "layers");
  TRY(memory_alloc(&buffers->saved, ARENA_OTHER, (size_t)layers, sizeof *buffers->saved));
  TRY(memory_alloc(&buffers->inputs, ARENA_OTHER, (size_t)layers + 1, sizeof *buffers->inputs));
  buffers->layers = layers;
  return STATUS_OK;
}

static status_t pass_reserve(pass_t *pass) {
  TRY(pass_reserve_layers(pass, pass->call.role.base->config.layers));
  workspace_begin(&pass->workspace);
  pass_describe(&pass->workspace, &pass->call, &pass->buffers);
  TRY(workspace_end(&pass->workspace, NULL));
  for (int32_t l = 1; pass->call.keep && l < pass->buffers.layers; l++)
    share_buffers(&pass->call, &pass->buffers.saved[0], &pass->buffers.saved[l]);
  return STATUS_OK;
}

/* ---- Forward ---- */

/* Where layer INDEX reads its input (and layer INDEX - 1 writes). */
static real_t *input_of(const pass_t *pass, int32_t index) {
  return pass->buffers.inputs[pass->call.keep ? index : index % 2];
}

static status_t pass_embed(const pass_call_t *call, real_t *x) {
  const base_t *base = call->role.base;
  TRY(OP(call->device, embedding,
         &(op_embedding_t){.rows = call->rows,
                           .cols = base->config.hidden,
                           .begin = base->vocab_begin,
                           .count = base->vocab_count,
                           .tokens = call->tokens,
                           .weight = param_weight(&base->params, base->embed),
                           .y = x}));
  return real_allreduce(call->device, call->grid->tp, x, (size_t)(call->rows * base->config.hidden),
                        COMM_SUM);
}

/* Layers and final norm, from inputs[0]. */
static status_t run_layers(pass_t *pass) {
  const pass_call_t *call = &pass->call;
  const base_t *base = call->role.base;
  int32_t layers = base->config.layers;
  for (int32_t l = 0; l < layers; l++)
    TRY(pass_layer_forward(call, &pass->buffers, l, input_of(pass, l), input_of(pass, l + 1)));
  return pass_norm(call, base->final_norm, input_of(pass, layers), pass->buffers.final,
                   pass->buffers.final_rstd);
}

/* What a pass over ROWS rows starts with. */
static pass_call_t call_of(const pass_t *pass, const role_t *role, int64_t rows, bool keep) {
  return (pass_call_t){.device = pass->device,
                       .grid = pass->grid,
                       .role = *role,
                       .rows = rows,
                       .keep = keep,
                       .recompute = pass->options.recompute};
}

status_t pass_forward(pass_t *pass, const role_t *role, const packed_t *packed, const pass_images_t *images,
                      bool keep, cache_t *cache, const int32_t *slots) {
  device_t *device = pass->device;
  pass_buffers_t *buffers = &pass->buffers;
  int64_t rows = packed->offsets[packed->sequences];
  pass_call_t call = call_of(pass, role, rows, keep);
  call.packed = packed;
  call.cache = cache;
  if (pass->grid->tp_rank == 0) perf_tokens((double)rows);
  TRY(pass_images_begin(&call, images));
  pass->call = call;
  TRY(pass_reserve(pass));
  if (rows == 0) return STATUS_OK;
  TRY(pass_images_reserve(pass, images));
  if (keep)
    TRY(OP(device, fill_real,
           &(op_fill_real_t){.n = rows * role->base->config.hidden, .value = 0.0, .x = buffers->dfinal}));
  pass->call.tokens = buffers->tokens;
  pass->call.positions = buffers->positions;
  pass->call.slots = buffers->slots;
  pass->call.prepared = &pass->sequences;
  TRY(index_upload(device, buffers->tokens, packed->tokens, (size_t)rows));
  TRY(index_upload(device, buffers->positions, packed->positions, (size_t)rows));
  TRY(sequences_prepare(&pass->sequences, packed->sequences, packed->offsets, role->base->heads,
                        role->base->kv_heads, role->base->config.head_size));
  if (cache) TRY(index_upload(device, buffers->slots, slots, (size_t)rows));
  TRY(pass_embed(&pass->call, input_of(pass, 0)));
  TRY(pass_images_forward(pass, images, input_of(pass, 0)));
  return run_layers(pass);
}

status_t pass_decode(pass_t *pass, const role_t *role, cache_t *cache, const pass_decode_t *step) {
  pass_call_t call = call_of(pass, role, step->rows, false);
  call.cache = cache;
  call.max_pages = step->max_pages;
  call.cached = step->cached;
  call.tokens = step->tokens;
  call.positions = step->positions;
  call.slots = step->slots;
  call.pages = step->pages;
  call.lengths = step->lengths;
  pass->call = call;
  TRY(pass_reserve(pass));
  if (step->rows == 0) return STATUS_OK;
  TRY(pass_embed(&pass->call, input_of(pass, 0)));
  return run_layers(pass);
}

/* ---- Backward ---- */

static status_t pass_embed_backward(const pass_call_t *call, const pass_buffers_t *buffers) {
  base_t *base = call->role.base;
  wide_t *grad = param_grad(&base->params, base->embed);
  if (!grad) return STATUS_OK;
  return OP(call->device, embedding_backward,
            &(op_embedding_backward_t){.rows = call->rows,
                                       .cols = base->config.hidden,
                                       .begin = base->vocab_begin,
                                       .count = base->vocab_count,
                                       .tokens = call->tokens,
                                       .dy = buffers->dx,
                                       .dweight = grad});
}

status_t pass_backward(pass_t *pass, pass_done_t done, void *context) {
  const pass_call_t *call = &pass->call;
  if (!call->keep) return error_set(STATUS_INTERNAL, "backward pass without a kept forward pass");
  const params_t *params = &call->role.base->params;
  int32_t layers = call->role.base->config.layers;
  bool inputs_trained = params->items[call->role.base->embed].trainable ||
                        params->items[call->role.base->projector[0].weight].trainable;
  if (call->rows > 0)
    TRY(pass_norm_backward(call, call->role.base->final_norm, input_of(pass, layers),
                           pass->buffers.final_rstd, pass->buffers.dfinal, pass->buffers.dx, false));
  for (int32_t l = layers - 1; l >= 0; l--) {
    if (call->rows > 0)
      TRY(pass_layer_backward(call, &pass->buffers, l, input_of(pass, l), l > 0 || inputs_trained));
    if (done) TRY(done(context, l));
  }
  if (call->rows > 0 && inputs_trained) {
    TRY(pass_embed_backward(call, &pass->buffers));
    TRY(pass_images_backward(pass));
  }
  pass->call.keep = false;
  return done ? done(context, -1) : STATUS_OK;
}
