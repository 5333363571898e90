#include "io/webp.h"

#include "io/image_decode.h"

#include <stdbool.h>

#include <webp/decode.h>
#include <webp/demux.h>

static const char *webp_reason(VP8StatusCode code) {
  switch (code) {
  case VP8_STATUS_OUT_OF_MEMORY:
    return "no memory to decode it, or sizes that contradict each other";
  case VP8_STATUS_UNSUPPORTED_FEATURE:
    return "a feature that libwebp does not know";
  case VP8_STATUS_SUSPENDED:
  case VP8_STATUS_NOT_ENOUGH_DATA:
    return "it ends too early";
  default:
    return "what it holds makes no sense";
  }
}

static status_t webp_refuse(const char *name, size_t n, VP8StatusCode code) {
  return error_set(STATUS_DATA, "%s: broken WebP file (%zu bytes): %s", name, n, webp_reason(code));
}

static status_t header_read(const uint8_t *bytes, size_t n, const char *name, WebPBitstreamFeatures *header) {
  VP8StatusCode code = WebPGetFeatures(bytes, n, header);
  if (code != VP8_STATUS_OK) return webp_refuse(name, n, code);
  return image_size_check(name, (uint64_t)header->width, (uint64_t)header->height);
}

/* Decodes a still picture of WIDTH x HEIGHT to the place (LEFT, TOP) of OUT, where it has room. */
static VP8StatusCode decode_at(const uint8_t *bytes, size_t n, int32_t left, int32_t top, int32_t width,
                               int32_t height, image_t *out) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) return VP8_STATUS_INVALID_PARAM;
  VP8StatusCode code = WebPGetFeatures(bytes, n, &config.input);
  if (code != VP8_STATUS_OK) return code;
  if (config.input.width != width || config.input.height != height) return VP8_STATUS_BITSTREAM_ERROR;
  const size_t stride = 3 * (size_t)out->width, start = (size_t)top * stride + 3 * (size_t)left;
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = out->rgb + start;
  config.output.u.RGBA.stride = (int)stride;
  config.output.u.RGBA.size = stride * (size_t)out->height - start;
  return WebPDecode(bytes, n, &config);
}

/* The first frame of an animation. */
static VP8StatusCode decode_frame(const uint8_t *bytes, size_t n, image_t *out) {
  const WebPData data = {bytes, n};
  WebPDemuxer *demuxer = WebPDemux(&data);
  WebPIterator frame;
  VP8StatusCode code = VP8_STATUS_NOT_ENOUGH_DATA;
  if (!demuxer) return code;
  if (WebPDemuxGetFrame(demuxer, 1, &frame)) {
    const bool inside = frame.x_offset >= 0 && frame.y_offset >= 0 &&
                        frame.width <= out->width - frame.x_offset &&
                        frame.height <= out->height - frame.y_offset;
    code = !inside ? VP8_STATUS_BITSTREAM_ERROR
                   : decode_at(frame.fragment.bytes, frame.fragment.size, frame.x_offset, frame.y_offset,
                               frame.width, frame.height, out);
    WebPDemuxReleaseIterator(&frame);
  }
  WebPDemuxDelete(demuxer);
  return code;
}

status_t webp_size(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height) {
  WebPBitstreamFeatures header;
  *width = *height = 0;
  TRY(header_read(bytes, n, name, &header));
  *width = header.width;
  *height = header.height;
  return STATUS_OK;
}

status_t webp_decode(const uint8_t *bytes, size_t n, const char *name, image_t *out) {
  WebPBitstreamFeatures header;
  *out = (image_t){0};
  TRY(header_read(bytes, n, name, &header));
  TRY(image_create(header.width, header.height, out));
  VP8StatusCode code = header.has_animation ? decode_frame(bytes, n, out)
                                            : decode_at(bytes, n, 0, 0, header.width, header.height, out);
  if (code == VP8_STATUS_OK) return STATUS_OK;
  image_free(out);
  return webp_refuse(name, n, code);
}

status_t webp_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width, int32_t *height) {
  image_t image;
  status_code_t status = webp_decode(bytes, n, name, &image);
  *width = image.width;
  *height = image.height;
  image_free(&image);
  return status;
}
