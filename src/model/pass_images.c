/* Image tokens of a batch: tower and projector on this rank's share, gathered over the tp group. */
#include "model/pass_internal.h"

/* The images of tp rank T: begin .. begin + count - 1 of N. */
static void pass_images_share_of(int32_t n, int t, int size, int32_t *begin, int32_t *count) {
  *begin = (int32_t)((int64_t)n * t / size);
  *count = (int32_t)((int64_t)n * (t + 1) / size) - *begin;
}

/* What each rank of the tp group brings to a gather of N images. */
static const size_t *share_counts(pass_t *pass, int32_t n, int64_t per_image) {
  for (int t = 0; t < pass->grid->tp_size; t++) {
    int32_t begin, count;
    pass_images_share_of(n, t, pass->grid->tp_size, &begin, &count);
    pass->tp_counts[t] = (size_t)(count * per_image);
  }
  return pass->tp_counts;
}

status_t pass_features(pass_t *pass, const base_t *base, int32_t count, const float *patches,
                       float *features) {
  if (count == 0) return STATUS_OK;
  int64_t per_image = (int64_t)config_patches(&base->config) * base->config.vision_hidden;
  int64_t per_patches = (int64_t)config_patches(&base->config) * config_patch_size(&base->config);
  int32_t begin, share;
  pass_images_share_of(count, pass->grid->tp_rank, pass->grid->tp_size, &begin, &share);
  const real_t *mine;
  TRY(tower_forward(pass->tower, base, share, patches + begin * per_patches, false, &mine));
  size_t n = (size_t)(share * per_image);
  if (n > 0) TRY(real_download(pass->device, features + begin * per_image, DTYPE_F32, mine, n));
  TRY(device_synchronize(pass->device));
  if (pass->grid->tp_size == 1) return STATUS_OK;
  return comm_allgatherv(pass->grid->tp, features + begin * per_image, features,
                         share_counts(pass, count, per_image), COMM_F32);
}

/* For each row of the batch, the row of image_tokens shown there, or -1. */
static status_t upload_image_rows(const pass_call_t *call, const pass_buffers_t *buffers) {
  const packed_t *packed = call->packed;
  int32_t *rows = buffers->image_rows_host;
  for (int64_t t = 0; t < call->rows; t++)
    rows[t] = -1;
  for (int32_t i = 0; i < packed->images; i++)
    for (int32_t p = 0; p < packed->image_slots; p++)
      rows[packed->image_start[i] + p] = packed->image_index[i] * packed->image_slots + p;
  return index_upload(call->device, buffers->image_rows, rows, (size_t)call->rows);
}

static status_t pass_images_check_images(const pass_call_t *call, const pass_images_t *images) {
  const packed_t *packed = call->packed;
  int32_t slots = config_patches(&call->role.base->config);
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

static bool pass_images_trains(const base_t *base, int32_t id) {
  return base->params.items[id].trainable;
}

status_t pass_images_begin(pass_call_t *call, const pass_images_t *images) {
  if (!images || images->count == 0 || call->packed->images == 0) return STATUS_OK;
  TRY(pass_images_check_images(call, images));
  pass_images_share_of(images->count, call->grid->tp_rank, call->grid->tp_size, &call->image_begin,
                       &call->image_share);
  call->images = images->count;
  return STATUS_OK;
}

/* Does the tower run backwards? */
static bool keeps_tower(const pass_call_t *call) {
  return call->keep && pass_images_trains(call->role.base, call->role.base->patch_embedding.weight);
}

status_t pass_images_reserve(pass_t *pass, const pass_images_t *images) {
  const pass_call_t *call = &pass->call;
  if (call->images == 0) return STATUS_OK;
  if (images->features) return tower_reserve_features(pass->tower, call->role.base, call->image_share);
  return tower_reserve(pass->tower, call->role.base, call->image_share, keeps_tower(call));
}

/* Features of this rank's share, from the tower or as they were computed earlier. */
static status_t share_features(pass_t *pass, const pass_images_t *images, const real_t **features) {
  const pass_call_t *call = &pass->call;
  const base_t *base = call->role.base;
  int64_t first = (int64_t)call->image_begin * config_patches(&base->config);
  if (images->features)
    return tower_restore(pass->tower, base, call->image_share,
                         images->features + first * base->config.vision_hidden, features);
  return tower_forward(pass->tower, base, call->image_share,
                       images->patches + first * config_patch_size(&base->config), keeps_tower(call),
                       features);
}

status_t pass_images_forward(pass_t *pass, const pass_images_t *images, real_t *x) {
  const pass_call_t *call = &pass->call;
  const pass_buffers_t *buffers = &pass->buffers;
  const base_t *base = call->role.base;
  if (call->images == 0) return STATUS_OK;
  int64_t patches = config_patches(&base->config), hidden = base->config.hidden;
  const real_t *features;
  TRY(share_features(pass, images, &features));
  real_t *mine = real_at(call->device, buffers->image_tokens, call->image_begin * patches * hidden);
  TRY(projector_forward(pass->tower, base, call->image_share * patches, features, mine));
  if (call->grid->tp_size > 1)
    TRY(real_allgatherv(call->device, call->grid->tp, mine, buffers->image_tokens,
                        share_counts(pass, call->images, patches * hidden)));
  TRY(upload_image_rows(call, buffers));
  return rows_gather(call->device, call->rows, hidden, buffers->image_tokens, buffers->image_rows, x, false);
}

/* buffers->dimage_rows_host: for each of this rank's image rows, the batch row of the image's place number
 * ROUND, or -1; *ANY: there was one. */
static void round_rows(const pass_call_t *call, const pass_buffers_t *buffers, int32_t round, bool *any) {
  const packed_t *packed = call->packed;
  int32_t slots = packed->image_slots, *seen = buffers->dimage_seen, *rows = buffers->dimage_rows_host;
  *any = false;
  for (int32_t i = 0; i < call->image_share; i++)
    seen[i] = 0;
  for (int64_t i = 0; i < (int64_t)call->image_share * slots; i++)
    rows[i] = -1;
  for (int32_t i = 0; i < packed->images; i++) {
    int32_t mine = packed->image_index[i] - call->image_begin;
    if (mine < 0 || mine >= call->image_share || seen[mine]++ != round) continue;
    *any = true;
    for (int32_t p = 0; p < slots; p++)
      rows[mine * slots + p] = packed->image_start[i] + p;
  }
}

/* dimage = sum over all places of an image of the gradients of its slots, place by place: a gather adds
 * without conflicts. */
static status_t pass_images_gather_gradients(const pass_call_t *call, const pass_buffers_t *buffers) {
  int64_t hidden = call->role.base->config.hidden, n = (int64_t)call->image_share * call->packed->image_slots;
  TRY(OP(call->device, fill_real, &(op_fill_real_t){.n = n * hidden, .value = 0.0, .x = buffers->dimage}));
  for (int32_t round = 0;; round++) {
    bool any;
    round_rows(call, buffers, round, &any);
    if (!any) return STATUS_OK;
    TRY(index_upload(call->device, buffers->dimage_rows, buffers->dimage_rows_host, (size_t)n));
    TRY(rows_gather(call->device, n, hidden, buffers->dx, buffers->dimage_rows, buffers->dimage, true));
  }
}

status_t pass_images_backward(pass_t *pass) {
  const pass_call_t *call = &pass->call;
  if (call->image_share == 0 || !pass_images_trains(call->role.base, call->role.base->projector[0].weight))
    return STATUS_OK;
  TRY(pass_images_gather_gradients(call, &pass->buffers));
  return tower_backward(pass->tower, call->role.base, call->image_share, pass->buffers.dimage);
}
