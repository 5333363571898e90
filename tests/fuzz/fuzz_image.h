/* What the targets of image formats share: a file of any format, checked, decoded, and made what the tower
 * reads. */
#ifndef TESTS_FUZZ_IMAGE_H
#define TESTS_FUZZ_IMAGE_H

#include "fuzz.h"

#include "io/image_decode.h"
#include "io/image_kind.h"

enum {
  FUZZ_PIXELS_MOST = 1 << 20, /* of an image that is still decoded: others take longer than they are worth */
  FUZZ_SIZE = 28
};

static inline void fuzz_image_decode(const uint8_t *bytes, size_t n, int32_t width, int32_t height) {
  static float pixels[3 * FUZZ_SIZE * FUZZ_SIZE];
  image_t image = {0};
  int32_t checked_width = 0, checked_height = 0;
  status_code_t checked = image_check(bytes, n, "fuzz", &checked_width, &checked_height);
  status_code_t decoded = image_decode(bytes, n, "fuzz", &image);
  FUZZ_EXPECT(checked == decoded);
  FUZZ_EXPECT(decoded == STATUS_OK || decoded == STATUS_DATA);
  if (decoded != STATUS_OK) return;
  FUZZ_EXPECT(checked_width == width && checked_height == height);
  FUZZ_EXPECT(image.width == width && image.height == height);
  for (image_aspect_t aspect = IMAGE_PAD; aspect <= IMAGE_SQUARE; aspect++)
    for (pixels_t kind = PIXELS_CLIP; kind < PIXELS_COUNT; kind++)
      FUZZ_EXPECT(image_preprocess(&image, aspect, kind, FUZZ_SIZE, pixels) == STATUS_OK);
  image_free(&image);
}

static inline void fuzz_image(const uint8_t *bytes, size_t n) {
  int32_t width = 0, height = 0;
  const int orientation = image_orientation(bytes, n);
  FUZZ_EXPECT(orientation >= 1 && orientation <= 8);
  if (image_size(bytes, n, "fuzz", &width, &height) == STATUS_OK) {
    FUZZ_EXPECT(width > 0 && height > 0);
    if ((int64_t)width * height <= FUZZ_PIXELS_MOST) fuzz_image_decode(bytes, n, width, height);
  }
  error_clear();
}

#endif
