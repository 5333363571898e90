/* Weights of Pillow's antialiased bicubic filter along one axis of an image on a canvas. Inside the folder
 * only. */
#ifndef VISION_AXIS_H
#define VISION_AXIS_H

#include "base/status.h"

#include <stdint.h>

enum {
  /* Bits after the point: of 32, 8 are the pixel's and 2 leave room for the sign and for weights above 1. */
  FRACTION_BITS = 32 - 8 - 2,
  ONE_HALF = 1 << (FRACTION_BITS - 1)
};

/* One axis of what is to be done. */
typedef struct {
  int32_t canvas, start, length; /* pixels of the canvas; where the image starts on it; pixels of the image */
  int32_t resized, first, count; /* pixels of the resized canvas; first wanted; number wanted */
} span_t;

/* Weights along one axis of the canvas for COUNT output pixels. */
typedef struct {
  int32_t count;
  int64_t taps;     /* room for one pixel's weights */
  int32_t *begin;   /* (count): first image pixel with a weight */
  int32_t *number;  /* (count): weights in use, 0..taps */
  int32_t *outside; /* (count): sum of the weights that fall outside the image */
  int32_t *weights; /* (count, taps): FRACTION_BITS fractional bits; zeros behind those in use */
} axis_t;

/* Errors: STATUS_MEMORY. Free with axis_free. Local. */
status_t axis_create(const span_t *span, axis_t *axis);
void axis_free(axis_t *axis);

/* The 8-bit value of a sum of weighted pixels that started at ONE_HALF. */
static inline uint8_t axis_pixel_of(int32_t sum) {
  int32_t value = sum >> FRACTION_BITS;
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

#endif
