/* A JPEG file: its kind, orientation and size, checked and decoded. */
#include "fuzz.h"

#include "io/image_kind.h"
#include "io/jpeg.h"

/* Pixels of an image that is still decoded: others take longer than they are worth. */
enum { PIXELS_MOST = 1 << 20 };

void fuzz_start(void) {}

static void decode(const uint8_t *bytes, size_t n, int32_t width, int32_t height) {
  image_t image = {0};
  int32_t checked_width = 0, checked_height = 0;
  status_code_t checked = jpeg_check(bytes, n, "fuzz", &checked_width, &checked_height);
  status_code_t decoded = jpeg_decode(bytes, n, "fuzz", &image);
  FUZZ_EXPECT(checked == decoded);
  FUZZ_EXPECT(decoded == STATUS_OK || decoded == STATUS_DATA);
  if (decoded != STATUS_OK) return;
  FUZZ_EXPECT(checked_width == width && checked_height == height);
  FUZZ_EXPECT(image.width == width && image.height == height);
  image_free(&image);
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  int32_t width = 0, height = 0;
  int orientation = image_orientation(bytes, n);
  FUZZ_EXPECT(orientation >= 1 && orientation <= 8);
  (void)image_kind(bytes, n);
  if (jpeg_size(bytes, n, "fuzz", &width, &height) == STATUS_OK) {
    FUZZ_EXPECT(width > 0 && height > 0);
    if ((int64_t)width * height <= PIXELS_MOST) decode(bytes, n, width, height);
  }
  error_clear();
}
