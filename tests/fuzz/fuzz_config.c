/* Configurations of published models: config.json and preprocessor_config.json of a language model or a
 * LLaVA, then config.json of a tower, and adapter_config.json. */
#include "fuzz.h"

#include "convert/config_read.h"
#include "convert/peft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {"config.json", "preprocessor_config.json", "adapter_config.json"};
enum { FILES = sizeof names / sizeof *names };
static char folder[64], tower_folder[64], paths[FILES + 1][128];

static tensor_files_t *weights; /* of an adapter: one tensor */

static void weights_make(void) {
  static const char header[] = "{\"q_proj\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
  uint8_t file[8 + sizeof header - 1 + 4] = {sizeof header - 1};
  memcpy(file + 8, header, sizeof header - 1);
  const char *path = fuzz_path("adapter_model.safetensors");
  fuzz_write(path, file, sizeof file);
  FUZZ_EXPECT(tensor_files_open(path, &weights) == STATUS_OK);
}

static void remove_folders(void) {
  for (int i = 0; i <= FILES; i++)
    unlink(paths[i]);
  rmdir(folder);
  rmdir(tower_folder);
}

static void folder_make(char path[64]) {
  snprintf(path, 64, "%s/llava_rlhf_fuzz_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
  FUZZ_EXPECT(mkdtemp(path) != NULL);
}

void fuzz_start(void) {
  folder_make(folder);
  folder_make(tower_folder);
  for (int i = 0; i < FILES; i++)
    snprintf(paths[i], sizeof paths[i], "%s/%s", folder, names[i]);
  snprintf(paths[FILES], sizeof paths[FILES], "%s/config.json", tower_folder);
  FUZZ_EXPECT(atexit(remove_folders) == 0);
  weights_make();
}

/* False where the file is empty, which stands for none. */
static bool take_file(fuzz_input_t *input, const char *path) {
  const bool there = input->left > 0 && *input->bytes != FUZZ_NEXT_FILE;
  fuzz_take_file(input, path);
  return there;
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  fuzz_input_t input = {bytes, n};
  published_config_t config;
  adapter_config_t adapter;
  char base[PEFT_BASE_MAX];
  for (int i = 0; i <= FILES; i++)
    if (!take_file(&input, paths[i])) unlink(paths[i]);
  status_code_t status = config_read(folder, &config);
  if (status == STATUS_OK && access(paths[FILES], R_OK) == 0)
    status = config_read_tower(tower_folder, &config);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
  if (status == STATUS_OK) status = config_check(&config.model);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA || status == STATUS_INPUT);
  if (status == STATUS_OK) FUZZ_EXPECT(config_decoder_weights(&config.model) > 0);
  status = peft_read(folder, weights, 1, &adapter, base);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
  error_clear();
}
