#include "convert/processor_check.h"

#include "convert/config_read.h"
#include "convert/fields.h"
#include "io/file.h"
#include "vision/image.h"

#include <math.h>

enum { CONFIG_BYTES_MOST = 1 << 20 };
static const double pixel_most = 255.0;

static const only_t pixels_only[] = {
    {.key = "resample", .kind = ONLY_NUMBER, .number = PILLOW_BICUBIC},
    {.key = "do_normalize", .kind = ONLY_TRUE},
    {.key = "do_rescale", .kind = ONLY_TRUE},
    {.key = "do_resize", .kind = ONLY_TRUE},
};

static status_t processor_check_numbers(const fields_t *fields, const char *key, const double expected[3]) {
  const json_t *list = json_get(fields->object, key);
  if (!list) return STATUS_OK;
  for (int i = 0; i < 3; i++) {
    const json_t *item = json_at(list, i);
    double value = !item ? NAN : item->type == JSON_INT ? (double)item->u.integer : item->u.real;
    if (!(fabs(value - expected[i]) < 1e-6))
      return error_set(STATUS_DATA, "%s: field '%s': found %g in place %d, expected the tower's %g",
                       fields->where, key, value, i, expected[i]);
  }
  return STATUS_OK;
}

static status_t processor_check_rescale(const fields_t *fields) {
  double factor;
  TRY(field_real(fields, "rescale_factor", 1.0 / pixel_most, &factor));
  if (fabs(pixel_most * factor - 1.0) < 1e-6) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: field 'rescale_factor': found %g; such a model is not computed here, only 1/255",
                   fields->where, factor);
}

static bool has_number(const json_t *object, const char *key, int32_t number) {
  const json_t *value = json_get(object, key);
  return value && value->type == JSON_INT && value->u.integer == number;
}

/* SIZE is the square of SIDE, as a number or by both sides; or, where SHORTEST, the shorter side is SIDE. */
static bool is_side(const json_t *size, bool shortest, int32_t side) {
  if (size->type == JSON_INT) return size->u.integer == side;
  if (shortest) return size->count == 1 && has_number(size, "shortest_edge", side);
  return has_number(size, "height", side) && has_number(size, "width", side);
}

static status_t processor_refuse_side(const fields_t *fields, const char *key, const char *form,
                                      int32_t side) {
  return error_set(
      STATUS_DATA,
      "%s: field '%s': found another size than the tower's; expected %s of image_size, which is %d",
      fields->where, key, form, side);
}

/* CLIP's processor scales the shorter side and cuts the middle out, SigLIP's scales both sides; of images
 * that have been padded to a square all that is the same. */
static status_t processor_check_sizes(const fields_t *fields, tower_kind_t kind, int32_t side) {
  static const only_t crops[] = {[TOWER_CLIP] = {.key = "do_center_crop", .kind = ONLY_TRUE},
                                 [TOWER_SIGLIP] = {.key = "do_center_crop", .kind = ONLY_FALSE}};
  const json_t *size = json_get(fields->object, "size"), *crop = json_get(fields->object, "crop_size");
  bool padded, cropped, shortest = kind == TOWER_CLIP;
  TRY(field_bool(fields, "do_pad", false, &padded));
  if (!padded) TRY(fields_only(fields, &crops[kind], 1));
  TRY(field_bool(fields, "do_center_crop", kind == TOWER_CLIP, &cropped));
  if (side == 0) return STATUS_OK;
  if (size && !is_side(size, shortest, side) && !(padded && is_side(size, !shortest, side)))
    return processor_refuse_side(fields, "size", shortest ? "'shortest_edge'" : "'height' and 'width'", side);
  if (crop && cropped && !is_side(crop, false, side))
    return processor_refuse_side(fields, "crop_size", "'height' and 'width'", side);
  return STATUS_OK;
}

static status_t processor_check_fields(const fields_t *fields, const model_config_t *model) {
  const pixels_norm_t *norm = &pixels_norms[model->tower == TOWER_SIGLIP ? PIXELS_SIGLIP : PIXELS_CLIP];
  TRY(fields_only(fields, pixels_only, (int)(sizeof pixels_only / sizeof *pixels_only)));
  TRY(processor_check_rescale(fields));
  TRY(processor_check_numbers(fields, "image_mean", norm->mean));
  TRY(processor_check_numbers(fields, "image_std", norm->std));
  return processor_check_sizes(fields, model->tower, model->vision_image_size);
}

status_t processor_check(const char *folder, const model_config_t *model) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  TRY(file_join(path, folder, "preprocessor_config.json", NULL));
  if (!file_exists(path)) return STATUS_OK;
  TRY(json_parse_file(path, CONFIG_BYTES_MOST, &document));
  status_code_t status = processor_check_fields(&(fields_t){document.root, path}, model);
  json_free(&document);
  return status;
}
