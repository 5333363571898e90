/* Images of every format that is understood, told by their contents: JPEG, PNG, and WebP where the program
 * was built with libwebp. The pixels are those of Pillow's convert("RGB"): transparency and colour profiles
 * are dropped, the EXIF orientation is ignored. Thread-safe; no HDF5 here, so prefetch threads may call it.
 */
#ifndef IO_IMAGE_DECODE_H
#define IO_IMAGE_DECODE_H

#include "base/status.h"
#include "vision/image.h"

#include <stddef.h>
#include <stdint.h>

/* What an image may claim in its header; more is refused before anything is allocated for it. */
enum { IMAGE_MAX_PIXELS = 100000000, IMAGE_MAX_SIDE = 1000000 };

/* Reads the header only. NAME appears in messages. Errors: STATUS_DATA. Local. */
status_t image_size(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height);

/* Decodes to RGB; of an animation the first frame. A truncated or broken file is STATUS_DATA. Free OUT with
 * image_free. Local. */
status_t image_decode(const uint8_t *bytes, size_t n, const char *name, image_t *out);

/* Decodes everything as image_decode does and keeps nothing but the size: is the file whole? Errors:
 * STATUS_DATA. Local. */
status_t image_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height);

/* Refuses a size that is beyond the limits above; for the decoders of the formats. Errors: STATUS_DATA.
 * Local.
 */
status_t image_size_check(const char *name, uint64_t width, uint64_t height);

#endif
