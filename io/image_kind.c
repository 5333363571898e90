#include "io/image_kind.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* ---- Kinds ---- */

typedef struct {
  size_t at; /* where the mark stands */
  const char *mark;
  size_t n; /* bytes of the mark */
  const char *kind;
  image_format_t format;
} mark_t;

static const mark_t marks[] = {
    {0, "\xff\xd8\xff", 3, "a JPEG image", IMAGE_JPEG},
    {0, "\x89PNG", 4, "a PNG image", IMAGE_PNG},
    {8, "WEBP", 4, "a WebP image", IMAGE_WEBP},
    {0, "GIF8", 4, "a GIF image", IMAGE_FOREIGN},
    {0, "BM", 2, "a BMP image", IMAGE_FOREIGN},
    {0, "II*\0", 4, "a TIFF image", IMAGE_FOREIGN},
    {0, "MM\0*", 4, "a TIFF image", IMAGE_FOREIGN},
    {4, "ftypheic", 8, "a HEIC image", IMAGE_FOREIGN},
    {4, "ftypheix", 8, "a HEIC image", IMAGE_FOREIGN},
    {4, "ftypmif1", 8, "a HEIC image", IMAGE_FOREIGN},
    {4, "ftypmsf1", 8, "a HEIC image", IMAGE_FOREIGN},
    {4, "ftypavif", 8, "an AVIF image", IMAGE_FOREIGN},
    {4, "ftyp", 4, "a video (MP4 or the like)", IMAGE_FOREIGN},
    {4, "jP  ", 4, "a JPEG 2000 image", IMAGE_FOREIGN},
    {4, "JXL ", 4, "a JPEG XL image", IMAGE_FOREIGN},
    {0, "\xff\x0a", 2, "a JPEG XL image", IMAGE_FOREIGN},
    {0, "%PDF", 4, "a PDF document", IMAGE_FOREIGN},
    {0, "PK\x03\x04", 4, "a ZIP archive", IMAGE_FOREIGN},
    {0, "\x1f\x8b", 2, "a gzip archive", IMAGE_FOREIGN},
    {0, "version https://git-lfs", 23, "a pointer of Git LFS, whose file was not fetched", IMAGE_FOREIGN},
    {0, "\0\0\0\0\0\0\0\0\0\0\0\0", 12, "zeros, as a broken download leaves them", IMAGE_FOREIGN},
};

/* Texts, whatever blanks precede them and in capitals or not. */
static const struct {
  const char *begin, *kind;
} texts[] = {
    {"<!doctype html", "a web page (HTML)"},
    {"<html", "a web page (HTML)"},
    {"<svg", "an SVG drawing"},
    {"<?xml", "an XML text"},
    {"{", "a JSON text"},
    {"[", "a JSON text"},
};

static const char *text_kind(const char *text, size_t n) {
  size_t skipped = n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
  while (skipped < n && strchr(" \t\r\n", text[skipped]) && text[skipped] != '\0')
    skipped++;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    size_t length = strlen(texts[i].begin);
    if (n - skipped >= length && strncasecmp(text + skipped, texts[i].begin, length) == 0)
      return texts[i].kind;
  }
  return NULL;
}

/* The first mark that BYTES bear; NULL where they bear none. */
static const mark_t *mark_of(const uint8_t *bytes, size_t n) {
  for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
    if (n >= marks[i].at + marks[i].n && memcmp(bytes + marks[i].at, marks[i].mark, marks[i].n) == 0)
      return &marks[i];
  return NULL;
}

image_format_t image_format(const uint8_t *bytes, size_t n) {
  const mark_t *mark = mark_of(bytes, n);
  return mark ? mark->format : IMAGE_FOREIGN;
}

const char *image_kind(const uint8_t *bytes, size_t n) {
  const mark_t *mark = mark_of(bytes, n);
  return mark ? mark->kind : text_kind((const char *)bytes, n);
}

/* ---- EXIF (CIPA DC-008) ---- */

/* A part of a file, of which integers are read in its byte order. */
typedef struct {
  const uint8_t *bytes;
  size_t n;
  bool little;
} image_kind_part_t;

/* The integer of WIDTH bytes at AT; 0 beyond the end. */
static uint32_t integer_at(const image_kind_part_t *part, size_t at, size_t width) {
  uint32_t value = 0;
  if (part->n < width || at > part->n - width) return 0;
  for (size_t i = 0; i < width; i++)
    value = value << 8 | part->bytes[at + (part->little ? width - 1 - i : i)];
  return value;
}

/* Of a TIFF header and what follows it: the orientation in the first directory. */
static int tiff_orientation(image_kind_part_t tiff) {
  enum { ENTRY = 12, TAG = 0x0112, SHORT = 3, MOST = 8 };
  if (tiff.n < 8) return 1;
  tiff.little = tiff.bytes[0] == 'I';
  size_t directory = integer_at(&tiff, 4, 4);
  uint32_t entries = integer_at(&tiff, directory, 2);
  for (uint32_t e = 0; e < entries; e++) {
    size_t at = directory + 2 + (size_t)e * ENTRY;
    if (integer_at(&tiff, at, 2) != TAG || integer_at(&tiff, at + 2, 2) != SHORT) continue;
    uint32_t value = integer_at(&tiff, at + 8, 2);
    return value >= 1 && value <= MOST ? (int)value : 1;
  }
  return 1;
}

enum { EXIF = 6 };
static const char exif_mark[] = "Exif\0"; /* EXIF bytes with the end of the text */

/* Of the N bytes at AT, which may begin with the mark. */
static int exif_orientation(const image_kind_part_t *file, size_t at, size_t n) {
  const bool marked = n >= EXIF && memcmp(file->bytes + at, exif_mark, EXIF) == 0;
  const size_t skipped = marked ? EXIF : 0;
  return tiff_orientation((image_kind_part_t){file->bytes + at + skipped, n - skipped, false});
}

static int jpeg_orientation(const image_kind_part_t *file) {
  enum { FIRST_SEGMENT = 2, HEADER = 4, APP1 = 0xe1, SCAN = 0xda };
  const uint8_t *bytes = file->bytes;
  for (size_t at = FIRST_SEGMENT; at + HEADER < file->n && bytes[at] == 0xff && bytes[at + 1] != SCAN;) {
    size_t length = integer_at(file, at + 2, 2), data = at + HEADER;
    bool whole = length >= 2 && at + 2 + length <= file->n;
    if (!whole) return 1;
    if (bytes[at + 1] == APP1 && length >= 2 + EXIF && memcmp(bytes + data, exif_mark, EXIF) == 0)
      return exif_orientation(file, data, length - 2);
    at += 2 + length;
  }
  return 1;
}

/* The chunks of a PNG file (PNG specification, 11.3.4.5): length, kind, data, checksum. */
static int png_orientation(const image_kind_part_t *file) {
  enum { FIRST_CHUNK = 8, HEADER = 8, SUM = 4 };
  for (size_t at = FIRST_CHUNK; at + HEADER < file->n;) {
    const size_t length = integer_at(file, at, 4), data = at + HEADER;
    if (length > file->n - data) return 1;
    if (memcmp(file->bytes + at + 4, "eXIf", 4) == 0) return exif_orientation(file, data, length);
    at = data + length + SUM;
  }
  return 1;
}

/* The chunks of a WebP file (RFC 9649): kind, length, data to an even number of bytes. */
static int webp_orientation(const image_kind_part_t *file) {
  enum { FIRST_CHUNK = 12, HEADER = 8 };
  const image_kind_part_t little = {file->bytes, file->n, true};
  for (size_t at = FIRST_CHUNK; at + HEADER < file->n;) {
    const size_t length = integer_at(&little, at + 4, 4), data = at + HEADER;
    if (length > file->n - data) return 1;
    if (memcmp(file->bytes + at, "EXIF", 4) == 0) return exif_orientation(file, data, length);
    at = data + length + length % 2;
  }
  return 1;
}

int image_orientation(const uint8_t *bytes, size_t n) {
  const image_kind_part_t file = {bytes, n, false};
  switch (image_format(bytes, n)) {
  case IMAGE_JPEG:
    return jpeg_orientation(&file);
  case IMAGE_PNG:
    return png_orientation(&file);
  case IMAGE_WEBP:
    return webp_orientation(&file);
  default:
    return 1;
  }
}
