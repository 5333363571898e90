/* JPEG by libjpeg-turbo; images of any format are read by io/image_decode.h. Thread-safe. */
#ifndef IO_JPEG_H
#define IO_JPEG_H

#include "base/status.h"
#include "vision/image.h"

#include <stddef.h>
#include <stdint.h>

enum {
  /* Scans of a progressive file; more is refused: each costs a pass over all pixels. Encoders write about
     ten. */
  JPEG_MAX_SCANS = 100
};

/* Reads the header only. NAME appears in messages. Errors: STATUS_DATA. Local. */
status_t jpeg_size(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height);

/* Decodes baseline or progressive, grey, RGB/YCbCr, CMYK/YCCK (converted as Pillow does) to RGB; EXIF
 * orientation is ignored (io/image_kind.h tells it). A truncated or broken file is STATUS_DATA (libjpeg's
 * warnings count as broken where data is missing). Free OUT with image_free. Local. */
status_t jpeg_decode(const uint8_t *bytes, size_t n, const char *name, image_t *out);

/* Decodes everything as jpeg_decode does and keeps nothing but the size: is the file whole? Needs memory for
 * a row of a baseline file. Errors: STATUS_DATA. Local. */
status_t jpeg_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height);

/* Encodes at QUALITY 1..100 (4:4:4 chroma). *BYTES is freed by the caller with memory_free. Local. */
status_t jpeg_encode(const image_t *image, int quality, uint8_t **bytes, size_t *n);

#endif
