/* Image tokens of a batch: tower and projector on this rank's share, gathered over the tp group. */
#include "base/memory.h"
#include "model/pass_internal.h"
#include "perf/perf.h"

/* The images of tp rank T: begin .. begin + count - 1 of N. */
static void share_of(int32_t n, int t, int size, int32_t *begin, int32_t *count) {
  *begin = (int32_t)((int64_t)n * t / size);
  *count = (int32_t)((int64_t)n * (t + 1) / size) - *begin;
}

/* What each rank of the tp group brings to a gather of N images. */
static const size_t *share_counts(pass_t *pass, int32_t n, int64_t per_image) {
  for (int t = 0; t < pass->grid->tp_size; t++) {
    int32_t begin, count;
    share_of(n, t, pass->grid->tp_size, &begin, &count);
    pass->tp_counts[t] = (size_t)(count * per_image);
  }
  return pass->tp_counts;
}

status_t pass_features(pass_t *pass, int32_t count, const float *patches, float *features) {
  const base_t *base = pass->base;
  if (count == 0) return STATUS_OK;
  int64_t per_image = (int64_t)config_patches(&base->config) * base->config.vision_hidden;
  int64_t per_patches = (int64_t)config_patches(&base->config) * config_patch_size(&base->config);
  int32_t begin, share;
  share_of(count, pass->grid->tp_rank, pass->grid->tp_size, &begin, &share);
  const real_t *mine;
  TRY(tower_forward(pass->tower, base, share, patches + begin * per_patches, false, &mine));
  size_t n = (size_t)(share * per_image);
  if (n > 0) TRY(real_download(pass->device, features + begin * per_image, DTYPE_F32, mine, n));
  TRY(device_synchronize(pass->device));
  if (pass->grid->tp_size == 1) return STATUS_OK;
  return comm_allgatherv(pass->grid->tp, features + begin * per_image, features,
                         share_counts(pass, count, per_image), COMM_F32);
}

/* At least ROWS rows of image tokens. */
static status_t ensure_tokens(pass_t *pass, int64_t rows) {
  if (pass->image_capacity >= rows) return STATUS_OK;
  device_release(pass->device, pass->image_tokens);
  pass->image_tokens = NULL;
  pass->image_capacity = 0;
  TRY(real_alloc(pass->device, ARENA_FEATURES, (size_t)(rows * pass->base->config.hidden),
                 &pass->image_tokens));
  pass->image_capacity = rows;
  return STATUS_OK;
}

static void release_gradients(pass_t *pass) {
  device_release(pass->device, pass->dimage);
  device_release(pass->device, pass->dimage_rows);
  memory_free(pass->dimage_rows_host);
  memory_free(pass->dimage_seen);
  pass->dimage = NULL;
  pass->dimage_rows = NULL;
  pass->dimage_rows_host = pass->dimage_seen = NULL;
  pass->dimage_capacity = 0;
}

/* For the gradient of this rank's share, ROWS rows. */
static status_t ensure_gradients(pass_t *pass, int64_t rows) {
  if (pass->dimage_capacity >= rows) return STATUS_OK;
  release_gradients(pass);
  size_t n = (size_t)rows, images = n / (size_t)config_patches(&pass->base->config);
  TRY(real_alloc(pass->device, ARENA_FEATURES, n * (size_t)pass->base->config.hidden, &pass->dimage));
  TRY(index_alloc(pass->device, ARENA_SCRATCH, n, &pass->dimage_rows));
  TRY(memory_alloc(&pass->dimage_rows_host, ARENA_OTHER, n, sizeof *pass->dimage_rows_host));
  TRY(memory_alloc(&pass->dimage_seen, ARENA_OTHER, images, sizeof *pass->dimage_seen));
  pass->dimage_capacity = rows;
  return STATUS_OK;
}

void pass_images_free(pass_t *pass) {
  device_release(pass->device, pass->image_tokens);
  release_gradients(pass);
}

/* For each row of the batch, the row of image_tokens shown there, or -1. */
static status_t upload_image_rows(pass_t *pass) {
  const packed_t *packed = pass->packed;
  int32_t *rows = pass->image_rows_host;
  for (int64_t t = 0; t < pass->rows; t++)
    rows[t] = -1;
  for (int32_t i = 0; i < packed->images; i++)
    for (int32_t p = 0; p < packed->image_slots; p++)
      rows[packed->image_start[i] + p] = packed->image_index[i] * packed->image_slots + p;
  return index_upload(pass->device, pass->image_rows, rows, (size_t)pass->rows);
}

static status_t check_images(const pass_t *pass, const pass_images_t *images) {
  const packed_t *packed = pass->packed;
  int32_t slots = config_patches(&pass->base->config);
  if (packed->image_slots != slots)
    return error_set(STATUS_INTERNAL, "a batch with %d slots per image met a tower that gives %d",
                     packed->image_slots, slots);
  if ((int64_t)images->count * slots > INT32_MAX)
    return error_set(STATUS_INPUT,
                     "%d images of %d patches are too many for one pass; lower optim.micro_tokens",
                     images->count, slots);
  for (int32_t i = 0; i < packed->images; i++)
    if (packed->image_index[i] < 0 || packed->image_index[i] >= images->count)
      return error_set(STATUS_INTERNAL, "image place %d shows image %d of %d", i, packed->image_index[i],
                       images->count);
  return STATUS_OK;
}

static bool trains(const base_t *base, int32_t id) {
  return base->params.items[id].trainable;
}

status_t pass_images_begin(pass_t *pass, const pass_images_t *images, bool keep) {
  const base_t *base = pass->base;
  if (!images || images->count == 0 || pass->packed->images == 0) return STATUS_OK;
  TRY(check_images(pass, images));
  int64_t patches = config_patches(&base->config);
  share_of(images->count, pass->grid->tp_rank, pass->grid->tp_size, &pass->image_begin, &pass->image_share);
  pass->images = images->count;
  TRY(ensure_tokens(pass, images->count * patches));
  if (keep && trains(base, base->projector[0].weight))
    TRY(ensure_gradients(pass, pass->image_share * patches));
  if (images->features) return tower_ensure_features(pass->tower, base, pass->image_share);
  return tower_ensure(pass->tower, base, pass->image_share, keep && trains(base, base->patch_embedding));
}

status_t pass_images_forward(pass_t *pass, const pass_images_t *images, bool keep, real_t *x) {
  const base_t *base = pass->base;
  if (pass->images == 0) return STATUS_OK;
  int64_t patches = config_patches(&base->config), hidden = base->config.hidden;
  const real_t *features;
  if (images->features)
    TRY(tower_restore(pass->tower, base, pass->image_share,
                      images->features + pass->image_begin * patches * base->config.vision_hidden,
                      &features));
  else
    TRY(tower_forward(pass->tower, base, pass->image_share,
                      images->patches + pass->image_begin * patches * config_patch_size(&base->config),
                      keep && trains(base, base->patch_embedding), &features));
  real_t *mine = real_at(pass->device, pass->image_tokens, pass->image_begin * patches * hidden);
  TRY(projector_forward(pass->tower, base, pass->image_share * patches, features, mine));
  if (pass->grid->tp_size > 1)
    TRY(real_allgatherv(pass->device, pass->grid->tp, mine, pass->image_tokens,
                        share_counts(pass, pass->images, patches * hidden)));
  TRY(upload_image_rows(pass));
  return OP(pass->device, rows_gather,
            &(op_rows_t){.rows = pass->rows,
                         .cols = hidden,
                         .from = pass->image_tokens,
                         .ld_from = hidden,
                         .index = pass->image_rows,
                         .to = x,
                         .ld_to = hidden});
}

/* pass->dimage_rows_host: for each of this rank's image rows, the batch row of the image's place number
 * ROUND, or -1; *ANY: there was one. */
static void round_rows(pass_t *pass, int32_t round, bool *any) {
  const packed_t *packed = pass->packed;
  int32_t slots = packed->image_slots, *seen = pass->dimage_seen, *rows = pass->dimage_rows_host;
  *any = false;
  for (int32_t i = 0; i < pass->image_share; i++)
    seen[i] = 0;
  for (int64_t i = 0; i < (int64_t)pass->image_share * slots; i++)
    rows[i] = -1;
  for (int32_t i = 0; i < packed->images; i++) {
    int32_t mine = packed->image_index[i] - pass->image_begin;
    if (mine < 0 || mine >= pass->image_share || seen[mine]++ != round) continue;
    *any = true;
    for (int32_t p = 0; p < slots; p++)
      rows[mine * slots + p] = packed->image_start[i] + p;
  }
}

/* dimage = sum over all places of an image of the gradients of its slots, place by place: a gather adds
 * without conflicts. */
static status_t gather_gradients(pass_t *pass) {
  int64_t hidden = pass->base->config.hidden, n = (int64_t)pass->image_share * pass->packed->image_slots;
  TRY(OP(pass->device, fill_real, &(op_fill_real_t){.n = n * hidden, .value = 0.0, .x = pass->dimage}));
  for (int32_t round = 0;; round++) {
    bool any;
    round_rows(pass, round, &any);
    if (!any) return STATUS_OK;
    TRY(index_upload(pass->device, pass->dimage_rows, pass->dimage_rows_host, (size_t)n));
    TRY(OP(pass->device, rows_gather,
           &(op_rows_t){.rows = n,
                        .cols = hidden,
                        .from = pass->dx,
                        .ld_from = hidden,
                        .index = pass->dimage_rows,
                        .to = pass->dimage,
                        .ld_to = hidden,
                        .add = true}));
  }
}

status_t pass_images_backward(pass_t *pass) {
  base_t *base = pass->base;
  if (pass->image_share == 0 || !trains(base, base->projector[0].weight)) return STATUS_OK;
  TRY(gather_gradients(pass));
  return tower_backward(pass->tower, base, pass->image_share, pass->dimage);
}
