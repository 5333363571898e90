/* Image tokens of a batch: tower and projector on this rank's share, gathered over the tp group. */
#include "base/memory.h"
#include "model/pass_internal.h"
#include "perf/perf.h"

/* The images of tp rank T: begin .. begin + count - 1 of N. */
static void share_of(int32_t n, int t, int size, int32_t *begin, int32_t *count) {
  *begin = (int32_t)((int64_t)n * t / size);
  *count = (int32_t)((int64_t)n * (t + 1) / size) - *begin;
}

static status_t share_counts(const grid_t *grid, int32_t n, int64_t per_image, size_t **counts) {
  TRY(memory_alloc(counts, ARENA_OTHER, (size_t)grid->tp_size, sizeof **counts));
  for (int t = 0; t < grid->tp_size; t++) {
    int32_t begin, count;
    share_of(n, t, grid->tp_size, &begin, &count);
    (*counts)[t] = (size_t)(count * per_image);
  }
  return STATUS_OK;
}

/* Completes ALL (N * per_image elements) from the shares that lie in it. */
static status_t gather(pass_t *pass, int32_t n, int64_t per_image, int32_t begin, real_t *all) {
  if (pass->grid->tp_size == 1) return STATUS_OK;
  size_t *counts;
  TRY(share_counts(pass->grid, n, per_image, &counts));
  status_code_t status = real_allgatherv(pass->device, pass->grid->tp,
                                         real_at(pass->device, all, begin * per_image), all, counts);
  memory_free(counts);
  return status;
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
  size_t *counts;
  TRY(share_counts(pass->grid, count, per_image, &counts));
  status_code_t status =
      comm_allgatherv(pass->grid->tp, features + begin * per_image, features, counts, COMM_F32);
  memory_free(counts);
  return status;
}

/* At least ROWS rows of C at *BUFFER, whose size is *CAPACITY. */
static status_t ensure_rows(pass_t *pass, int64_t rows, real_t **buffer, int64_t *capacity) {
  if (*capacity >= rows) return STATUS_OK;
  device_release(pass->device, *buffer);
  *buffer = NULL;
  *capacity = rows;
  return real_alloc(pass->device, ARENA_FEATURES, (size_t)(rows * pass->base->config.hidden), buffer);
}

/* For each row of the batch, the row of image_tokens shown there, or -1. */
static status_t upload_image_rows(pass_t *pass) {
  const packed_t *packed = pass->packed;
  int32_t *rows;
  TRY(memory_alloc(&rows, ARENA_OTHER, (size_t)pass->rows, sizeof *rows));
  for (int64_t t = 0; t < pass->rows; t++)
    rows[t] = -1;
  for (int32_t i = 0; i < packed->images; i++)
    for (int32_t p = 0; p < packed->image_slots; p++)
      rows[packed->image_start[i] + p] = packed->image_index[i] * packed->image_slots + p;
  status_code_t status = index_upload(pass->device, pass->image_rows, rows, (size_t)pass->rows);
  memory_free(rows);
  return status;
}

static status_t check_images(const pass_t *pass, const pass_images_t *images) {
  const packed_t *packed = pass->packed;
  int32_t slots = config_patches(&pass->base->config);
  if (packed->images > 0 && packed->image_slots != slots)
    return error_set(STATUS_INTERNAL, "a batch with %d slots per image met a tower that gives %d",
                     packed->image_slots, slots);
  for (int32_t i = 0; i < packed->images; i++)
    if (packed->image_index[i] < 0 || packed->image_index[i] >= images->count)
      return error_set(STATUS_INTERNAL, "image place %d shows image %d of %d", i, packed->image_index[i],
                       images->count);
  return STATUS_OK;
}

status_t pass_images_forward(pass_t *pass, const pass_images_t *images, bool keep, real_t *x) {
  const base_t *base = pass->base;
  if (!images || images->count == 0 || pass->packed->images == 0) return STATUS_OK;
  TRY(check_images(pass, images));
  int64_t patches = config_patches(&base->config), hidden = base->config.hidden;
  TRY(ensure_rows(pass, images->count * patches, &pass->image_tokens, &pass->image_capacity));
  pass->images = images->count;
  share_of(images->count, pass->grid->tp_rank, pass->grid->tp_size, &pass->image_begin, &pass->image_share);
  bool trains_tower = base->params.items[base->patch_embedding].trainable;
  const real_t *features;
  if (images->features)
    TRY(tower_restore(pass->tower, base, pass->image_share,
                      images->features + pass->image_begin * patches * base->config.vision_hidden,
                      &features));
  else
    TRY(tower_forward(pass->tower, base, pass->image_share,
                      images->patches + pass->image_begin * patches * config_patch_size(&base->config),
                      keep && trains_tower, &features));
  real_t *mine = real_at(pass->device, pass->image_tokens, pass->image_begin * patches * hidden);
  TRY(projector_forward(pass->tower, base, pass->image_share * patches, features, mine));
  TRY(gather(pass, images->count, patches * hidden, pass->image_begin, pass->image_tokens));
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

/* ROWS (share * P): for each of this rank's image rows, the batch row of the image's place number ROUND, or
 * -1; *ANY: there was one. */
static void round_rows(const pass_t *pass, int32_t round, int32_t *seen, int32_t *rows, bool *any) {
  const packed_t *packed = pass->packed;
  int32_t slots = packed->image_slots;
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
static status_t gather_gradients(pass_t *pass, int32_t *seen, int32_t *rows) {
  int64_t hidden = pass->base->config.hidden, n = (int64_t)pass->image_share * pass->packed->image_slots;
  index_t *index;
  TRY(index_alloc(pass->device, ARENA_SCRATCH, (size_t)n, &index));
  status_code_t status =
      OP(pass->device, fill_real, &(op_fill_real_t){.n = n * hidden, .value = 0.0, .x = pass->dimage});
  for (int32_t round = 0; status == STATUS_OK; round++) {
    bool any;
    round_rows(pass, round, seen, rows, &any);
    if (!any) break;
    status = index_upload(pass->device, index, rows, (size_t)n);
    if (status == STATUS_OK)
      status = OP(pass->device, rows_gather,
                  &(op_rows_t){.rows = n,
                               .cols = hidden,
                               .from = pass->dx,
                               .ld_from = hidden,
                               .index = index,
                               .to = pass->dimage,
                               .ld_to = hidden,
                               .add = true});
  }
  device_release(pass->device, index);
  return status;
}

status_t pass_images_backward(pass_t *pass) {
  base_t *base = pass->base;
  if (pass->image_share == 0 || !base->params.items[base->projector[0].weight].trainable) return STATUS_OK;
  int64_t rows = (int64_t)pass->image_share * pass->packed->image_slots;
  TRY(ensure_rows(pass, rows, &pass->dimage, &pass->dimage_capacity));
  int32_t *seen, *index;
  TRY(memory_alloc(&seen, ARENA_OTHER, (size_t)pass->image_share, sizeof *seen));
  status_code_t status = memory_alloc(&index, ARENA_OTHER, (size_t)rows, sizeof *index);
  if (status == STATUS_OK) {
    status = gather_gradients(pass, seen, index);
    memory_free(index);
  }
  memory_free(seen);
  TRY(status);
  return tower_backward(pass->tower, base, pass->image_share, pass->dimage);
}
