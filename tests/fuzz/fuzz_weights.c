/* Files of weights, changed: opened, verified and read as models are. */
#include "fuzz_h5.h"

#include "base/memory.h"
#include "io/formats/weights.h"
#include "io/h5_guard.h"
#include "io/small_files.h"

enum { VALUES_MOST = 1 << 16 };

static const char *const objects[] = {
    "/",      "/weights",   "/weights/a", "/weights/b.weight", "/weights/b.bias", "/heads/reward/weight",
    "/heads", "/tokenizer", NULL};
static const char *const attributes[] = {"config", "config_xxh3", "format", "format_version",
                                         "xxh3",   "meaning",     NULL};
static fuzz_h5_t sound = {.objects = objects, .attributes = attributes};
static const char *path;
static comm_t *world;

/* The whole of TENSOR, seen as one column; its shape is the file's word. */
static void read_tensor(weights_file_t *file, const weights_tensor_t *tensor) {
  static float values[VALUES_MOST];
  int64_t rows = 1;
  for (int d = 0; d < tensor->ndim; d++)
    if (__builtin_mul_overflow(rows, tensor->shape[d], &rows)) return;
  if (rows > VALUES_MOST) return;
  const weights_request_t request = {
      .path = tensor->path, .rows = rows, .cols = 1, .row_count = rows, .col_count = 1, .data = values};
  status_code_t status = weights_read(file, &request, 1);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
}

static void read_texts(weights_file_t *file) {
  char *text = NULL;
  int64_t n = 0;
  if (weights_read_text(weights_h5(file), "/weights", "config", &text, NULL) == STATUS_OK) memory_free(text);
  text = NULL;
  if (weights_read_bytes(weights_h5(file), "/tokenizer", &text, &n) == STATUS_OK) {
    FUZZ_EXPECT(text[n] == '\0');
    memory_free(text);
  }
}

static void use(weights_file_t *file) {
  for (int64_t i = 0; i < weights_count(file); i++)
    read_tensor(file, weights_at(file, i));
  read_texts(file);
  (void)weights_identity(file, "/weights/", WEIGHTS_IDENTITY_START);
  (void)weights_check_all_read(file, "/weights/", NULL, NULL);
  status_code_t status = weights_verify(file);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA || status == STATUS_MEMORY);
}

/* The text `config` with the hash that it has now. */
static void text_hash(void) {
  h5_file_t *file;
  char *text;
  if (h5_open(path, H5_EDIT, NULL, &file) != STATUS_OK) return;
  if (h5_attr_read_text(file, "/weights", "config", &text) == STATUS_OK) {
    (void)!weights_write_text(file, "/weights", "config", text);
    memory_free(text);
  }
  (void)!h5_close(file);
}

/* The status of opening the file that INPUT makes. */
static status_code_t try(fuzz_input_t *input) {
  weights_file_t *file;
  if (fuzz_h5_make(&sound, path, input)) text_hash();
  status_code_t status = weights_open(world, path, &small_weights_format, &file);
  FUZZ_EXPECT(!h5_guard_is_broken());
  if (status != STATUS_OK) return status;
  use(file);
  weights_close(file);
  return STATUS_OK;
}

void fuzz_start(void) {
  FUZZ_EXPECT(comm_init(NULL, NULL, &world) == STATUS_OK);
  path = fuzz_path("weights.h5");
  FUZZ_EXPECT(small_weights_write(world, path) == STATUS_OK);
  fuzz_h5_load(path, &sound);
  FUZZ_EXPECT(try(&(fuzz_input_t){0}) == STATUS_OK);
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  fuzz_input_t input = {bytes, n};
  status_code_t status = try(&input);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA || status == STATUS_MEMORY);
  error_clear();
}
