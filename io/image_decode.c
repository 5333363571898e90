#include "io/image_decode.h"

#include "io/image_kind.h"
#include "io/jpeg.h"
#include "io/png.h"
#include "io/webp.h"

/* A format's decoder; the functions are those of io/image_decode.h. */
typedef struct {
  status_t (*size)(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height);
  status_t (*decode)(const uint8_t *bytes, size_t n, const char *name, image_t *out);
  status_t (*check)(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height);
} image_decode_decoder_t;

static const image_decode_decoder_t decoders[] = {
    [IMAGE_JPEG] = {jpeg_size, jpeg_decode, jpeg_check},
    [IMAGE_PNG] = {png_size, png_decode, png_check},
#ifdef LLAVA_HAS_WEBP
    [IMAGE_WEBP] = {webp_size, webp_decode, webp_check},
#else
    [IMAGE_WEBP] = {NULL, NULL, NULL},
#endif
};

status_t image_size_check(const char *name, uint64_t width, uint64_t height) {
  if (width <= IMAGE_MAX_SIDE && height <= IMAGE_MAX_SIDE && width * height <= IMAGE_MAX_PIXELS)
    return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: its header claims %llu x %llu pixels; at most %d pixels are accepted, %d on a side",
                   name, (unsigned long long)width, (unsigned long long)height, (int)IMAGE_MAX_PIXELS,
                   (int)IMAGE_MAX_SIDE);
}

static status_t image_decode_find_decoder(const uint8_t *bytes, size_t n, const char *name,
                                          const image_decode_decoder_t **decoder) {
  *decoder = NULL;
  if (n == 0) return error_set(STATUS_DATA, "%s: empty file; an image was expected", name);
  const image_format_t format = image_format(bytes, n);
  const char *kind = image_kind(bytes, n);
  if (format == IMAGE_FOREIGN)
    return error_set(
        STATUS_DATA,
        "%s: no image that is understood but %s (%zu bytes); make a JPEG, PNG or WebP file of it", name,
        kind ? kind : "something unknown", n);
  *decoder = &decoders[format];
  if ((*decoder)->decode) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: %s (%zu bytes), and this program was built without libwebp; build it with libwebp, or "
      "make a JPEG or PNG file of it",
      name, kind, n);
}

status_t image_size(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height) {
  const image_decode_decoder_t *decoder;
  *width = *height = 0;
  TRY(image_decode_find_decoder(bytes, n, name, &decoder));
  return decoder->size(bytes, n, name, width, height);
}

status_t image_decode(const uint8_t *bytes, size_t n, const char *name, image_t *out) {
  const image_decode_decoder_t *decoder;
  *out = (image_t){0};
  TRY(image_decode_find_decoder(bytes, n, name, &decoder));
  return decoder->decode(bytes, n, name, out);
}

status_t image_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height) {
  const image_decode_decoder_t *decoder;
  *width = *height = 0;
  TRY(image_decode_find_decoder(bytes, n, name, &decoder));
  return decoder->check(bytes, n, name, width, height);
}
