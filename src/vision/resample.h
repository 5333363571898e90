/* Pillow's antialiased bicubic resampling of 8-bit RGB, bit for bit: fixed-point weights with 22 fractional
 * bits, horizontal pass first, rounded to 8 bits in between, as Pillow up to 12 always does (13 starts with
 * the vertical one where the height shrinks far more). Inside the folder only. */
#ifndef VISION_RESAMPLE_H
#define VISION_RESAMPLE_H

#include "vision/image.h"
#include "vision/passes.h"

/* An image on a larger canvas of one colour. The canvas is never made: its plain rows and borders are
 * computed with. */
typedef struct {
  const image_t *image;
  int32_t width, height; /* of the canvas */
  int32_t left, top;     /* where the image lies; it is wholly inside */
  uint8_t fill[3];
} canvas_t;

/* The part of a resized canvas that is wanted. */
typedef struct {
  int32_t width, height; /* the whole canvas is resized to this */
  int32_t left, top;     /* the part starts here */
} window_t;

/* Resizes CANVAS by PASSES as WINDOW says and writes the part of it that OUT (already created) has room for.
 * Errors: STATUS_MEMORY. Local, thread-safe. */
status_t resample(const passes_t *passes, const canvas_t *canvas, const window_t *window, image_t *out);

#endif
