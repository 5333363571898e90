/* Images on the host: 8-bit RGB, and what the vision tower reads. */
#ifndef VISION_IMAGE_H
#define VISION_IMAGE_H

#include "base/status.h"

#include <stdint.h>

typedef struct {
  int32_t width, height;
  uint8_t *rgb; /* (height, width, 3); owner frees with image_free */
} image_t;

typedef enum {
  IMAGE_PAD,   /* pad the shorter side to a square with the mean colour, then resize */
  IMAGE_SQUARE /* what the tower's own processor does: CLIP's resizes the shorter side, then crops the
                  centre; SigLIP's resizes both sides */
} image_aspect_t;

/* Whose pixels a tower reads. */
typedef enum { PIXELS_CLIP, PIXELS_SIGLIP, PIXELS_COUNT } pixels_t;

/* Mean and standard deviation of red, green and blue by which pixels in [0, 1] are normalised. */
typedef struct {
  double mean[3], std[3];
} pixels_norm_t;
extern const pixels_norm_t pixels_norms[PIXELS_COUNT];

/* Allocates width x height, black. Local. */
status_t image_create(int32_t width, int32_t height, image_t *out);
void image_free(image_t *image);

/* Resizes with Pillow's antialiased bicubic filter on 8-bit pixels (a = -0.5, support scaled when shrinking,
 * horizontal pass first, 8-bit in between). Local. */
status_t image_resize(const image_t *from, int32_t width, int32_t height, image_t *out);

/* What the tower reads (docs/method.md, Images): aspect, bicubic resize to SIZE, centre crop, scale to [0,1],
 * normalise as KIND does. PIXELS (3, SIZE, SIZE) is the caller's. Local, thread-safe. */
status_t image_preprocess(const image_t *image, image_aspect_t aspect, pixels_t kind, int32_t size,
                          float *pixels);

#endif
