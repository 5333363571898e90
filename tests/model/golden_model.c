#include "model/golden_model.h"

#include "base/memory.h"
#include "model/compare.h"
#include "model/tower.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SEQUENCES_MAX = 32 };
static void succeed(status_code_t status) {
  if (status != STATUS_OK) fail_msg("%s: %s", status_name(status), error_message());
}

static int32_t size_of(const arrays_t *arrays, const char *name) {
  char full[ARRAYS_NAME_MAX];
  snprintf(full, sizeof full, "sizes/%s", name);
  return (int32_t)arrays_number(arrays, full);
}

static model_config_t read_config(const arrays_t *arrays) {
  return (model_config_t){
      .hidden = size_of(arrays, "hidden"),
      .layers = size_of(arrays, "layers"),
      .heads = size_of(arrays, "heads"),
      .kv_heads = size_of(arrays, "kv_heads"),
      .head_size = size_of(arrays, "head_size"),
      .mlp = size_of(arrays, "mlp"),
      .vocab = size_of(arrays, "vocab"),
      .rope_base = 10000.0,
      .norm_eps = 1e-5,
      .tied = size_of(arrays, "tied") != 0,
      .vision_hidden = size_of(arrays, "vision_hidden"),
      .vision_layers = size_of(arrays, "vision_layers"),
      .vision_heads = size_of(arrays, "vision_heads"),
      .vision_mlp = size_of(arrays, "vision_mlp"),
      .vision_patch = size_of(arrays, "vision_patch"),
      .vision_image_size = size_of(arrays, "vision_image_size"),
      .vision_feature_layer = size_of(arrays, "vision_feature_layer"),
      .vision_norm_eps = 1e-5,
      .projector = size_of(arrays, "mlp_projector") ? PROJECTOR_MLP2X_GELU : PROJECTOR_LINEAR,
  };
}

double *golden_shard(const param_t *param, const arrays_t *arrays, const char *prefix) {
  const partition_t *part = &param->partition;
  char name[ARRAYS_NAME_MAX];
  double *shard;
  snprintf(name, sizeof name, "%s%s", prefix, param->name);
  const double *whole = arrays_get(arrays, name, part->rows * part->cols);
  succeed(memory_alloc(&shard, ARENA_OTHER, (size_t)param->elements, sizeof *shard));
  for (int64_t r = 0; r < part->row_count; r++)
    for (int64_t c = 0; c < part->col_count; c++)
      shard[r * part->local_cols + c] = whole[(part->row_begin + r) * part->cols + part->col_begin + c];
  return shard;
}

/* Fills every weight of PARAMS from the arrays PREFIX + name; returns how many. */
static int32_t load(params_t *params, const arrays_t *arrays, const char *prefix) {
  for (int32_t i = 0; i < params->count; i++) {
    double *shard = golden_shard(&params->items[i], arrays, prefix);
    succeed(param_write(params, i, DTYPE_F64, shard));
    memory_free(shard);
  }
  return params->count;
}

/* Every weight of the file has its place in the model. */
static void load_all(golden_model_t *model) {
  int32_t loaded = load(&model->base.params, &model->arrays, "weight/");
  loaded += load(&model->policy.params, &model->arrays, "weight/policy/");
  loaded += load(&model->value.params, &model->arrays, "weight/value/");
  loaded += load(&model->head.params, &model->arrays, "weight/head/");
  int32_t there = 0;
  for (int32_t i = 0; i < model->arrays.count; i++)
    there += strncmp(model->arrays.names[i], "weight/", 7) == 0;
  assert_int_equal(loaded, there);
}

static void load_patches(golden_model_t *model) {
  const model_config_t *config = &model->base.config;
  int64_t size = 3 * (int64_t)config->vision_image_size * config->vision_image_size;
  int64_t all = arrays_size(&model->arrays, "pixels");
  const double *pixels = arrays_get(&model->arrays, "pixels", all);
  model->images = (int32_t)(all / size);
  float *image;
  succeed(memory_alloc(&image, ARENA_OTHER, (size_t)size, sizeof *image));
  succeed(memory_alloc(&model->patches, ARENA_OTHER, (size_t)all, sizeof *model->patches));
  for (int32_t n = 0; n < model->images; n++) {
    for (int64_t i = 0; i < size; i++)
      image[i] = (float)pixels[n * size + i];
    tower_patches(config, image, model->patches + n * size);
  }
  memory_free(image);
}

void golden_model_create(device_t *device, const grid_t *grid, const char *path, int64_t largest_logits,
                         golden_model_t *out) {
  memset(out, 0, sizeof *out);
  arrays_read(path, &out->arrays);
  const model_config_t config = read_config(&out->arrays);
  const adapter_config_t lora = {.r = size_of(&out->arrays, "lora_r"),
                                 .alpha = size_of(&out->arrays, "lora_alpha"),
                                 .targets = {true, true, true, true, true, true, true}};
  const pass_options_t options = {.largest_logits = largest_logits};
  succeed(base_create(device, grid, &config, NULL, &out->base));
  succeed(adapter_create(&out->base, &lora, "policy", &out->policy));
  succeed(adapter_create(&out->base, &lora, "value", &out->value));
  succeed(head_create(&out->base, "value", false, &out->head));
  load_all(out);
  load_patches(out);
  succeed(pass_create(device, grid, &options, &out->pass));
}

void golden_model_free(golden_model_t *model) {
  pass_free(model->pass);
  head_free(&model->head);
  adapter_free(&model->value);
  adapter_free(&model->policy);
  base_free(&model->base);
  memory_free(model->patches);
  arrays_free(&model->arrays);
}

void golden_pack(const golden_model_t *model, const arrays_t *arrays, const char *prefix, int32_t first,
                 int32_t count, packed_t *out) {
  char name[ARRAYS_NAME_MAX];
  snprintf(name, sizeof name, "%slengths", prefix);
  int32_t all = (int32_t)arrays_size(arrays, name);
  int32_t *lengths = arrays_integers(arrays, name, all);
  snprintf(name, sizeof name, "%simages", prefix);
  int32_t *images = arrays_integers(arrays, name, all);
  snprintf(name, sizeof name, "%stokens", prefix);
  int32_t *tokens = arrays_integers(arrays, name, arrays_size(arrays, name));
  packed_source_t sources[SEQUENCES_MAX];
  assert_true(first + count <= all && count <= SEQUENCES_MAX);
  const int32_t *next = tokens;
  for (int32_t s = 0; s < first + count; s++) {
    if (s >= first) sources[s - first] = (packed_source_t){next, lengths[s], images[s]};
    next += lengths[s];
  }
  succeed(packed_create(sources, count, config_patches(&model->base.config), out));
  memory_free(lengths);
  memory_free(images);
  memory_free(tokens);
}

void golden_learnt(const arrays_t *arrays, int32_t first, const packed_t *packed, golden_learnt_t *out) {
  int64_t n = arrays_size(arrays, "tokens"), token = 0;
  const double *tokens = arrays_get(arrays, "tokens", n), *wanted = arrays_get(arrays, "sft_learnt", n);
  const double *lengths = arrays_get(arrays, "lengths", arrays_size(arrays, "lengths"));
  int32_t all = packed->offsets[packed->sequences];
  for (int32_t s = 0; s < first; s++)
    token += (int64_t)lengths[s];
  out->n = 0;
  for (int32_t row = 0; row < all; token++) {
    assert_true(token < n && out->n < GOLDEN_LEARNT_MAX);
    if (wanted[token] != 0.0) {
      out->rows[out->n] = row - 1;
      out->targets[out->n++] = (int32_t)tokens[token];
    }
    row += tokens[token] == TOKEN_IMAGE ? packed->image_slots : 1;
    assert_true(row <= all);
  }
}

void golden_forward(golden_model_t *model, adapter_t *adapter, head_t *head, const packed_t *packed,
                    bool keep) {
  const role_t role = {&model->base, adapter, head};
  const pass_images_t images = {.count = model->images, .patches = model->patches};
  succeed(pass_forward(model->pass, &role, packed, &images, keep, NULL, NULL));
}

/* What the error of the tensor NAME is normalised by at least. A bias is measured with its layer's weight:
 * the true gradient of a bias on keys vanishes, because it shifts all scores alike. */
static double gradient_floor(const arrays_t *arrays, const char *name) {
  char weight[ARRAYS_NAME_MAX];
  size_t stem = strlen(name) - strlen("bias");
  if (strcmp(name + stem, "bias") != 0) return 0.0;
  snprintf(weight, sizeof weight, "%.*sweight", (int)stem, name);
  int64_t n = arrays_size(arrays, weight);
  const double *values = arrays_get(arrays, weight, n);
  double largest = 0.0;
  for (int64_t i = 0; i < n; i++)
    largest = fmax(largest, fabs(values[i]));
  return largest;
}

void golden_compare_gradients(const params_t *params, const arrays_t *arrays, const char *prefix,
                              double tolerance) {
  char name[ARRAYS_NAME_MAX];
  for (int32_t i = 0; i < params->count; i++) {
    const param_t *param = &params->items[i];
    if (!param->trainable) continue;
    snprintf(name, sizeof name, "%s%s", prefix, param->name);
    double *found = gradient_read(params, i);
    compare_arrays(name, found, arrays_get(arrays, name, param->elements), param->elements,
                   gradient_floor(arrays, name), tolerance);
    memory_free(found);
  }
}
