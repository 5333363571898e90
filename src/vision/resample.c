#include "vision/resample.h"

#include "base/memory.h"

#include <math.h>

/* Bits after the point: of 32, 8 are the pixel's and 2 leave room for the sign and for weights above 1. */
enum { FRACTION_BITS = 32 - 8 - 2 };
static const double bicubic_support = 2.0;

/* Weights along one axis of the canvas for COUNT output pixels. */
typedef struct {
  int32_t count;
  int64_t taps;     /* room for one pixel's weights */
  int32_t *begin;   /* (count): first image pixel with a weight */
  int32_t *number;  /* (count): weights in use, 0..taps */
  int32_t *outside; /* (count): sum of the weights that fall outside the image */
  int32_t *weights; /* (count, taps): 22 fractional bits */
} axis_t;

/* One axis of what is to be done. */
typedef struct {
  int32_t canvas, start, length; /* pixels of the canvas; where the image starts on it; pixels of the image */
  int32_t resized, first, count; /* pixels of the resized canvas; first wanted; number wanted */
} resample_span_t;

/* Keys' cubic convolution with a = -0.5. */
static double resample_bicubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

static int32_t to_fixed(double weight) {
  double scaled = weight * (1 << FRACTION_BITS);
  return (int32_t)(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

/* Canvas pixels *BEGIN..*END-1 that the output pixel PIXEL reads, and their weights, as doubles that sum to
 * one, in WEIGHTS (taps). Every operation is the one that Pillow does: a weight that rounds differently would
 * change pixels. */
static void resample_find_weights(const resample_span_t *span, int32_t pixel, int32_t *begin, int32_t *end,
                                  double *weights) {
  double scale = (double)span->canvas / span->resized;
  double filter_scale = scale < 1.0 ? 1.0 : scale;
  double support = bicubic_support * filter_scale, inverse = 1.0 / filter_scale;
  double center = (pixel + 0.5) * scale, sum = 0.0;
  double below = center - support + 0.5, above = center + support + 0.5;
  *begin = below < 0.0 ? 0 : (int32_t)below;
  *end = above > span->canvas ? span->canvas : (int32_t)above;
  for (int32_t t = 0; t < *end - *begin; t++) {
    weights[t] = resample_bicubic((t + *begin - center + 0.5) * inverse);
    sum += weights[t];
  }
  for (int32_t t = 0; sum != 0.0 && t < *end - *begin; t++)
    weights[t] /= sum;
}

static void axis_pixel(const resample_span_t *span, int32_t i, double *scratch, axis_t *axis) {
  int32_t begin, end, *weights = axis->weights + i * axis->taps;
  resample_find_weights(span, span->first + i, &begin, &end, scratch);
  for (int32_t t = 0; t < end - begin; t++) {
    int32_t weight = to_fixed(scratch[t]), at = begin + t - span->start;
    if (at < 0 || at >= span->length) {
      axis->outside[i] += weight;
      continue;
    }
    if (axis->number[i] == 0) axis->begin[i] = at;
    weights[axis->number[i]++] = weight;
  }
}

static void axis_free(axis_t *axis) {
  memory_free(axis->begin);
  memory_free(axis->number);
  memory_free(axis->outside);
  memory_free(axis->weights);
  *axis = (axis_t){0};
}

static status_t axis_alloc(axis_t *axis, double **scratch) {
  size_t count = (size_t)axis->count;
  TRY(memory_alloc(&axis->begin, ARENA_FEATURES, count, sizeof *axis->begin));
  TRY(memory_alloc(&axis->number, ARENA_FEATURES, count, sizeof *axis->number));
  TRY(memory_alloc(&axis->outside, ARENA_FEATURES, count, sizeof *axis->outside));
  TRY(memory_alloc(&axis->weights, ARENA_FEATURES, count * (size_t)axis->taps, sizeof *axis->weights));
  return memory_alloc(scratch, ARENA_FEATURES, (size_t)axis->taps, sizeof **scratch);
}

static status_t axis_create(const resample_span_t *span, axis_t *axis) {
  double scale = (double)span->canvas / span->resized;
  double *scratch = NULL;
  *axis = (axis_t){.count = span->count,
                   .taps = (int64_t)ceil(bicubic_support * (scale < 1.0 ? 1.0 : scale)) * 2 + 1};
  status_code_t status = axis_alloc(axis, &scratch);
  for (int32_t i = 0; status == STATUS_OK && i < axis->count; i++)
    axis_pixel(span, i, scratch, axis);
  memory_free(scratch);
  if (status != STATUS_OK) axis_free(axis);
  return status;
}

/* The 8-bit value of a sum that started at one half. */
static uint8_t to_pixel(int32_t sum) {
  int32_t value = sum >> FRACTION_BITS;
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

enum { ONE_HALF = 1 << (FRACTION_BITS - 1) };

/* ROW (image width, 3) -> OUT (axis->count, 3). */
static void resample_row(const axis_t *axis, const uint8_t fill[3], const uint8_t *row, uint8_t *out) {
  for (int32_t x = 0; x < axis->count; x++) {
    const int32_t *weights = axis->weights + x * axis->taps;
    const uint8_t *from = row + (int64_t)axis->begin[x] * 3;
    int32_t r = ONE_HALF + fill[0] * axis->outside[x];
    int32_t g = ONE_HALF + fill[1] * axis->outside[x];
    int32_t b = ONE_HALF + fill[2] * axis->outside[x];
    for (int32_t t = 0; t < axis->number[x]; t++) {
      r += from[3 * t] * weights[t];
      g += from[3 * t + 1] * weights[t];
      b += from[3 * t + 2] * weights[t];
    }
    out[3 * x] = to_pixel(r);
    out[3 * x + 1] = to_pixel(g);
    out[3 * x + 2] = to_pixel(b);
  }
}

/* A row of the canvas without image -> OUT (axis->count, 3). */
static void resample_plain_row(const axis_t *axis, const uint8_t fill[3], uint8_t *out) {
  for (int32_t x = 0; x < axis->count; x++) {
    int32_t total = axis->outside[x];
    for (int32_t t = 0; t < axis->number[x]; t++)
      total += axis->weights[x * axis->taps + t];
    for (int c = 0; c < 3; c++)
      out[3 * x + c] = to_pixel(ONE_HALF + fill[c] * total);
  }
}

/* What the passes share. */
typedef struct {
  const canvas_t *canvas;
  int32_t first, rows; /* image rows that the vertical pass reads: first..first+rows-1 */
  uint8_t *plain;      /* (out width, 3): a resized row of the canvas without image */
  uint8_t *resized;    /* (rows, out width, 3) */
  int32_t *sums;       /* (out width * 3) */
} resample_work_t;

static void horizontal_pass(const axis_t *across, resample_work_t *work) {
  const image_t *image = work->canvas->image;
  resample_plain_row(across, work->canvas->fill, work->plain);
  for (int64_t y = 0; y < work->rows; y++)
    resample_row(across, work->canvas->fill, image->rgb + (y + work->first) * image->width * 3,
                 work->resized + y * across->count * 3);
}

static void vertical_pass(const axis_t *down, const resample_work_t *work, image_t *out) {
  int64_t stride = (int64_t)out->width * 3;
  for (int32_t y = 0; y < out->height; y++) {
    for (int64_t i = 0; i < stride; i++)
      work->sums[i] = ONE_HALF + work->plain[i] * down->outside[y];
    for (int32_t t = 0; t < down->number[y]; t++) {
      const uint8_t *row = work->resized + (down->begin[y] + t - work->first) * stride;
      int32_t weight = down->weights[y * down->taps + t];
      for (int64_t i = 0; i < stride; i++)
        work->sums[i] += row[i] * weight;
    }
    for (int64_t i = 0; i < stride; i++)
      out->rgb[y * stride + i] = to_pixel(work->sums[i]);
  }
}

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

static status_t work_alloc(const image_t *out, resample_work_t *work) {
  size_t stride = (size_t)out->width * 3;
  TRY(memory_alloc(&work->plain, ARENA_FEATURES, stride, 1));
  TRY(memory_alloc(&work->resized, ARENA_FEATURES, (size_t)work->rows, stride));
  return memory_alloc(&work->sums, ARENA_FEATURES, stride, sizeof *work->sums);
}

static status_t both_passes(const canvas_t *canvas, const axis_t *across, const axis_t *down, image_t *out) {
  resample_work_t work = {.canvas = canvas};
  resample_find_rows(down, &work);
  status_code_t status = work_alloc(out, &work);
  if (status == STATUS_OK) {
    horizontal_pass(across, &work);
    vertical_pass(down, &work, out);
  }
  memory_free(work.plain);
  memory_free(work.resized);
  memory_free(work.sums);
  return status;
}

/* Pillow leaves out the pass along an axis whose size does not change; the weights are then one and zeros,
 * which is as exact. */
status_t resample(const canvas_t *canvas, const window_t *window, image_t *out) {
  const image_t *image = canvas->image;
  resample_span_t x = {canvas->width, canvas->left, image->width, window->width, window->left, out->width};
  resample_span_t y = {canvas->height, canvas->top, image->height, window->height, window->top, out->height};
  axis_t across = {0}, down = {0};
  status_code_t status = axis_create(&x, &across);
  if (status == STATUS_OK) status = axis_create(&y, &down);
  if (status == STATUS_OK) status = both_passes(canvas, &across, &down, out);
  axis_free(&across);
  axis_free(&down);
  return status;
}
