/* WebP by libwebp, as Pillow's convert("RGB"), where the program is built with it (LLAVA_HAS_WEBP); images of
 * any format are read by io/image_decode.h. Thread-safe. */
#ifndef IO_WEBP_H
#define IO_WEBP_H

#include "base/status.h"
#include "vision/image.h"

#include <stddef.h>
#include <stdint.h>

/* Reads the header only: of an animation the size of the canvas. NAME appears in messages. Errors:
 * STATUS_DATA. Local. */
status_t webp_size(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height);

/* Decodes lossy and lossless files to RGB; alpha is dropped (what lies under it shows). Of an animation the
 * first frame, on black where it does not cover the canvas. A truncated or broken file is STATUS_DATA. Free
 * OUT with image_free. Local. */
status_t webp_decode(const uint8_t *bytes, size_t n, const char *name, image_t *out);

/* Decodes everything as webp_decode does and keeps nothing but the size. Errors: STATUS_DATA. Local. */
status_t webp_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height);

#endif
