/* ZIP files made in memory as torch.save lays them out, or wrong in one place. */
#ifndef TESTS_IO_ZIP_MAKE_H
#define TESTS_IO_ZIP_MAKE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

enum { ZIP_MAKE_BYTES = 1 << 20, ZIP_MAKE_ENTRIES = 16 };

typedef struct {
  unsigned char *bytes; /* (ZIP_MAKE_BYTES) */
  size_t n;
  size_t headers[ZIP_MAKE_ENTRIES], sizes[ZIP_MAKE_ENTRIES];
  const char *names[ZIP_MAKE_ENTRIES];
  uint32_t sums[ZIP_MAKE_ENTRIES];
  int count;
  size_t directory; /* where the central directory begins */
  size_t end;       /* where the last record begins */
} zip_make_t;

static inline void zip_make_put(zip_make_t *zip, uint64_t number, int bytes) {
  for (int i = 0; i < bytes; i++)
    zip->bytes[zip->n++] = i < 8 ? (unsigned char)(number >> (8 * i)) : 0;
}

static inline void zip_make_copy(zip_make_t *zip, const void *bytes, size_t n) {
  if (n > 0) memcpy(zip->bytes + zip->n, bytes, n);
  zip->n += n;
}

static inline void zip_make_start(zip_make_t *zip) {
  *zip = (zip_make_t){.bytes = calloc(1, ZIP_MAKE_BYTES)};
}

static inline void zip_make_free(zip_make_t *zip) {
  free(zip->bytes);
}

/* An entry with these N bytes; what is larger than the buffer is cut. */
static inline void zip_make_add(zip_make_t *zip, const char *name, const void *bytes, size_t n) {
  const int i = zip->count++;
  if (n > ZIP_MAKE_BYTES / 2) n = ZIP_MAKE_BYTES / 2;
  zip->headers[i] = zip->n;
  zip->sizes[i] = n;
  zip->names[i] = name;
  zip->sums[i] = (uint32_t)crc32(0, bytes, (uInt)n);
  zip_make_put(zip, 0x04034b50, 4);
  zip_make_put(zip, 0, 10); /* version, flags, method, time, date */
  zip_make_put(zip, zip->sums[i], 4);
  zip_make_put(zip, n, 4);
  zip_make_put(zip, n, 4);
  zip_make_put(zip, strlen(name), 2);
  zip_make_put(zip, 0, 2);
  zip_make_copy(zip, name, strlen(name));
  zip_make_copy(zip, bytes, n);
}

static inline void zip_make_directory(zip_make_t *zip, bool large) {
  zip->directory = zip->n;
  for (int i = 0; i < zip->count; i++) {
    zip_make_put(zip, 0x02014b50, 4);
    zip_make_put(zip, 0, 12); /* versions, flags, method, time, date */
    zip_make_put(zip, zip->sums[i], 4);
    zip_make_put(zip, large ? 0xffffffffu : zip->sizes[i], 4);
    zip_make_put(zip, large ? 0xffffffffu : zip->sizes[i], 4);
    zip_make_put(zip, strlen(zip->names[i]), 2);
    zip_make_put(zip, large ? 28 : 0, 2);
    zip_make_put(zip, 0, 10); /* comment, disk, attributes */
    zip_make_put(zip, large ? 0xffffffffu : zip->headers[i], 4);
    zip_make_copy(zip, zip->names[i], strlen(zip->names[i]));
    if (!large) continue;
    zip_make_put(zip, 1, 2);
    zip_make_put(zip, 24, 2);
    zip_make_put(zip, zip->sizes[i], 8);
    zip_make_put(zip, zip->sizes[i], 8);
    zip_make_put(zip, zip->headers[i], 8);
  }
}

/* Directory and end; LARGE: in the 64-bit form. */
static inline void zip_make_finish(zip_make_t *zip, bool large) {
  const uint64_t count = (uint64_t)zip->count;
  zip_make_directory(zip, large);
  size_t size = zip->n - zip->directory, record = zip->n;
  if (large) {
    zip_make_put(zip, 0x06064b50, 4);
    zip_make_put(zip, 44, 8);
    zip_make_put(zip, 0, 12); /* versions, disks */
    zip_make_put(zip, count, 8);
    zip_make_put(zip, count, 8);
    zip_make_put(zip, size, 8);
    zip_make_put(zip, zip->directory, 8);
    zip_make_put(zip, 0x07064b50, 4);
    zip_make_put(zip, 0, 4);
    zip_make_put(zip, record, 8);
    zip_make_put(zip, 1, 4);
  }
  zip->end = zip->n;
  zip_make_put(zip, 0x06054b50, 4);
  zip_make_put(zip, 0, 4);
  zip_make_put(zip, large ? 0xffffu : count, 2);
  zip_make_put(zip, large ? 0xffffu : count, 2);
  zip_make_put(zip, large ? 0xffffffffu : size, 4);
  zip_make_put(zip, large ? 0xffffffffu : zip->directory, 4);
  zip_make_put(zip, 0, 2);
}

#endif
