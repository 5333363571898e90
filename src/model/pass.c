#include "model/pass.h"

#include "base/memory.h"
#include "model/pass_internal.h"
#include "model/traffic.h"
#include "perf/perf.h"

#include <string.h>

status_t pass_create(base_t *base, const pass_options_t *options, pass_t **out) {
  TRY(memory_alloc(out, ARENA_OTHER, 1, sizeof **out));
  pass_t *pass = *out;
  pass->base = base;
  pass->device = base->params.device;
  pass->grid = base->params.grid;
  pass->options = *options;
  TRY(memory_alloc(&pass->tp_counts, ARENA_OTHER, (size_t)pass->grid->tp_size, sizeof *pass->tp_counts));
  return tower_pass_create(pass->device, &pass->tower);
}

static void release_saved(device_t *device, pass_saved_t *saved) {
  void *all[] = {saved->n1,   saved->q,  saved->k,   saved->v,     saved->attended, saved->mid, saved->n2,
                 saved->gate, saved->up, saved->act, saved->rstd1, saved->rstd2,    saved->lse};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    device_release(device, all[i]);
  for (int p = 0; p < PROJ_COUNT; p++)
    device_release(device, saved->u[p]);
}

/* Gives back what pass_ensure allocated. */
static void release_buffers(pass_t *pass) {
  device_t *device = pass->device;
  for (int32_t s = 0; s < pass->sets; s++)
    release_saved(device, &pass->saved[s]);
  for (int32_t i = 0; i < pass->input_count; i++)
    device_release(device, pass->inputs[i]);
  void **all[] = {
      (void **)&pass->final, (void **)&pass->final_rstd, (void **)&pass->tokens,  (void **)&pass->positions,
      (void **)&pass->slots, (void **)&pass->image_rows, (void **)&pass->offsets, (void **)&pass->dfinal,
      (void **)&pass->dx,    (void **)&pass->dn,         (void **)&pass->dq,      (void **)&pass->dk,
      (void **)&pass->dv,    (void **)&pass->dact,       (void **)&pass->du,      (void **)&pass->dattended};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    device_release(device, *all[i]);
    *all[i] = NULL;
  }
  memory_free(pass->saved);
  memory_free(pass->inputs);
  memory_free(pass->image_rows_host);
  pass->image_rows_host = NULL;
  pass->saved = NULL;
  pass->inputs = NULL;
  pass->sets = pass->input_count = pass->lora_r = 0;
  pass->capacity = 0;
  pass->backward = false;
}

void pass_free(pass_t *pass) {
  if (!pass) return;
  release_buffers(pass);
  pass_head_free(pass);
  device_release(pass->device, pass->pages);
  device_release(pass->device, pass->lengths);
  pass_images_free(pass);
  tower_pass_free(pass->tower);
  memory_free(pass->tp_counts);
  memory_free(pass);
}

static status_t allocate_saved(pass_t *pass, pass_saved_t *saved, size_t rows, int32_t lora_r) {
  const base_t *base = pass->base;
  device_t *device = pass->device;
  size_t c = rows * (size_t)base->config.hidden, f = rows * (size_t)base->mlp;
  size_t q = rows * (size_t)(base->heads * base->config.head_size);
  size_t kv = rows * (size_t)(base->kv_heads * base->config.head_size);
  const struct {
    real_t **buffer;
    size_t n;
  } buffers[] = {{&saved->n1, c},  {&saved->q, q},  {&saved->k, kv},   {&saved->v, kv}, {&saved->attended, q},
                 {&saved->mid, c}, {&saved->n2, c}, {&saved->gate, f}, {&saved->up, f}, {&saved->act, f}};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
    TRY(real_alloc(device, ARENA_ACTIVATIONS, buffers[i].n, buffers[i].buffer));
  TRY(wide_alloc(device, ARENA_ACTIVATIONS, rows, &saved->rstd1));
  TRY(wide_alloc(device, ARENA_ACTIVATIONS, rows, &saved->rstd2));
  TRY(wide_alloc(device, ARENA_ACTIVATIONS, rows * (size_t)base->heads, &saved->lse));
  for (int p = 0; p < PROJ_COUNT && lora_r > 0; p++)
    TRY(real_alloc(device, ARENA_ACTIVATIONS, rows * (size_t)lora_r, &saved->u[p]));
  return STATUS_OK;
}

static status_t allocate_backward(pass_t *pass, size_t rows, int32_t lora_r) {
  const base_t *base = pass->base;
  size_t c = rows * (size_t)base->config.hidden;
  size_t q = rows * (size_t)(base->heads * base->config.head_size);
  size_t kv = rows * (size_t)(base->kv_heads * base->config.head_size);
  const struct {
    real_t **buffer;
    size_t n;
  } buffers[] = {{&pass->dfinal, c},
                 {&pass->dx, c},
                 {&pass->dn, c},
                 {&pass->dq, q},
                 {&pass->dattended, q},
                 {&pass->dk, kv},
                 {&pass->dv, kv},
                 {&pass->dact, rows * (size_t)base->mlp},
                 {&pass->du, rows * (size_t)lora_r}};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
    TRY(real_alloc(pass->device, ARENA_SCRATCH, buffers[i].n, buffers[i].buffer));
  pass->backward = true;
  return STATUS_OK;
}

static status_t allocate_buffers(pass_t *pass, size_t rows, int32_t sets, int32_t inputs, int32_t lora_r,
                                 bool backward) {
  device_t *device = pass->device;
  size_t c = rows * (size_t)pass->base->config.hidden;
  TRY(memory_alloc(&pass->saved, ARENA_OTHER, (size_t)sets, sizeof *pass->saved));
  pass->sets = sets;
  for (int32_t s = 0; s < sets; s++)
    TRY(allocate_saved(pass, &pass->saved[s], rows, lora_r));
  TRY(memory_alloc(&pass->inputs, ARENA_OTHER, (size_t)inputs, sizeof *pass->inputs));
  pass->input_count = inputs;
  for (int32_t i = 0; i < inputs; i++)
    TRY(real_alloc(device, ARENA_ACTIVATIONS, c, &pass->inputs[i]));
  TRY(real_alloc(device, ARENA_ACTIVATIONS, c, &pass->final));
  TRY(wide_alloc(device, ARENA_ACTIVATIONS, rows, &pass->final_rstd));
  index_t **indices[] = {&pass->tokens, &pass->positions, &pass->slots, &pass->image_rows};
  for (size_t i = 0; i < sizeof indices / sizeof *indices; i++)
    TRY(index_alloc(device, ARENA_SCRATCH, rows, indices[i]));
  TRY(index_alloc(device, ARENA_SCRATCH, rows + 1, &pass->offsets));
  TRY(memory_alloc(&pass->image_rows_host, ARENA_OTHER, rows, sizeof *pass->image_rows_host));
  if (backward) TRY(allocate_backward(pass, rows, lora_r));
  pass->lora_r = lora_r;
  pass->capacity = (int64_t)rows;
  return STATUS_OK;
}

status_t pass_ensure(pass_t *pass, const role_t *role, int64_t rows, bool keep) {
  int32_t layers = pass->base->config.layers;
  int32_t sets = keep && !pass->options.recompute ? layers : 1;
  int32_t inputs = keep ? layers + 1 : 2;
  int32_t lora_r = role->adapter ? role->adapter->config.r : 0;
  bool fits = pass->capacity >= rows && pass->sets >= sets && pass->input_count >= inputs &&
              pass->lora_r >= lora_r && (pass->backward || !keep);
  if (fits) return STATUS_OK;
  if (pass->capacity > rows) rows = pass->capacity;
  if (pass->sets > sets) sets = pass->sets;
  if (pass->input_count > inputs) inputs = pass->input_count;
  if (pass->lora_r > lora_r) lora_r = pass->lora_r;
  bool backward = keep || pass->backward;
  release_buffers(pass);
  return allocate_buffers(pass, (size_t)rows, sets, inputs, lora_r, backward);
}

linear_context_t pass_context(const pass_t *pass) {
  return (linear_context_t){pass->device, !pass->recomputing};
}

/* Where layer INDEX reads its input (and layer INDEX - 1 writes). */
static real_t *input_of(const pass_t *pass, int32_t index) {
  return pass->inputs[pass->kept ? index : index % 2];
}

static status_t embed(pass_t *pass, real_t *x) {
  const base_t *base = pass->base;
  TRY(OP(pass->device, embedding,
         &(op_embedding_t){.rows = pass->rows,
                           .cols = base->config.hidden,
                           .begin = base->vocab_begin,
                           .count = base->vocab_count,
                           .tokens = pass->tokens,
                           .weight = param_data(&base->params, base->embed),
                           .y = x}));
  return real_allreduce(pass->device, pass->grid->tp, x, (size_t)(pass->rows * base->config.hidden),
                        COMM_SUM);
}

/* Layers and final norm, from inputs[0]. */
static status_t run_layers(pass_t *pass) {
  const base_t *base = pass->base;
  int32_t layers = base->config.layers;
  for (int32_t l = 0; l < layers; l++)
    TRY(pass_layer_forward(pass, l, input_of(pass, l), input_of(pass, l + 1)));
  return OP(pass->device, rmsnorm,
            &(op_rmsnorm_t){.rows = pass->rows,
                            .cols = base->config.hidden,
                            .x = input_of(pass, layers),
                            .weight = param_data(&base->params, base->final_norm),
                            .eps = base->config.norm_eps,
                            .y = pass->final,
                            .rstd = pass->final_rstd});
}

static double causal_pairs(const packed_t *packed) {
  double pairs = 0.0;
  for (int32_t s = 0; s < packed->sequences; s++) {
    double n = packed->offsets[s + 1] - packed->offsets[s];
    pairs += 0.5 * n * (n + 1.0);
  }
  return pairs;
}

/* Sets what every pass starts with. */
static status_t begin(pass_t *pass, const role_t *role, int64_t rows, bool keep) {
  if (role->base != pass->base)
    return error_set(STATUS_INTERNAL, "a pass was asked to run a role of another base");
  TRY(pass_ensure(pass, role, rows, keep));
  pass->role = *role;
  pass->rows = rows;
  pass->kept = keep;
  pass->recomputing = false;
  pass->decode = false;
  pass->cache = NULL;
  pass->packed = NULL;
  pass->images = pass->image_share = 0;
  perf_tokens((double)rows);
  return STATUS_OK;
}

status_t pass_forward(pass_t *pass, const role_t *role, const packed_t *packed, const pass_images_t *images,
                      bool keep, cache_t *cache, const int32_t *slots) {
  int64_t rows = packed->offsets[packed->sequences];
  TRY(begin(pass, role, rows, keep));
  pass->packed = packed;
  pass->cache = cache;
  pass->pairs = causal_pairs(packed);
  if (keep)
    TRY(OP(pass->device, fill_real,
           &(op_fill_real_t){.n = rows * pass->base->config.hidden, .value = 0.0, .x = pass->dfinal}));
  if (rows == 0) return STATUS_OK;
  TRY(pass_images_begin(pass, images, keep));
  perf_bytes(traffic_decoder(role).weights + (cache ? traffic_cache(pass->base, (double)rows) : 0.0) +
             (keep ? traffic_kept(role, (double)rows, pass->options.recompute) : 0.0));
  TRY(index_upload(pass->device, pass->tokens, packed->tokens, (size_t)rows));
  TRY(index_upload(pass->device, pass->positions, packed->positions, (size_t)rows));
  TRY(index_upload(pass->device, pass->offsets, packed->offsets, (size_t)packed->sequences + 1));
  if (cache) TRY(index_upload(pass->device, pass->slots, slots, (size_t)rows));
  TRY(embed(pass, input_of(pass, 0)));
  TRY(pass_images_forward(pass, images, keep, input_of(pass, 0)));
  return run_layers(pass);
}

/* Room for PAGES entries of the page table and ROWS lengths. */
static status_t ensure_pages(pass_t *pass, int64_t rows, int64_t pages) {
  if (pages <= pass->pages_capacity && rows <= pass->pages_capacity) return STATUS_OK;
  device_release(pass->device, pass->pages);
  device_release(pass->device, pass->lengths);
  pass->pages = pass->lengths = NULL;
  pass->pages_capacity = pages > rows ? pages : rows;
  TRY(index_alloc(pass->device, ARENA_SCRATCH, (size_t)pass->pages_capacity, &pass->pages));
  return index_alloc(pass->device, ARENA_SCRATCH, (size_t)pass->pages_capacity, &pass->lengths);
}

status_t pass_decode(pass_t *pass, const role_t *role, cache_t *cache, int32_t max_pages, int32_t n,
                     const int32_t *tokens, const int32_t *positions, const int32_t *slots,
                     const int32_t *pages, const int32_t *lengths) {
  TRY(begin(pass, role, n, false));
  pass->decode = true;
  pass->cache = cache;
  pass->max_pages = max_pages;
  pass->pairs = 0.0;
  for (int32_t i = 0; i < n; i++)
    pass->pairs += lengths[i];
  if (n == 0) return STATUS_OK;
  perf_bytes(traffic_decoder(role).weights + traffic_cache(pass->base, pass->pairs + n));
  TRY(ensure_pages(pass, n, (int64_t)n * max_pages));
  TRY(index_upload(pass->device, pass->tokens, tokens, (size_t)n));
  TRY(index_upload(pass->device, pass->positions, positions, (size_t)n));
  TRY(index_upload(pass->device, pass->slots, slots, (size_t)n));
  TRY(index_upload(pass->device, pass->pages, pages, (size_t)n * (size_t)max_pages));
  TRY(index_upload(pass->device, pass->lengths, lengths, (size_t)n));
  TRY(embed(pass, input_of(pass, 0)));
  return run_layers(pass);
}

static double backward_bytes(const pass_t *pass) {
  traffic_t decoder = traffic_decoder(&pass->role);
  return decoder.weights + decoder.gradients +
         traffic_kept(&pass->role, (double)pass->rows, pass->options.recompute);
}

static bool trains(const params_t *params, int32_t id) {
  return params->items[id].trainable;
}

static status_t embed_backward(pass_t *pass) {
  base_t *base = pass->base;
  wide_t *grad = param_grad(&base->params, base->embed);
  if (!grad) return STATUS_OK;
  return OP(pass->device, embedding_backward,
            &(op_embedding_backward_t){.rows = pass->rows,
                                       .cols = base->config.hidden,
                                       .begin = base->vocab_begin,
                                       .count = base->vocab_count,
                                       .tokens = pass->tokens,
                                       .dy = pass->dx,
                                       .dweight = grad});
}

status_t pass_backward(pass_t *pass, pass_done_t done, void *context) {
  base_t *base = pass->base;
  int32_t layers = base->config.layers;
  if (!pass->kept) return error_set(STATUS_INTERNAL, "backward pass without a kept forward pass");
  bool inputs_trained =
      trains(&base->params, base->embed) || trains(&base->params, base->projector[0].weight);
  if (pass->rows > 0) {
    perf_bytes(backward_bytes(pass));
    TRY(OP(pass->device, rmsnorm_backward,
           &(op_rmsnorm_backward_t){.rows = pass->rows,
                                    .cols = base->config.hidden,
                                    .x = input_of(pass, layers),
                                    .weight = param_data(&base->params, base->final_norm),
                                    .dy = pass->dfinal,
                                    .rstd = pass->final_rstd,
                                    .dx = pass->dx,
                                    .dweight = param_grad(&base->params, base->final_norm)}));
  }
  for (int32_t l = layers - 1; l >= 0; l--) {
    if (pass->rows > 0) TRY(pass_layer_backward(pass, l, input_of(pass, l), l > 0 || inputs_trained));
    if (done) TRY(done(context, l));
  }
  if (pass->rows > 0 && inputs_trained) {
    TRY(embed_backward(pass));
    TRY(pass_images_backward(pass));
  }
  pass->kept = false;
  return done ? done(context, -1) : STATUS_OK;
}
