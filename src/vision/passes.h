/* The two passes of a resampling, plain and by AVX2; both give the same bytes. Inside the folder only. */
#ifndef VISION_PASSES_H
#define VISION_PASSES_H

#include "vision/axis.h"

#include <stddef.h>

/* Rows of RGB pixels. */
typedef struct {
  const uint8_t *first;
  int64_t count, stride; /* rows; bytes from one to the next */
  const uint8_t *end;    /* nothing from here on may be read */
} rows_t;

typedef struct {
  const char *name;
  /* Resizes ROWS along x -> OUT (rows, axis->count, 3), rows STRIDE bytes apart, at least 3 * axis->count +
   * PASS_SLACK; what stands between rows is undefined afterwards. What lies outside the image has the colour
   * FILL. Errors: STATUS_MEMORY. Local. */
  status_t (*across)(const axis_t *axis, const uint8_t fill[3], const rows_t *rows, uint8_t *out,
                     int64_t stride);
  /* Resizes ROWS, of which the first is row FIRST of the image, along y -> OUT (axis->count, BYTES), end to
   * end. What lies outside the image is the row PLAIN, as readable as the others. Errors: STATUS_MEMORY.
   * Local.
   */
  status_t (*down)(const axis_t *axis, const uint8_t *plain, const rows_t *rows, int64_t first, int64_t bytes,
                   uint8_t *out);
} passes_t;

enum { PASS_SLACK = 32 };

/* The fastest that this processor has. Local. */
const passes_t *passes_best(void);

extern const passes_t passes_plain;
#ifdef VISION_HAS_AVX2
extern const passes_t passes_avx2; /* only where __builtin_cpu_supports("avx2") */
#endif

#endif
