#define _GNU_SOURCE
#include "convert/convert_test.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/file.h"
#include "model/compare.h"
#include "model/tower.h"
#include "tensor/packed.h"
#include "tensor/plain/plain.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TARGETS = 6, SEQUENCES_MAX = 8, ROWS_MAX = 256, IMAGE_MAX = 4096 };
static const double tolerance = 1e-5;

static void succeed(status_code_t status) {
  if (status != STATUS_OK) fail_msg("%s: %s", status_name(status), error_message());
}

/* ---- Folder and tasks ---- */

void convert_test_open(comm_t *world, int tp, convert_test_t *out) {
  char path[FILE_MAX_PATH];
  *out = (convert_test_t){.world = world, .tp = tp, .folder = "/tmp/llava_convert_XXXXXX"};
  if (comm_rank(world) == 0) assert_non_null(mkdtemp(out->folder));
  succeed(comm_broadcast(world, out->folder, sizeof out->folder, COMM_BYTE, 0));
  succeed(file_join(path, TEST_SOURCE_DIR, "convert/golden/expected.safetensors", NULL));
  succeed(tensor_files_open(path, &out->expected));
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)info;
  (void)type;
  (void)place;
  return remove(path);
}

void convert_test_close(convert_test_t *test) {
  tensor_files_close(test->expected);
  succeed(comm_agree(test->world, STATUS_OK));
  if (comm_rank(test->world) == 0) nftw(test->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *convert_fill(const convert_test_t *test, const char *text, char out[CONVERT_TEXT]) {
  size_t n = 0;
  for (; *text; text++) {
    char one[2] = {*text, '\0'};
    const char *with = *text == '@' ? test->folder : *text == '$' ? TEST_SOURCE_DIR : one;
    assert_true(n + strlen(with) < CONVERT_TEXT);
    memcpy(out + n, with, strlen(with));
    n += strlen(with);
  }
  out[n] = '\0';
  return out;
}

void convert_copy(const convert_test_t *test, const char *from, const char *to, const char *find,
                  const char *replace) {
  enum { MOST = 1 << 20 };
  char path[CONVERT_TEXT], *bytes, *at;
  size_t n;
  succeed(file_read(convert_fill(test, from, path), MOST, &bytes, &n));
  if (!(at = find ? strstr(bytes, find) : bytes)) fail_msg("no '%s' in %s", find, from);
  convert_fill(test, to, path);
  FILE *file = NULL;
  if (comm_rank(test->world) == 0) {
    succeed(file_make_parent(path));
    assert_non_null(file = fopen(path, "wb"));
    fwrite(bytes, 1, (size_t)(at - bytes), file);
    if (find) fputs(replace, file);
    size_t from_here = (size_t)(at - bytes) + (find ? strlen(find) : 0);
    fwrite(bytes + from_here, 1, n - from_here, file);
    assert_int_equal(fclose(file), 0);
  }
  memory_free(bytes);
  succeed(comm_agree(test->world, STATUS_OK));
}

static status_t create_plain(const grid_t *grid, const settings_t *settings, device_t **out) {
  (void)grid;
  (void)settings;
  return plain_create(PLAIN_DOUBLE, true, out);
}

static status_t run(comm_t *world, const settings_t *settings, status_t (*task)(session_t *session)) {
  const device_entry_t device = {"plain", create_plain};
  session_t session;
  log_set_level(LOG_ERROR);
  status_code_t status = session_prepare(world, settings, &device, 1, &session);
  if (status == STATUS_OK) status = session_open(&session, "test");
  if (status == STATUS_OK) status = task(&session);
  session_close(&session, status);
  log_set_level(LOG_INFO);
  return status;
}

status_t convert_run(const convert_test_t *test, const char *text, status_t (*task)(session_t *session)) {
  char filled[CONVERT_TEXT], split[64], place[128];
  settings_t settings;
  snprintf(split, sizeof split, "parallel.tp=%d", test->tp);
  snprintf(place, sizeof place, "job.run_dir=%s/run", test->folder);
  const char *const overrides[] = {split, place, "log.level=error", "parallel.timeout=120"};
  TRY(settings_read_text("test", convert_fill(test, text, filled), 4, overrides, &settings, NULL));
  status_code_t status = run(test->world, &settings, task);
  settings_free(&settings);
  return status;
}

/* ---- Expected numbers ---- */

static const tensor_entry_t *entry_of(const convert_test_t *test, const char *group, const char *name) {
  char full[128];
  snprintf(full, sizeof full, "%s%s%s", group, *group ? "/" : "", name);
  const tensor_entry_t *entry = tensor_files_find(test->expected, full);
  if (!entry) fail_msg("expected.safetensors has no %s", full);
  return entry;
}

static int64_t integers(const convert_test_t *test, const char *group, const char *name, int32_t *out,
                        int64_t most) {
  const tensor_entry_t *entry = entry_of(test, group, name);
  assert_true(entry->type == TENSOR_I32 && entry->elements <= most);
  succeed(tensor_files_read(test->expected, entry, 0, entry->elements, out));
  return entry->elements;
}

static int64_t numbers(const convert_test_t *test, const char *group, const char *name, float *out,
                       int64_t most) {
  const tensor_entry_t *entry = entry_of(test, group, name);
  assert_true(entry->elements <= most);
  succeed(tensor_files_read_f32(test->expected, entry, 0, entry->elements, out));
  return entry->elements;
}

/* ---- Comparing ---- */

/* What the task of a comparison reads: tasks have no argument but the session. */
static const convert_test_t *current;
static const char *current_name;

typedef struct {
  model_t model;
  adapter_t adapter;
  head_t head;
  bool adapted, scored;
  packed_t packed;
  float patches[IMAGE_MAX];
} convert_test_comparison_t;

static void load_image(const model_config_t *config, float *patches) {
  float pixels[IMAGE_MAX];
  assert_int_equal(numbers(current, "", "pixels", pixels, IMAGE_MAX),
                   3 * config->vision_image_size * config->vision_image_size);
  tower_patches(config, pixels, patches);
}

static void pack(convert_test_comparison_t *comparison) {
  int32_t tokens[ROWS_MAX], lengths[SEQUENCES_MAX], *next = tokens;
  packed_source_t sources[SEQUENCES_MAX];
  integers(current, current_name, "tokens", tokens, ROWS_MAX);
  int32_t count = (int32_t)integers(current, current_name, "lengths", lengths, SEQUENCES_MAX);
  for (int32_t s = 0; s < count; s++) {
    bool shown = false;
    for (int32_t t = 0; t < lengths[s]; t++)
      shown = shown || next[t] == TOKEN_IMAGE;
    sources[s] = (packed_source_t){next, lengths[s], shown ? 0 : -1};
    next += lengths[s];
  }
  succeed(packed_create(sources, count, config_patches(&comparison->model.base.config), &comparison->packed));
}

static void compare_logprobs(convert_test_comparison_t *comparison) {
  int32_t rows[ROWS_MAX], targets[ROWS_MAX], all[ROWS_MAX * TARGETS];
  int32_t n = comparison->packed.offsets[comparison->packed.sequences];
  float expected[ROWS_MAX * TARGETS];
  double found[ROWS_MAX], wanted[ROWS_MAX];
  assert_int_equal(integers(current, current_name, "targets", all, ROWS_MAX * TARGETS), n * TARGETS);
  assert_int_equal(numbers(current, current_name, "logprobs", expected, ROWS_MAX * TARGETS), n * TARGETS);
  for (int t = 0; t < TARGETS; t++) {
    for (int32_t r = 0; r < n; r++) {
      rows[r] = r;
      targets[r] = all[r * TARGETS + t];
      wanted[r] = (double)expected[r * TARGETS + t];
    }
    succeed(pass_logprobs(comparison->model.pass, n, rows, targets, 1.0, found, NULL));
    compare_arrays(current_name, found, wanted, n, 0.0, tolerance);
  }
}

static void compare_rewards(convert_test_comparison_t *comparison) {
  int32_t rows[SEQUENCES_MAX], n = comparison->packed.sequences;
  float expected[SEQUENCES_MAX];
  double found[SEQUENCES_MAX], wanted[SEQUENCES_MAX];
  assert_int_equal(numbers(current, current_name, "rewards", expected, SEQUENCES_MAX), n);
  for (int32_t s = 0; s < n; s++) {
    rows[s] = comparison->packed.offsets[s + 1] - 1;
    wanted[s] = (double)expected[s];
  }
  succeed(pass_scalars(comparison->model.pass, n, rows, found));
  compare_arrays("rewards", found, wanted, n, 0.0, tolerance);
}

static void open_roles(session_t *session, convert_test_comparison_t *comparison) {
  static const char *const roles[] = {"default", "reward", NULL};
  const char *path = model_adapter_path(session, &comparison->model);
  comparison->adapted = *path != '\0';
  if (!comparison->adapted) return;
  succeed(model_load_adapter(session, &comparison->model, path, roles, "policy", &comparison->adapter, NULL));
  comparison->scored = comparison->model.info.head_count > 0;
  if (comparison->scored)
    succeed(model_load_head(session, &comparison->model, path, "reward", &comparison->head));
}

static status_t compare_task(session_t *session) {
  convert_test_comparison_t comparison = {.adapted = false};
  succeed(model_from_settings(session, &comparison.model));
  open_roles(session, &comparison);
  if (config_sees(&comparison.model.base.config))
    load_image(&comparison.model.base.config, comparison.patches);
  pack(&comparison);
  const role_t role = {&comparison.model.base, comparison.adapted ? &comparison.adapter : NULL,
                       comparison.scored ? &comparison.head : NULL};
  const pass_images_t images = {.count = comparison.packed.images > 0, .patches = comparison.patches};
  succeed(pass_forward(comparison.model.pass, &role, &comparison.packed, &images, false, NULL, NULL));
  compare_logprobs(&comparison);
  if (comparison.scored) compare_rewards(&comparison);
  packed_free(&comparison.packed);
  head_free(&comparison.head);
  adapter_free(&comparison.adapter);
  model_free(&comparison.model);
  return STATUS_OK;
}

static status_t compare_features_task(session_t *session) {
  model_t model;
  float patches[IMAGE_MAX], expected[IMAGE_MAX], found[IMAGE_MAX];
  double left[IMAGE_MAX], right[IMAGE_MAX];
  succeed(model_from_settings(session, &model));
  load_image(&model.base.config, patches);
  int64_t n = numbers(current, "", current_name, expected, IMAGE_MAX);
  assert_int_equal(n, config_patches(&model.base.config) * model.base.config.vision_hidden);
  succeed(pass_features(model.pass, &model.base, 1, patches, found));
  for (int64_t i = 0; i < n; i++) {
    left[i] = (double)found[i];
    right[i] = (double)expected[i];
  }
  compare_arrays(current_name, left, right, n, 0.0, tolerance);
  model_free(&model);
  return STATUS_OK;
}

static void compare(const convert_test_t *test, const char *text, const char *name,
                    status_t (*task)(session_t *session)) {
  char input[CONVERT_TEXT];
  current = test;
  current_name = name;
  snprintf(input, sizeof input, "&job task='score' /\n%s\n&data dataset='none' /\n", text);
  succeed(convert_run(test, input, task));
}

void convert_compare(const convert_test_t *test, const char *text, const char *name) {
  compare(test, text, name, compare_task);
}

void convert_compare_features(const convert_test_t *test, const char *text, const char *name) {
  compare(test, text, name, compare_features_task);
}

/* ---- Files ---- */

static int64_t same_shape(const weights_tensor_t *tensor, const weights_tensor_t *other) {
  int64_t n = 1;
  assert_string_equal(tensor->path, other->path);
  assert_int_equal(tensor->ndim, other->ndim);
  assert_int_equal(tensor->dtype, other->dtype);
  for (int d = 0; d < tensor->ndim; d++) {
    assert_int_equal(tensor->shape[d], other->shape[d]);
    n *= tensor->shape[d];
  }
  return n;
}

/* All tensors of FILE whole, one behind the other; sizes[i] values each, TOTAL together. */
static float *read_whole(weights_file_t *file, const int64_t *sizes, int64_t total) {
  weights_request_t *requests;
  float *values;
  int64_t count = weights_count(file), at = 0;
  succeed(memory_alloc(&requests, ARENA_OTHER, (size_t)count, sizeof *requests));
  succeed(memory_alloc(&values, ARENA_OTHER, (size_t)total, sizeof *values));
  for (int64_t i = 0; i < count; at += sizes[i++])
    requests[i] = (weights_request_t){.path = weights_at(file, i)->path,
                                      .rows = sizes[i],
                                      .cols = 1,
                                      .row_count = sizes[i],
                                      .col_count = 1,
                                      .data = values + at};
  succeed(weights_read(file, requests, count));
  memory_free(requests);
  return values;
}

static void same_values(weights_file_t *const files[2]) {
  int64_t *sizes, count = weights_count(files[0]), total = 0;
  succeed(memory_alloc(&sizes, ARENA_OTHER, (size_t)count, sizeof *sizes));
  for (int64_t i = 0; i < count; i++)
    total += sizes[i] = same_shape(weights_at(files[0], i), weights_at(files[1], i));
  float *values[2] = {read_whole(files[0], sizes, total), read_whole(files[1], sizes, total)};
  for (int64_t i = 0, at = 0; i < count; at += sizes[i++])
    if (memcmp(values[0] + at, values[1] + at, (size_t)sizes[i] * sizeof(float)) != 0)
      fail_msg("%s has other values", weights_at(files[0], i)->path);
  memory_free(values[0]);
  memory_free(values[1]);
  memory_free(sizes);
}

void convert_same(const convert_test_t *test, const char *path, const char *other) {
  char filled[CONVERT_TEXT];
  weights_file_t *files[2];
  succeed(weights_open(test->world, convert_fill(test, path, filled), &store_format, &files[0]));
  succeed(weights_open(test->world, convert_fill(test, other, filled), &store_format, &files[1]));
  assert_int_equal(weights_count(files[0]), weights_count(files[1]));
  same_values(files);
  weights_close(files[0]);
  weights_close(files[1]);
}
