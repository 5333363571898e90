/* Buffers of the tower and of its projector. */
#include "base/memory.h"
#include "model/tower_internal.h"

status_t tower_pass_create(device_t *device, tower_pass_t **out) {
  TRY(memory_alloc(out, ARENA_OTHER, 1, sizeof **out));
  **out = (tower_pass_t){.device = device,
                         .workspace = workspace_create(device, "tower"),
                         .sequences = sequences_create(device)};
  return STATUS_OK;
}

void tower_pass_free(tower_pass_t *pass) {
  if (!pass) return;
  sequences_free(&pass->sequences);
  workspace_free(&pass->workspace);
  memory_free(pass->saved);
  memory_free(pass);
}

/* The projector's, and what it reads, for P patches. */
static void tower_buffers_describe_features(tower_pass_t *pass, int64_t p) {
  workspace_t *w = &pass->workspace;
  const model_config_t *config = &pass->base->config;
  int64_t hidden = config->projector == PROJECTOR_MLP2X_GELU ? p * config->hidden : 0;
  workspace_real(w, ARENA_FEATURES, "features", p * config->vision_hidden, &pass->features);
  workspace_real(w, ARENA_ACTIVATIONS, "project_pre", hidden, &pass->project_pre);
  workspace_real(w, ARENA_ACTIVATIONS, "project_hidden", hidden, &pass->project_hidden);
  workspace_real(w, ARENA_SCRATCH, "dproject", hidden, &pass->dproject);
}

/* One layer's, for T rows. */
static void tower_buffers_describe_layer(workspace_t *w, const model_config_t *config, int64_t t,
                                         tower_saved_t *saved) {
  int64_t c = t * config->vision_hidden, f = t * config->vision_mlp;
  workspace_real(w, ARENA_ACTIVATIONS, "x", c, &saved->x);
  workspace_real(w, ARENA_ACTIVATIONS, "n1", c, &saved->n1);
  workspace_real(w, ARENA_ACTIVATIONS, "q", c, &saved->q);
  workspace_real(w, ARENA_ACTIVATIONS, "k", c, &saved->k);
  workspace_real(w, ARENA_ACTIVATIONS, "v", c, &saved->v);
  workspace_real(w, ARENA_ACTIVATIONS, "attended", c, &saved->attended);
  workspace_real(w, ARENA_ACTIVATIONS, "mid", c, &saved->mid);
  workspace_real(w, ARENA_ACTIVATIONS, "n2", c, &saved->n2);
  workspace_real(w, ARENA_ACTIVATIONS, "pre", f, &saved->pre);
  workspace_real(w, ARENA_ACTIVATIONS, "hidden", f, &saved->hidden);
  workspace_wide(w, ARENA_ACTIVATIONS, "mean1", t, &saved->mean1);
  workspace_wide(w, ARENA_ACTIVATIONS, "rstd1", t, &saved->rstd1);
  workspace_wide(w, ARENA_ACTIVATIONS, "mean2", t, &saved->mean2);
  workspace_wide(w, ARENA_ACTIVATIONS, "rstd2", t, &saved->rstd2);
  workspace_wide(w, ARENA_ACTIVATIONS, "lse", t * config->vision_heads, &saved->lse);
}

/* The tower's, for COUNT images; T_BACK rows of the backward pass's scratch. */
static void tower_buffers_describe_tower(tower_pass_t *pass, int64_t count, int32_t sets, int64_t t_back) {
  workspace_t *w = &pass->workspace;
  const model_config_t *config = &pass->base->config;
  int64_t p = count * config_patches(config), t = count * config_tower_tokens(config);
  int64_t c = t * config->vision_hidden, classed = config->tower == TOWER_CLIP ? t : 0;
  int64_t c_back = t_back * config->vision_hidden;
  workspace_real(w, ARENA_SCRATCH, "patches", p * config_patch_size(config), &pass->patches);
  workspace_real(w, ARENA_ACTIVATIONS, "embedded", classed * config->vision_hidden, &pass->embedded);
  workspace_real(w, ARENA_ACTIVATIONS, "out", c, &pass->out);
  workspace_real(w, ARENA_SCRATCH, "patch_rows", p * config->vision_hidden, &pass->patch_rows);
  workspace_wide(w, ARENA_ACTIVATIONS, "mean0", classed, &pass->mean0);
  workspace_wide(w, ARENA_ACTIVATIONS, "rstd0", classed, &pass->rstd0);
  workspace_index(w, ARENA_SCRATCH, "patch_index", p, &pass->patch_index);
  workspace_index(w, ARENA_SCRATCH, "class_index", classed, &pass->class_index);
  workspace_host(w, "patch_index", p, &pass->patch_index_host);
  workspace_host(w, "class_index", classed, &pass->class_index_host);
  workspace_host(w, "offsets", count + 1, &pass->offsets_host);
  workspace_real(w, ARENA_SCRATCH, "dx", c_back, &pass->dx);
  workspace_real(w, ARENA_SCRATCH, "dn", c_back, &pass->dn);
  workspace_real(w, ARENA_SCRATCH, "dq", c_back, &pass->dq);
  workspace_real(w, ARENA_SCRATCH, "dk", c_back, &pass->dk);
  workspace_real(w, ARENA_SCRATCH, "dv", c_back, &pass->dv);
  workspace_real(w, ARENA_SCRATCH, "dhidden", t_back * config->vision_mlp, &pass->dhidden);
  for (int32_t l = 0; l < sets; l++)
    tower_buffers_describe_layer(w, config, t, &pass->saved[l]);
}

/* Index arrays for COUNT images. */
static status_t tower_buffers_fill_indices(tower_pass_t *pass, int32_t count) {
  int32_t patches = config_patches(&pass->base->config), tokens = config_tower_tokens(&pass->base->config);
  int32_t p = count * patches, before = tokens - patches; /* fits: check_rows */
  int32_t classed = before > 0 ? count * tokens : 0;
  for (int32_t i = 0; i < p; i++)
    pass->patch_index_host[i] = i / patches * tokens + before + i % patches;
  for (int32_t i = 0; i < classed; i++)
    pass->class_index_host[i] = i % tokens == 0 ? 0 : -1;
  for (int32_t i = 0; i <= count; i++)
    pass->offsets_host[i] = i * tokens;
  TRY(index_upload(pass->device, pass->patch_index, pass->patch_index_host, (size_t)p));
  return index_upload(pass->device, pass->class_index, pass->class_index_host, (size_t)classed);
}

/* Rows of the tower are numbered in 32 bits. */
static status_t tower_buffers_check_rows(const base_t *base, int32_t count) {
  int64_t rows = (int64_t)count * config_tower_tokens(&base->config);
  if (rows <= INT32_MAX) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "%d images of %d patches are too many for one pass of a rank; lower optim.micro_tokens",
                   count, config_patches(&base->config));
}

/* Lists for BASE's layers or more: the workspace knows its buffers' owners, which are in them. */
static status_t tower_buffers_use_base(tower_pass_t *pass, const base_t *base) {
  int32_t layers = config_tower_layers(&base->config), patches = config_patches(&base->config);
  pass->base = base;
  int32_t tokens = config_tower_tokens(&base->config);
  if (pass->indexed_patches != patches || pass->indexed_tokens != tokens) pass->indexed = 0;
  pass->indexed_patches = patches;
  pass->indexed_tokens = tokens;
  if (layers <= pass->layers) return STATUS_OK;
  workspace_forget(&pass->workspace);
  pass->layers = 0;
  TRY(memory_resize(&pass->saved, ARENA_OTHER, (size_t)layers, sizeof *pass->saved));
  pass->layers = layers;
  return STATUS_OK;
}

status_t tower_reserve_features(tower_pass_t *pass, const base_t *base, int32_t count) {
  bool fresh;
  TRY(tower_buffers_check_rows(base, count));
  TRY(tower_buffers_use_base(pass, base));
  workspace_begin(&pass->workspace);
  tower_buffers_describe_features(pass, (int64_t)(count > 0 ? count : 1) * config_patches(&base->config));
  TRY(workspace_end(&pass->workspace, &fresh));
  if (fresh) pass->indexed = 0;
  return STATUS_OK;
}

status_t tower_reserve(tower_pass_t *pass, const base_t *base, int32_t count, bool keep) {
  bool fresh;
  int32_t layers = config_tower_layers(&base->config), patches = config_patches(&base->config);
  TRY(tower_buffers_check_rows(base, count));
  TRY(tower_buffers_use_base(pass, base));
  if (count < 1) count = 1;
  workspace_begin(&pass->workspace);
  tower_buffers_describe_features(pass, (int64_t)count * patches);
  tower_buffers_describe_tower(pass, count, keep || layers < 1 ? layers : 1,
                               keep ? (int64_t)count * config_tower_tokens(&base->config) : 0);
  TRY(workspace_end(&pass->workspace, &fresh));
  if (fresh || pass->indexed < count) {
    pass->indexed = count;
    TRY(tower_buffers_fill_indices(pass, count));
  }
  int32_t heads = base->config.vision_heads;
  return sequences_prepare(&pass->sequences, count, pass->offsets_host, heads, heads,
                           base->config.vision_hidden / heads);
}
