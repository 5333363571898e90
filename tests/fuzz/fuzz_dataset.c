/* Datasets of task prepare, changed: opened and read as tasks do. */
#include "fuzz_h5.h"

#include "base/memory.h"
#include "io/formats/dataset.h"
#include "io/formats/dataset_layout.h"
#include "io/h5_guard.h"
#include "io/small_files.h"
#include "parallel/comm.h"

enum { READ_MOST = 64 /* samples, images */ };

static const char *objects[PART_COUNT + 2] = {"/"};
static const char *const attributes[] = {"samples",        "images",  "texts",    "facts",
                                         "held_out",       "skipped", "identity", "format",
                                         "format_version", "xxh3",    "meaning",  NULL};
static fuzz_h5_t sound = {.objects = objects, .attributes = attributes};
static const char *path;

static void identity_set(void) {
  uint64_t hashes[PART_COUNT] = {0};
  for (part_t part = 0; part < PART_COUNT; part++)
    if (part_is_serial(part)) hashes[part] = fuzz_h5_hash(path, part_layout(part)->object);
  fuzz_h5_set(path, "/", "identity", dataset_identity(hashes));
}

/* Sums the bytes of TEXT, so that a sanitizer sees all of them read. */
static uint64_t sum(text_view_t text) {
  uint64_t total = 0;
  for (size_t i = 0; i < text.n; i++)
    total += (uint8_t)text.bytes[i];
  return total + (uint8_t)text.bytes[text.n];
}

static uint64_t sample_sum(const dataset_sample_t *sample) {
  uint64_t total = sum(sample->id);
  for (int32_t t = 0; t < sample->conversation.count; t++)
    total += sum(sample->conversation.turns[t].text);
  for (int32_t f = 0; f < sample->fact_count; f++)
    total += sum(sample->facts[f]);
  for (int k = 0; k < 2 && sample->paired; k++)
    total += sum(sample->outputs[k]);
  return total;
}

static void read_image(const dataset_t *dataset, int64_t i) {
  uint8_t *bytes;
  char *name;
  FUZZ_EXPECT(memory_alloc(&bytes, ARENA_OTHER, (size_t)dataset_image_size(dataset, i), 1) == STATUS_OK);
  status_code_t status = dataset_image_read(dataset, i, bytes);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
  memory_free(bytes);
  if (dataset_image_name(dataset, i, &name) == STATUS_OK) memory_free(name);
}

static volatile uint64_t total;

static void use(const dataset_t *dataset) {
  const dataset_info_t info = dataset_info(dataset);
  dataset_rows_t rows;
  for (int64_t i = 0; i < info.samples && i < READ_MOST; i++) {
    dataset_sample_t sample;
    FUZZ_EXPECT(dataset_sample_image(dataset, i) < info.images);
    if (dataset_sample_read(dataset, i, &sample) != STATUS_OK) continue;
    total += sample_sum(&sample);
    dataset_sample_free(&sample);
  }
  for (int64_t i = 0; i < info.images && i < READ_MOST; i++)
    read_image(dataset, i);
  FUZZ_EXPECT(dataset_rows(NULL, dataset, DATASET_HELD_OUT, &rows) == STATUS_OK &&
              rows.count <= info.samples);
  dataset_rows_free(&rows);
}

/* The status of opening the file that INPUT makes. */
static status_code_t try(fuzz_input_t *input) {
  dataset_t *dataset;
  if (fuzz_h5_make(&sound, path, input)) identity_set();
  status_code_t status = dataset_open(NULL, path, &dataset);
  FUZZ_EXPECT(!h5_guard_is_broken());
  if (status != STATUS_OK) return status;
  use(dataset);
  dataset_close(dataset);
  return STATUS_OK;
}

void fuzz_start(void) {
  comm_t *world;
  FUZZ_EXPECT(comm_init(NULL, NULL, &world) == STATUS_OK);
  path = fuzz_path("dataset.h5");
  for (part_t part = 0; part < PART_COUNT; part++)
    objects[part + 1] = part_layout(part)->object;
  FUZZ_EXPECT(small_dataset_write(world, path) == STATUS_OK);
  fuzz_h5_load(path, &sound);
  FUZZ_EXPECT(try(&(fuzz_input_t){0}) == STATUS_OK);
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  fuzz_input_t input = {bytes, n};
  status_code_t status = try(&input);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA || status == STATUS_MEMORY);
  error_clear();
}
