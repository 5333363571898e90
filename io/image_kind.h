/* What a file of an image's name holds, by its bytes. */
#ifndef IO_IMAGE_KIND_H
#define IO_IMAGE_KIND_H

#include <stddef.h>
#include <stdint.h>

/* Formats that are decoded (io/image_decode.h). */
typedef enum { IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP, IMAGE_FOREIGN } image_format_t;

/* What the first bytes of a file (N bytes, or as many as there are) say how it is to be decoded. Local. */
image_format_t image_format(const uint8_t *bytes, size_t n);

/* What the first bytes of a file (N bytes, or as many as there are) say it is, for messages: "a PNG image",
 * "a web page (HTML)", ...; NULL where they say nothing. Local. */
const char *image_kind(const uint8_t *bytes, size_t n);

/* The orientation that the EXIF block of a JPEG, PNG or WebP file asks to be shown in: 1 as stored (also
 * where it says nothing that makes sense), 2..8 mirrored or turned. Local. */
int image_orientation(const uint8_t *bytes, size_t n);

#endif
