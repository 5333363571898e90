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
  IMAGE_SQUARE /* resize the shorter side, then centre crop (CLIP's default) */
} image_aspect_t;

/* CLIP's mean and standard deviation of red, green and blue, of pixels in [0, 1]. */
extern const double clip_mean[3], clip_std[3];

/* Allocates width x height, black. Local. */
status_t image_create(int32_t width, int32_t height, image_t *out);
void image_free(image_t *image);

/* Resizes with Pillow's antialiased bicubic filter on 8-bit pixels (a = -0.5, support scaled when shrinking,
 * horizontal pass first, 8-bit in between). Local. */
status_t image_resize(const image_t *from, int32_t width, int32_t height, image_t *out);

/* What the tower reads (docs/method.md, Images): aspect, bicubic resize to SIZE, centre crop, scale to [0,1],
 * normalise by CLIP's mean and std. PIXELS (3, SIZE, SIZE) is the caller's. Local, thread-safe. */
status_t image_preprocess(const image_t *image, image_aspect_t aspect, int32_t size, float *pixels);

#endif
