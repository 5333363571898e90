/* bench_images [-s SIZE] [-a pad|square] [-r ROUNDS] FILE...: CPU time of one thread from a file's bytes in
 * memory to what the vision tower reads. A line per file: milliseconds to decode, to preprocess, and both,
 * the least of ROUNDS. */
#include "io/file.h"
#include "io/image_decode.h"

#include "base/memory.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 1 << 28 };

typedef struct {
  image_aspect_t aspect;
  int size, rounds;
  float *pixels;
} bench_images_bench_t;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static status_t round_run(const bench_images_bench_t *bench, const char *path, const uint8_t *bytes, size_t n,
                          double least[3]) {
  image_t image;
  const double start = now();
  TRY(image_decode(bytes, n, path, &image));
  const double decoded = now();
  status_code_t status = image_preprocess(&image, bench->aspect, PIXELS_CLIP, bench->size, bench->pixels);
  image_free(&image);
  const double end = now();
  const double found[3] = {decoded - start, end - decoded, end - start};
  for (int k = 0; k < 3; k++)
    if (found[k] < least[k]) least[k] = found[k];
  return status;
}

static status_t file_run(const bench_images_bench_t *bench, const char *path) {
  double least[3] = {DBL_MAX, DBL_MAX, DBL_MAX};
  uint8_t *bytes;
  size_t n;
  TRY(file_read(path, FILE_MAX_BYTES, (char **)&bytes, &n));
  status_code_t status = STATUS_OK;
  for (int r = 0; r < bench->rounds && status == STATUS_OK; r++)
    status = round_run(bench, path, bytes, n, least);
  memory_free(bytes);
  if (status == STATUS_OK) printf("%.4f %.4f %.4f %s\n", least[0], least[1], least[2], path);
  return status;
}

static status_t run(bench_images_bench_t *bench, int files, char **paths) {
  TRY(memory_alloc(&bench->pixels, ARENA_FEATURES, 3 * (size_t)bench->size * (size_t)bench->size,
                   sizeof *bench->pixels));
  for (int i = 0; i < files; i++)
    TRY(file_run(bench, paths[i]));
  memory_free(bench->pixels);
  return STATUS_OK;
}

int main(int argc, char **argv) {
  bench_images_bench_t bench = {.size = 224, .rounds = 20};
  for (int option; (option = getopt(argc, argv, "s:a:r:")) != -1;) {
    if (option == 's') bench.size = atoi(optarg);
    if (option == 'a') bench.aspect = strcmp(optarg, "square") == 0 ? IMAGE_SQUARE : IMAGE_PAD;
    if (option == 'r') bench.rounds = atoi(optarg);
    if (option == '?') return 2;
  }
  memory_keep_freed();
  status_code_t status = run(&bench, argc - optind, argv + optind);
  if (status != STATUS_OK) fprintf(stderr, "%s\n", error_message());
  return status_exit(status);
}
