/* PNG by libpng, as Pillow's convert("RGB"); images of any format are read by io/image_decode.h. Thread-safe.
 */
#ifndef IO_PNG_H
#define IO_PNG_H

#include "base/status.h"
#include "vision/image.h"

#include <stddef.h>
#include <stdint.h>

/* Reads what stands before the pixels. NAME appears in messages. Errors: STATUS_DATA, STATUS_MEMORY. Local.
 */
status_t png_size(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height);

/* Decodes every colour type and depth, interlaced or not, to RGB. Alpha and transparent colours are dropped
 * (what lies under them shows), gamma and profiles ignored. Of 16 bits the upper 8 are taken, but grey values
 * of 16 bits without alpha are cut at 255, as Pillow does. Truncated and broken files, wrong checksums of the
 * pixels included, are STATUS_DATA; what follows the pixels is not looked at. Free OUT with image_free.
 * Local. */
status_t png_decode(const uint8_t *bytes, size_t n, const char *name, image_t *out);

/* Decodes everything as png_decode does and keeps nothing but the size. Needs memory for two rows. Errors:
 * STATUS_DATA. Local. */
status_t png_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height);

#endif
