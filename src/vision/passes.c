#include "vision/passes.h"

#include "base/memory.h"

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
    out[3 * x] = axis_pixel_of(r);
    out[3 * x + 1] = axis_pixel_of(g);
    out[3 * x + 2] = axis_pixel_of(b);
  }
}

static status_t passes_across(const axis_t *axis, const uint8_t fill[3], const rows_t *rows, uint8_t *out,
                              int64_t stride) {
  for (int64_t y = 0; y < rows->count; y++)
    resample_row(axis, fill, rows->first + y * rows->stride, out + y * stride);
  return STATUS_OK;
}

/* SUMS (bytes) += WEIGHT * ROW (bytes). */
static void passes_add_row(int32_t weight, const uint8_t *row, int64_t bytes, int32_t *sums) {
  for (int64_t i = 0; i < bytes; i++)
    sums[i] += row[i] * weight;
}

static status_t passes_down(const axis_t *axis, const uint8_t *plain, const rows_t *rows, int64_t first,
                            int64_t bytes, uint8_t *out) {
  int32_t *sums;
  TRY(memory_alloc(&sums, ARENA_FEATURES, (size_t)bytes, sizeof *sums));
  for (int32_t y = 0; y < axis->count; y++) {
    const uint8_t *row = axis->number[y] > 0 ? rows->first + (axis->begin[y] - first) * rows->stride : plain;
    for (int64_t i = 0; i < bytes; i++)
      sums[i] = ONE_HALF;
    passes_add_row(axis->outside[y], plain, bytes, sums);
    for (int32_t t = 0; t < axis->number[y]; t++)
      passes_add_row(axis->weights[y * axis->taps + t], row + t * rows->stride, bytes, sums);
    for (int64_t i = 0; i < bytes; i++)
      out[y * bytes + i] = axis_pixel_of(sums[i]);
  }
  memory_free(sums);
  return STATUS_OK;
}

const passes_t passes_plain = {"plain", passes_across, passes_down};

const passes_t *passes_best(void) {
#ifdef VISION_HAS_AVX2
  if (__builtin_cpu_supports("avx2")) return &passes_avx2;
#endif
  return &passes_plain;
}
