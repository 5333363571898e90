#include "vision/axis.h"

#include "base/memory.h"

#include <math.h>

static const double bicubic_support = 2.0;

/* Keys' cubic convolution with a = -0.5. */
static double axis_bicubic(double x) {
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
static void axis_find_weights(const span_t *span, int32_t pixel, int32_t *begin, int32_t *end,
                              double *weights) {
  double scale = (double)span->canvas / span->resized;
  double filter_scale = scale < 1.0 ? 1.0 : scale;
  double support = bicubic_support * filter_scale, inverse = 1.0 / filter_scale;
  double center = (pixel + 0.5) * scale, sum = 0.0;
  double below = center - support + 0.5, above = center + support + 0.5;
  *begin = below < 0.0 ? 0 : (int32_t)below;
  *end = above > span->canvas ? span->canvas : (int32_t)above;
  for (int32_t t = 0; t < *end - *begin; t++) {
    weights[t] = axis_bicubic((t + *begin - center + 0.5) * inverse);
    sum += weights[t];
  }
  for (int32_t t = 0; sum != 0.0 && t < *end - *begin; t++)
    weights[t] /= sum;
}

static void axis_pixel(const span_t *span, int32_t i, double *scratch, axis_t *axis) {
  int32_t begin, end, *weights = axis->weights + i * axis->taps;
  axis_find_weights(span, span->first + i, &begin, &end, scratch);
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

void axis_free(axis_t *axis) {
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

status_t axis_create(const span_t *span, axis_t *axis) {
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
