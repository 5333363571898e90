/* Files of questions of published benchmarks: recognised and translated; what is written is read again. */
#include "fuzz.h"

#include "rollout/benchmark.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TABLE = 1, CIRCULAR = 2 };

static char images[64];
static const char *lines, *table, *output;

static void remove_images(void) {
  DIR *folder = opendir(images);
  char path[512];
  for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
    snprintf(path, sizeof path, "%s/%s", images, entry->d_name);
    unlink(path); /* not . and .. */
  }
  if (folder != NULL) closedir(folder);
}

static void remove_folder(void) {
  remove_images();
  rmdir(images);
}

void fuzz_start(void) {
  lines = fuzz_path("questions.json");
  table = fuzz_path("questions.tsv");
  output = fuzz_path("translated.jsonl");
  snprintf(images, sizeof images, "%s/llava_rlhf_fuzz_XXXXXX",
           access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
  FUZZ_EXPECT(mkdtemp(images) != NULL && atexit(remove_folder) == 0);
}

/* The translation has what prepare needs of each question and, of MMBench, its options. */
static void check_translation(benchmark_t benchmark) {
  SCOPED(json_reader_close_at) json_reader_t *reader = NULL;
  json_element_t element;
  mmbench_options_t options;
  status_code_t status = json_reader_open(output, JSON_ELEMENTS, &reader);
  if (status != STATUS_OK) return; /* no question: the file is empty */
  for (;;) {
    FUZZ_EXPECT(json_reader_next(reader, &element) == STATUS_OK);
    if (element.value == NULL) break;
    FUZZ_EXPECT(json_get(element.value, "question_id") != NULL && json_get(element.value, "text") != NULL);
    const json_t *record = json_get(element.value, "record");
    FUZZ_EXPECT(record != NULL);
    if (benchmark == BENCHMARK_MMBENCH) FUZZ_EXPECT(mmbench_options(record, "record", &options) == STATUS_OK);
  }
}

static status_t try(const char *path, bool circular) {
  benchmark_t benchmark;
  bool stored;
  TRY(benchmark_recognise(path, &benchmark));
  if (!benchmark_is_translated(benchmark)) return STATUS_OK;
  TRY(benchmark_translate(benchmark, path, output, images, circular, &stored));
  check_translation(benchmark);
  return STATUS_OK;
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  fuzz_input_t input = {bytes, n};
  const uint64_t bits = fuzz_take(&input, 1);
  const char *path = bits & TABLE ? table : lines;
  fuzz_take_file(&input, path);
  status_code_t status = try(path, (bits & CIRCULAR) != 0);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
  remove_images();
  error_clear();
}
