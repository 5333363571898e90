/* Buffers of the tower and of its projector. */
#include "base/memory.h"
#include "model/tower_internal.h"

status_t tower_pass_create(device_t *device, tower_pass_t **out) {
  TRY(memory_alloc(out, ARENA_OTHER, 1, sizeof **out));
  (*out)->device = device;
  return STATUS_OK;
}

static void release_saved(device_t *device, tower_saved_t *saved) {
  void *all[] = {saved->x,        saved->n1,    saved->q,     saved->k,     saved->v,
                 saved->attended, saved->mid,   saved->n2,    saved->pre,   saved->hidden,
                 saved->mean1,    saved->rstd1, saved->mean2, saved->rstd2, saved->lse};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    device_release(device, all[i]);
}

static void release_features(tower_pass_t *pass) {
  real_t **all[] = {&pass->features, &pass->project_pre, &pass->project_hidden, &pass->dproject};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    device_release(pass->device, *all[i]);
    *all[i] = NULL;
  }
  pass->held = 0;
}

static void release_activations(tower_pass_t *pass) {
  device_t *device = pass->device;
  for (int32_t l = 0; l < pass->layers && pass->saved; l++)
    release_saved(device, &pass->saved[l]);
  void **all[] = {(void **)&pass->patches,     (void **)&pass->embedded,    (void **)&pass->out,
                  (void **)&pass->patch_rows,  (void **)&pass->mean0,       (void **)&pass->rstd0,
                  (void **)&pass->dx,          (void **)&pass->dn,          (void **)&pass->dq,
                  (void **)&pass->dk,          (void **)&pass->dv,          (void **)&pass->dhidden,
                  (void **)&pass->patch_index, (void **)&pass->class_index, (void **)&pass->offsets};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    device_release(device, *all[i]);
    *all[i] = NULL;
  }
  memory_free(pass->saved);
  memory_free(pass->offsets_host);
  pass->saved = NULL;
  pass->offsets_host = NULL;
  pass->capacity = pass->layers = 0;
}

void tower_pass_free(tower_pass_t *pass) {
  if (!pass) return;
  release_features(pass);
  release_activations(pass);
  memory_free(pass);
}

static status_t allocate_saved(device_t *device, const model_config_t *config, int64_t rows,
                               tower_saved_t *saved) {
  size_t c = (size_t)(rows * config->vision_hidden), f = (size_t)(rows * config->vision_mlp),
         t = (size_t)rows;
  real_t **wide_c[] = {&saved->x, &saved->n1,       &saved->q,   &saved->k,
                       &saved->v, &saved->attended, &saved->mid, &saved->n2};
  for (size_t i = 0; i < sizeof wide_c / sizeof *wide_c; i++)
    TRY(real_alloc(device, ARENA_ACTIVATIONS, c, wide_c[i]));
  TRY(real_alloc(device, ARENA_ACTIVATIONS, f, &saved->pre));
  TRY(real_alloc(device, ARENA_ACTIVATIONS, f, &saved->hidden));
  wide_t **per_row[] = {&saved->mean1, &saved->rstd1, &saved->mean2, &saved->rstd2};
  for (size_t i = 0; i < sizeof per_row / sizeof *per_row; i++)
    TRY(wide_alloc(device, ARENA_ACTIVATIONS, t, per_row[i]));
  return wide_alloc(device, ARENA_ACTIVATIONS, t * (size_t)config->vision_heads, &saved->lse);
}

/* Index arrays for CAPACITY images. */
static status_t fill_indices(tower_pass_t *pass, int32_t patches) {
  int32_t rows = pass->capacity * (patches + 1); /* fits: check_rows */
  int32_t *host;
  TRY(memory_alloc(&host, ARENA_OTHER, (size_t)rows, sizeof *host));
  for (int32_t i = 0; i < pass->capacity * patches; i++)
    host[i] = i / patches * (patches + 1) + 1 + i % patches;
  status_code_t status =
      index_upload(pass->device, pass->patch_index, host, (size_t)pass->capacity * (size_t)patches);
  for (int32_t i = 0; i < rows; i++)
    host[i] = i % (patches + 1) == 0 ? 0 : -1;
  if (status == STATUS_OK) status = index_upload(pass->device, pass->class_index, host, (size_t)rows);
  memory_free(host);
  TRY(status);
  for (int32_t i = 0; i <= pass->capacity; i++)
    pass->offsets_host[i] = i * (patches + 1);
  return index_upload(pass->device, pass->offsets, pass->offsets_host, (size_t)pass->capacity + 1);
}

static status_t allocate_activations(tower_pass_t *pass, int32_t count, int32_t layers, bool backward) {
  device_t *device = pass->device;
  const model_config_t *config = &pass->base->config;
  int32_t patches = config_patches(config);
  int64_t rows = (int64_t)count * (patches + 1);
  size_t p = (size_t)count * (size_t)patches, c = (size_t)(rows * config->vision_hidden);
  TRY(memory_alloc(&pass->saved, ARENA_OTHER, (size_t)layers, sizeof *pass->saved));
  pass->layers = layers;
  for (int32_t l = 0; l < layers; l++)
    TRY(allocate_saved(device, config, rows, &pass->saved[l]));
  TRY(real_alloc(device, ARENA_SCRATCH, p * (size_t)config_patch_size(config), &pass->patches));
  TRY(real_alloc(device, ARENA_ACTIVATIONS, c, &pass->embedded));
  TRY(real_alloc(device, ARENA_ACTIVATIONS, c, &pass->out));
  TRY(real_alloc(device, ARENA_SCRATCH, p * (size_t)config->vision_hidden, &pass->patch_rows));
  TRY(wide_alloc(device, ARENA_ACTIVATIONS, (size_t)rows, &pass->mean0));
  TRY(wide_alloc(device, ARENA_ACTIVATIONS, (size_t)rows, &pass->rstd0));
  if (backward) {
    real_t **scratch[] = {&pass->dx, &pass->dn, &pass->dq, &pass->dk, &pass->dv};
    for (size_t i = 0; i < sizeof scratch / sizeof *scratch; i++)
      TRY(real_alloc(device, ARENA_SCRATCH, c, scratch[i]));
    TRY(real_alloc(device, ARENA_SCRATCH, (size_t)(rows * config->vision_mlp), &pass->dhidden));
  }
  TRY(index_alloc(device, ARENA_SCRATCH, p, &pass->patch_index));
  TRY(index_alloc(device, ARENA_SCRATCH, (size_t)rows, &pass->class_index));
  TRY(index_alloc(device, ARENA_SCRATCH, (size_t)count + 1, &pass->offsets));
  TRY(memory_alloc(&pass->offsets_host, ARENA_OTHER, (size_t)count + 1, sizeof *pass->offsets_host));
  pass->capacity = count;
  return fill_indices(pass, patches);
}

/* Rows of the tower are numbered in 32 bits. */
static status_t check_rows(const base_t *base, int32_t count) {
  int64_t rows = (int64_t)count * (config_patches(&base->config) + 1);
  if (rows <= INT32_MAX) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "%d images of %d patches are too many for one pass of a rank; lower optim.micro_tokens",
                   count, config_patches(&base->config));
}

static void use_base(tower_pass_t *pass, const base_t *base) {
  if (pass->base == base) return;
  release_features(pass);
  release_activations(pass);
  pass->base = base;
}

status_t tower_ensure_features(tower_pass_t *pass, const base_t *base, int32_t count) {
  const model_config_t *config = &base->config;
  TRY(check_rows(base, count));
  use_base(pass, base);
  if (count < 1) count = 1;
  if (pass->held >= count) return STATUS_OK;
  release_features(pass);
  size_t p = (size_t)count * (size_t)config_patches(config), hidden = p * (size_t)config->hidden;
  TRY(real_alloc(pass->device, ARENA_FEATURES, p * (size_t)config->vision_hidden, &pass->features));
  if (config->projector == PROJECTOR_MLP2X_GELU) {
    TRY(real_alloc(pass->device, ARENA_ACTIVATIONS, hidden, &pass->project_pre));
    TRY(real_alloc(pass->device, ARENA_ACTIVATIONS, hidden, &pass->project_hidden));
    TRY(real_alloc(pass->device, ARENA_SCRATCH, hidden, &pass->dproject));
  }
  pass->held = count;
  return STATUS_OK;
}

status_t tower_ensure(tower_pass_t *pass, const base_t *base, int32_t count, bool keep) {
  TRY(tower_ensure_features(pass, base, count));
  int32_t layers = config_tower_layers(&base->config);
  if (!keep && layers > 1) layers = 1;
  bool backward = keep || pass->dx;
  if (count < 1) count = 1;
  if (pass->capacity >= count && pass->layers >= layers && (!keep || pass->dx)) return STATUS_OK;
  if (pass->layers > layers) layers = pass->layers;
  if (pass->capacity > count) count = pass->capacity;
  release_activations(pass);
  return allocate_activations(pass, count, layers, backward);
}
