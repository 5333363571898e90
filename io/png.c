/* libpng reports errors by a callback that must not return, so each entry point has one setjmp here and
 * nothing jumps out of this file. What must survive a jump is kept in a struct that the caller of setjmp only
 * points to. */
#include "io/png.h"

#include "io/image_decode.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <png.h>

typedef struct {
  png_structp png;
  png_infop info;
  jmp_buf jump;
  char text[128]; /* libpng's complaint */
  const char *name;
  const uint8_t *bytes;
  size_t n, at; /* bytes; how many have been read */
  image_t *out; /* NULL: look only */
  int32_t width, height;
} png_decoder_t;

/* ---- Callbacks ---- */

static _Noreturn void fail(png_structp png, png_const_charp text) {
  png_decoder_t *decoder = png_get_error_ptr(png);
  snprintf(decoder->text, sizeof decoder->text, "%s", text);
  longjmp(decoder->jump, 1);
}

/* Warnings are about what Pillow lets pass as well. */
static void png_warn(png_structp png, png_const_charp text) {
  (void)png;
  (void)text;
}

static void png_read_bytes(png_structp png, png_bytep to, size_t count) {
  png_decoder_t *decoder = png_get_io_ptr(png);
  if (count > decoder->n - decoder->at) png_error(png, "it ends too early");
  memcpy(to, decoder->bytes + decoder->at, count);
  decoder->at += count;
}

/* Grey of 16 bits -> RGB, in place: Pillow cuts such values at 255. */
static void grey16_to_rgb(png_structp png, png_row_infop row, png_bytep data) {
  (void)png;
  for (png_uint_32 x = row->width; x-- > 0;) {
    const uint8_t value = data[2 * x] ? 255 : data[2 * x + 1];
    memset(data + 3 * (size_t)x, value, 3);
  }
}

/* ---- Decoding ---- */

static status_t png_refuse(const png_decoder_t *decoder) {
  return error_set(STATUS_DATA, "%s: broken PNG file (%zu bytes): %s", decoder->name, decoder->n,
                   decoder->text);
}

/* May jump. Chunks that do not change the pixels are skipped unread: texts and profiles may be bombs too. */
static void png_read_header(png_decoder_t *decoder) {
  decoder->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, decoder, fail, png_warn);
  if (decoder->png) decoder->info = png_create_info_struct(decoder->png);
  if (!decoder->info) return;
  png_set_read_fn(decoder->png, decoder, png_read_bytes);
  png_set_user_limits(decoder->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* image_size_check has the limits */
  png_set_keep_unknown_chunks(decoder->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
  png_set_keep_unknown_chunks(decoder->png, PNG_HANDLE_CHUNK_NEVER, (png_const_bytep) "tRNS", 1);
  png_read_info(decoder->png, decoder->info);
}

/* Checks the header. Whatever it returns, decoder_close is due. */
static status_t png_decoder_open(png_decoder_t *decoder, const uint8_t *bytes, size_t n, const char *name) {
  memset(decoder, 0, sizeof *decoder);
  decoder->name = name;
  decoder->bytes = bytes;
  decoder->n = n;
  if (setjmp(decoder->jump)) return png_refuse(decoder);
  png_read_header(decoder);
  if (!decoder->info) return error_set(STATUS_MEMORY, "%s: no memory to read a PNG file", name);
  const uint32_t width = png_get_image_width(decoder->png, decoder->info);
  const uint32_t height = png_get_image_height(decoder->png, decoder->info);
  TRY(image_size_check(name, width, height));
  decoder->width = (int32_t)width;
  decoder->height = (int32_t)height;
  return STATUS_OK;
}

static void png_decoder_close(png_decoder_t *decoder) {
  png_destroy_read_struct(&decoder->png, &decoder->info, NULL);
}

/* May jump. Asks libpng for RGB of 8 bits. */
static void ask_for_rgb(const png_decoder_t *decoder) {
  const int colour = png_get_color_type(decoder->png, decoder->info);
  const int depth = png_get_bit_depth(decoder->png, decoder->info);
  if (colour == PNG_COLOR_TYPE_GRAY && depth == 16) {
    png_set_read_user_transform_fn(decoder->png, grey16_to_rgb);
    png_set_user_transform_info(decoder->png, NULL, 8, 3);
    return;
  }
  if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(decoder->png);
  if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(decoder->png);
  if (depth == 16) png_set_strip_16(decoder->png);
  if (colour & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(decoder->png);
  if (!(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(decoder->png);
}

/* May jump. Not finished by png_read_end: what follows the last row is not data. */
static void png_decoder_read_rows(png_decoder_t *decoder) {
  const size_t stride = 3 * (size_t)decoder->width;
  ask_for_rgb(decoder);
  const int passes = png_set_interlace_handling(decoder->png);
  png_read_update_info(decoder->png, decoder->info);
  if (png_get_rowbytes(decoder->png, decoder->info) != stride)
    png_error(decoder->png, "rows of an odd length");
  for (int pass = 0; pass < passes; pass++)
    for (size_t y = 0; y < (size_t)decoder->height; y++)
      png_read_row(decoder->png, decoder->out ? decoder->out->rgb + y * stride : NULL, NULL);
}

static status_t png_decoder_run(png_decoder_t *decoder) {
  if (decoder->out) TRY(image_create(decoder->width, decoder->height, decoder->out));
  if (setjmp(decoder->jump)) return png_refuse(decoder);
  png_decoder_read_rows(decoder);
  return STATUS_OK;
}

status_t png_size(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height) {
  png_decoder_t decoder;
  status_code_t status = png_decoder_open(&decoder, bytes, n, name);
  *width = decoder.width;
  *height = decoder.height;
  png_decoder_close(&decoder);
  return status;
}

status_t png_decode(const uint8_t *bytes, size_t n, const char *name, image_t *out) {
  png_decoder_t decoder;
  *out = (image_t){0};
  status_code_t status = png_decoder_open(&decoder, bytes, n, name);
  decoder.out = out;
  if (status == STATUS_OK) status = png_decoder_run(&decoder);
  png_decoder_close(&decoder);
  if (status != STATUS_OK) image_free(out);
  return status;
}

status_t png_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height) {
  png_decoder_t decoder;
  status_code_t status = png_decoder_open(&decoder, bytes, n, name);
  if (status == STATUS_OK) status = png_decoder_run(&decoder);
  *width = decoder.width;
  *height = decoder.height;
  png_decoder_close(&decoder);
  return status;
}
