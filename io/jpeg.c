/* libjpeg reports errors by a callback that must not return, so each entry point has one setjmp here and
 * nothing jumps out of this file. What must survive a jump is kept in a struct that the caller of setjmp only
 * points to. */
#include "io/jpeg.h"

#include "base/memory.h"
#include "io/image_decode.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

typedef struct {
  struct jpeg_error_mgr manager; /* first: libjpeg hands back a pointer to it */
  jmp_buf jump;
  char text[JMSG_LENGTH_MAX];
} jpeg_errors_t;

typedef struct {
  struct jpeg_decompress_struct jpeg;
  struct jpeg_progress_mgr progress;
  jpeg_errors_t errors;
  const char *name;
  size_t n;
  image_t *out; /* NULL: look only */
  uint8_t *row; /* (width, components) for CMYK or when nothing is kept */
  int32_t width, height;
} jpeg_decoder_t;

static _Noreturn void fail(j_common_ptr jpeg) {
  jpeg_errors_t *errors = (jpeg_errors_t *)jpeg->err;
  jpeg->err->format_message(jpeg, errors->text);
  longjmp(errors->jump, 1);
}

/* Warnings about data that are not there, or that make no sense, end the decoding; the rest (extra bytes
 * between segments, an odd Adobe marker) leave the picture whole. */
static void jpeg_warn(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  switch (jpeg->err->msg_code) {
  case JWRN_JPEG_EOF:
  case JWRN_HIT_MARKER:
  case JWRN_HUFF_BAD_CODE:
  case JWRN_MUST_RESYNC:
    fail(jpeg);
  default:
    break;
  }
}

static void limit_scans(j_common_ptr jpeg) {
  if (!jpeg->is_decompressor) return;
  if (((j_decompress_ptr)jpeg)->input_scan_number <= JPEG_MAX_SCANS) return;
  jpeg_errors_t *errors = (jpeg_errors_t *)jpeg->err;
  snprintf(errors->text, sizeof errors->text, "more than %d scans", (int)JPEG_MAX_SCANS);
  longjmp(errors->jump, 1);
}

static void errors_install(jpeg_errors_t *errors) {
  jpeg_std_error(&errors->manager);
  errors->manager.error_exit = fail;
  errors->manager.emit_message = jpeg_warn;
}

static status_t jpeg_refuse(const jpeg_decoder_t *decoder) {
  return error_set(STATUS_DATA, "%s: broken JPEG file (%zu bytes): %s", decoder->name, decoder->n,
                   decoder->errors.text);
}

/* Pillow's CMYK to RGB, on the inverted values that Adobe's files hold. */
static void cmyk_to_rgb(const uint8_t *cmyk, int32_t width, uint8_t *rgb) {
  for (int32_t x = 0; x < width; x++) {
    uint32_t light = cmyk[4 * x + 3]; /* 255 - K */
    for (int32_t c = 0; c < 3; c++) {
      uint32_t product = (255u - cmyk[4 * x + c]) * light + 128u;
      uint32_t ink = ((product >> 8) + product) >> 8;
      rgb[3 * x + c] = (uint8_t)(light > ink ? light - ink : 0);
    }
  }
}

/* May jump. */
static void jpeg_read_header_inner(jpeg_decoder_t *decoder, const uint8_t *bytes) {
  jpeg_create_decompress(&decoder->jpeg);
  decoder->progress.progress_monitor = limit_scans;
  decoder->jpeg.progress = &decoder->progress;
  jpeg_mem_src(&decoder->jpeg, bytes, decoder->n);
  jpeg_read_header(&decoder->jpeg, TRUE);
}

static status_t header_check(jpeg_decoder_t *decoder) {
  const struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
  TRY(image_size_check(decoder->name, jpeg->image_width, jpeg->image_height));
  if (jpeg->num_components != 1 && jpeg->num_components != 3 && jpeg->num_components != 4)
    return error_set(STATUS_DATA, "%s: JPEG file of %d colour components; 1, 3 or 4 are understood",
                     decoder->name, jpeg->num_components);
  decoder->width = (int32_t)jpeg->image_width;
  decoder->height = (int32_t)jpeg->image_height;
  return STATUS_OK;
}

/* Opens and checks the header. Whatever it returns, jpeg_destroy_decompress is due. */
static status_t jpeg_decoder_open(jpeg_decoder_t *decoder, const uint8_t *bytes, size_t n, const char *name) {
  memset(decoder, 0, sizeof *decoder);
  decoder->name = name;
  decoder->n = n;
  errors_install(&decoder->errors);
  decoder->jpeg.err = &decoder->errors.manager;
  if (setjmp(decoder->errors.jump)) return jpeg_refuse(decoder);
  jpeg_read_header_inner(decoder, bytes);
  return header_check(decoder);
}

static void jpeg_decoder_close(jpeg_decoder_t *decoder) {
  if (decoder->jpeg.mem != NULL) jpeg_destroy_decompress(&decoder->jpeg);
  memory_free(decoder->row);
}

/* May jump. Not finished by jpeg_finish_decompress: what follows the last row is not data. */
static void jpeg_read_rows(jpeg_decoder_t *decoder) {
  struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
  jpeg_start_decompress(jpeg);
  while (jpeg->output_scanline < jpeg->output_height) {
    size_t y = jpeg->output_scanline;
    uint8_t *place = decoder->out == NULL ? NULL : decoder->out->rgb + y * (size_t)decoder->width * 3;
    bool direct = place != NULL && decoder->row == NULL;
    JSAMPROW row = direct ? place : decoder->row;
    if (jpeg_read_scanlines(jpeg, &row, 1) == 1 && place != NULL && !direct)
      cmyk_to_rgb(decoder->row, decoder->width, place);
  }
}

static status_t jpeg_decoder_run(jpeg_decoder_t *decoder) {
  bool cmyk = decoder->jpeg.num_components == 4;
  decoder->jpeg.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  if (decoder->out != NULL) TRY(image_create(decoder->width, decoder->height, decoder->out));
  if (cmyk || decoder->out == NULL) TRY(memory_alloc(&decoder->row, ARENA_DATA, (size_t)decoder->width, 4));
  if (setjmp(decoder->errors.jump)) return jpeg_refuse(decoder);
  jpeg_read_rows(decoder);
  return STATUS_OK;
}

status_t jpeg_size(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height) {
  jpeg_decoder_t decoder;
  status_code_t status = jpeg_decoder_open(&decoder, bytes, n, name);
  *width = decoder.width;
  *height = decoder.height;
  jpeg_decoder_close(&decoder);
  return status;
}

status_t jpeg_decode(const uint8_t *bytes, size_t n, const char *name, image_t *out) {
  jpeg_decoder_t decoder;
  *out = (image_t){0};
  status_code_t status = jpeg_decoder_open(&decoder, bytes, n, name);
  decoder.out = out;
  if (status == STATUS_OK) status = jpeg_decoder_run(&decoder);
  jpeg_decoder_close(&decoder);
  if (status != STATUS_OK) image_free(out);
  return status;
}

status_t jpeg_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height) {
  jpeg_decoder_t decoder;
  status_code_t status = jpeg_decoder_open(&decoder, bytes, n, name);
  if (status == STATUS_OK) status = jpeg_decoder_run(&decoder);
  *width = decoder.width;
  *height = decoder.height;
  jpeg_decoder_close(&decoder);
  return status;
}

typedef struct {
  struct jpeg_compress_struct jpeg;
  jpeg_errors_t errors;
  uint8_t *buffer; /* libjpeg's, freed with free */
  unsigned long size;
} jpeg_encoder_t;

/* May jump. */
static void encode_rows(jpeg_encoder_t *encoder, const image_t *image, int quality) {
  struct jpeg_compress_struct *jpeg = &encoder->jpeg;
  jpeg_create_compress(jpeg);
  jpeg_mem_dest(jpeg, &encoder->buffer, &encoder->size);
  jpeg->image_width = (JDIMENSION)image->width;
  jpeg->image_height = (JDIMENSION)image->height;
  jpeg->input_components = 3;
  jpeg->in_color_space = JCS_RGB;
  jpeg_set_defaults(jpeg);
  jpeg_set_quality(jpeg, quality, TRUE);
  for (int c = 0; c < jpeg->num_components; c++) {
    jpeg->comp_info[c].h_samp_factor = 1;
    jpeg->comp_info[c].v_samp_factor = 1;
  }
  jpeg_start_compress(jpeg, TRUE);
  while (jpeg->next_scanline < jpeg->image_height) {
    JSAMPROW row = image->rgb + (size_t)jpeg->next_scanline * (size_t)image->width * 3;
    jpeg_write_scanlines(jpeg, &row, 1);
  }
  jpeg_finish_compress(jpeg);
}

static status_t encoder_run(jpeg_encoder_t *encoder, const image_t *image, int quality) {
  errors_install(&encoder->errors);
  encoder->jpeg.err = &encoder->errors.manager;
  if (setjmp(encoder->errors.jump))
    return error_set(STATUS_INTERNAL, "an image of %d x %d pixels could not be written as JPEG: %s",
                     image->width, image->height, encoder->errors.text);
  encode_rows(encoder, image, quality);
  return STATUS_OK;
}

status_t jpeg_encode(const image_t *image, int quality, uint8_t **bytes, size_t *n) {
  jpeg_encoder_t encoder;
  memset(&encoder, 0, sizeof encoder);
  *bytes = NULL;
  *n = 0;
  status_code_t status = encoder_run(&encoder, image, quality);
  if (status == STATUS_OK) status = memory_alloc(bytes, ARENA_DATA, encoder.size, 1);
  if (status == STATUS_OK) {
    memcpy(*bytes, encoder.buffer, encoder.size);
    *n = encoder.size;
  }
  if (encoder.jpeg.mem != NULL) jpeg_destroy_compress(&encoder.jpeg);
  free(encoder.buffer);
  return status;
}
