#include "fuzz.h"

#include "base/log.h"
#include "base/memory.h"

#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libFuzzer's two ends. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  log_set_level(LOG_ERROR);
  __lsan_disable(); /* what lives to the end, MPI's memory too */
  fuzz_start();
  __lsan_enable();
  return 0;
}

/* Bytes of all arenas together: what LeakSanitizer cannot tell of while MPI's threads run. */
static size_t memory_in_use(void) {
  size_t bytes = 0;
  for (arena_t arena = 0; arena < ARENA_COUNT; arena++)
    bytes += memory_usage(arena).current;
  return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  size_t before = memory_in_use();
  fuzz_one(bytes, n);
  FUZZ_EXPECT(memory_in_use() == before);
  return 0;
}

void fuzz_fail(const char *condition, const char *file, int line) {
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
  abort();
}

/* ---- Files ---- */

enum { PATHS_MOST = 16, PATH_BYTES = 128 };
static char paths[PATHS_MOST][PATH_BYTES];
static int path_count;

static void remove_paths(void) {
  for (int i = 0; i < path_count; i++)
    unlink(paths[i]);
}

const char *fuzz_path(const char *name) {
  const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  FUZZ_EXPECT(path_count < PATHS_MOST);
  if (path_count == 0) FUZZ_EXPECT(atexit(remove_paths) == 0);
  snprintf(paths[path_count], PATH_BYTES, "%s/llava_rlhf_fuzz_%d_%s", folder, (int)getpid(), name);
  return paths[path_count++];
}

void fuzz_write(const char *path, const void *bytes, size_t n) {
  FILE *file = fopen(path, "wb");
  FUZZ_EXPECT(file != NULL);
  FUZZ_EXPECT(n == 0 || fwrite(bytes, 1, n, file) == n);
  FUZZ_EXPECT(fclose(file) == 0);
}

/* ---- Inputs ---- */

uint64_t fuzz_take(fuzz_input_t *input, size_t bytes) {
  uint64_t number = 0;
  if (bytes > input->left) bytes = input->left;
  for (size_t i = 0; i < bytes; i++)
    number |= (uint64_t)input->bytes[i] << 8 * i;
  if (bytes > 0) input->bytes += bytes;
  input->left -= bytes;
  return number;
}

size_t fuzz_choose(fuzz_input_t *input, size_t limit) {
  return (size_t)fuzz_take(input, limit <= 256 ? 1 : 2) % limit;
}

void fuzz_take_file(fuzz_input_t *input, const char *path) {
  const uint8_t *end = input->left > 0 ? memchr(input->bytes, FUZZ_NEXT_FILE, input->left) : NULL;
  size_t n = end != NULL ? (size_t)(end - input->bytes) : input->left;
  fuzz_write(path, input->bytes, n);
  if (end != NULL) n++;
  if (n > 0) input->bytes += n;
  input->left -= n;
}
