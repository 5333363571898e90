/* Writes the image files of tests/io/golden/formats.bin (see make_formats.py there) for the fuzz targets to
 * start from: FOLDER/png, FOLDER/jpeg, FOLDER/webp. usage: fuzz_make_image_seeds FORMATS.BIN FOLDER */
#include "base/memory.h"
#include "io/file.h"
#include "io/image_kind.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { NAME_BYTES = 32, GRIDS_BYTES = 4 * 8 * 8 * 3, FILE_MOST = 1 << 20 };

static bool write_seed(const char *folder, const char *name, const uint8_t *bytes, size_t n) {
  static const char *const formats[] = {[IMAGE_JPEG] = "jpeg", [IMAGE_PNG] = "png", [IMAGE_WEBP] = "webp"};
  char path[4096];
  const image_format_t format = image_format(bytes, n);
  if (format == IMAGE_FOREIGN) return false;
  snprintf(path, sizeof path, "%s/%s", folder, formats[format]);
  mkdir(path, 0777);
  snprintf(path, sizeof path, "%s/%s/%s", folder, formats[format], name);
  FILE *file = fopen(path, "wb");
  bool written = file != NULL && fwrite(bytes, 1, n, file) == n;
  return file != NULL && fclose(file) == 0 && written;
}

static bool write_seeds(const char *folder, const uint8_t *bytes, size_t n) {
  int32_t numbers[3];
  for (size_t at = 0; at + NAME_BYTES + sizeof numbers < n;) {
    memcpy(numbers, bytes + at + NAME_BYTES, sizeof numbers);
    const size_t file = at + NAME_BYTES + sizeof numbers, size = (size_t)numbers[0];
    if (!write_seed(folder, (const char *)bytes + at, bytes + file, size)) return false;
    at = file + size + 3 * (size_t)numbers[1] * (size_t)numbers[2] + GRIDS_BYTES;
  }
  return true;
}

int main(int argc, char **argv) {
  uint8_t *bytes;
  size_t n;
  if (argc != 3) return 2;
  if (file_read(argv[1], FILE_MOST, (char **)&bytes, &n) != STATUS_OK) {
    fprintf(stderr, "%s\n", error_message());
    return 1;
  }
  mkdir(argv[2], 0777);
  bool written = write_seeds(argv[2], bytes, n);
  memory_free(bytes);
  return written ? 0 : 1;
}
