#include "vision/resample.h"

#include "base/memory.h"
#include "vision/axis.h"

/* What the passes share. */
typedef struct {
  const canvas_t *canvas;
  int64_t first, rows; /* image rows that the pass down reads: first..first+rows-1 */
  int64_t stride;      /* bytes of a resized row and its slack */
  uint8_t *resized;    /* (rows + 1, stride): the last is a resized row of the canvas without image */
} resample_work_t;

static void resample_find_rows(const axis_t *down, resample_work_t *work) {
  int32_t first = INT32_MAX, last = 0;
  for (int32_t y = 0; y < down->count; y++) {
    if (down->number[y] == 0) continue;
    if (down->begin[y] < first) first = down->begin[y];
    if (down->begin[y] + down->number[y] > last) last = down->begin[y] + down->number[y];
  }
  work->first = last > 0 ? first : 0;
  work->rows = last - work->first;
}

/* A row of the canvas without image -> OUT (axis->count, 3). */
static void resample_plain_row(const axis_t *axis, const uint8_t fill[3], uint8_t *out) {
  for (int32_t x = 0; x < axis->count; x++) {
    int32_t total = axis->outside[x];
    for (int32_t t = 0; t < axis->number[x]; t++)
      total += axis->weights[x * axis->taps + t];
    for (int c = 0; c < 3; c++)
      out[3 * x + c] = axis_pixel_of(ONE_HALF + fill[c] * total);
  }
}

static status_t run_passes(const passes_t *passes, const axis_t *across, const axis_t *down,
                           const resample_work_t *work, image_t *out) {
  const image_t *image = work->canvas->image;
  const int64_t stride = (int64_t)image->width * 3;
  const rows_t rows = {image->rgb + work->first * stride, work->rows, stride,
                       image->rgb + image->height * stride};
  uint8_t *plain = work->resized + work->rows * work->stride;
  const rows_t resized = {work->resized, work->rows, work->stride, plain + work->stride};
  TRY(passes->across(across, work->canvas->fill, &rows, work->resized, work->stride));
  resample_plain_row(across, work->canvas->fill, plain);
  return passes->down(down, plain, &resized, work->first, (int64_t)out->width * 3, out->rgb);
}

static status_t both_passes(const passes_t *passes, const canvas_t *canvas, const axis_t *across,
                            const axis_t *down, image_t *out) {
  resample_work_t work = {.canvas = canvas, .stride = (int64_t)out->width * 3 + PASS_SLACK};
  resample_find_rows(down, &work);
  TRY(memory_alloc(&work.resized, ARENA_FEATURES, (size_t)(work.rows + 1), (size_t)work.stride));
  status_code_t status = run_passes(passes, across, down, &work, out);
  memory_free(work.resized);
  return status;
}

/* Pillow leaves out the pass along an axis whose size does not change; the weights are then one and zeros,
 * which is as exact. */
status_t resample(const passes_t *passes, const canvas_t *canvas, const window_t *window, image_t *out) {
  const image_t *image = canvas->image;
  span_t x = {canvas->width, canvas->left, image->width, window->width, window->left, out->width};
  span_t y = {canvas->height, canvas->top, image->height, window->height, window->top, out->height};
  axis_t across = {0}, down = {0};
  status_code_t status = axis_create(&x, &across);
  if (status == STATUS_OK) status = axis_create(&y, &down);
  if (status == STATUS_OK) status = both_passes(passes, canvas, &across, &down, out);
  axis_free(&across);
  axis_free(&down);
  return status;
}
