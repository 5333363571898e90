/* One flipped bit, wherever it is in a file, is found or does not matter: the file is refused with its name,
 * or its contents are what they were. Nothing crashes or goes on for ever. */
#define _GNU_SOURCE
#include "io/formats/dataset.h"
#include "io/h5_core.h"
#include "io_test.h"
#include "small_files.h"

#include "base/memory.h"

#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

enum { FLIPS = 250, SECONDS = 60 /* for one of them */ };

static uint64_t mix(uint64_t digest, const void *bytes, size_t n) {
  return XXH3_64bits_withSeed(bytes, n, digest);
}

/* ---- What a file holds, read by one rank alone ---- */

static status_t tensor_digest(h5_file_t *file, const char *path, uint64_t *digest) {
  h5_type_t type;
  int ndim;
  int64_t shape[H5_MAX_DIMS], count;
  char bytes[4096], *meaning;
  uint64_t hash;
  TRY(h5_dataset_info(file, path, &type, &ndim, shape));
  TRY(h5_attr_count(file, path, "xxh3", &count));
  TRY(h5_attr_read_u64(file, path, "xxh3", &hash, 1));
  int64_t elements = shape[0] * shape[1] * shape[2] * shape[3];
  if (elements * (int64_t)h5_type_size(type) > (int64_t)sizeof bytes)
    return error_set(STATUS_DATA, "%s: %s is too large", h5_path(file), path);
  TRY(h5_read_range(file, path, type, 0, elements, bytes));
  if (XXH3_64bits(bytes, (size_t)elements * h5_type_size(type)) != hash)
    return error_set(STATUS_DATA, "%s: %s has another hash", h5_path(file), path);
  TRY(h5_attr_read_text(file, path, "meaning", &meaning));
  *digest = mix(mix(mix(mix(*digest, path, strlen(path)), shape, sizeof shape), meaning, strlen(meaning)),
                &hash, sizeof hash);
  memory_free(meaning);
  return STATUS_OK;
}

static status_t weights_contents(h5_file_t *file, uint64_t *digest) {
  char **paths, *text;
  int64_t count;
  TRY(weights_read_text(file, "/weights", "config", &text, NULL));
  *digest = mix(*digest, text, strlen(text));
  memory_free(text);
  TRY(h5_list(file, "/", &paths, &count));
  status_code_t status = STATUS_OK;
  for (int64_t i = 0; i < count && status == STATUS_OK; ++i)
    status = tensor_digest(file, paths[i], digest);
  memory_free(paths);
  return status;
}

static status_t weights_digest(const char *path, uint64_t *digest) {
  h5_file_t *file;
  TRY(h5_open(path, H5_READ, &small_weights_format, &file));
  return h5_end(file, weights_contents(file, digest));
}

static status_t dataset_contents(const dataset_t *dataset, uint64_t *digest) {
  const dataset_info_t info = dataset_info(dataset);
  *digest = mix(*digest, &info, sizeof info);
  for (int64_t i = 0; i < info.samples; ++i) {
    dataset_sample_t sample;
    TRY(dataset_sample_read(dataset, i, &sample));
    const int64_t numbers[] = {sample.image, sample.preference, sample.caption_type, sample.fact,
                               sample.fact_count};
    *digest = mix(*digest, numbers, sizeof numbers);
    for (int32_t t = 0; t < sample.conversation.count; ++t)
      *digest = mix(*digest, sample.conversation.turns[t].text.bytes, sample.conversation.turns[t].text.n);
    for (int32_t f = 0; f < sample.fact_count; ++f)
      *digest = mix(*digest, sample.facts[f].bytes, sample.facts[f].n);
    dataset_sample_free(&sample);
  }
  for (int64_t i = 0; i < info.images; ++i) {
    uint8_t bytes[256];
    if (dataset_image_size(dataset, i) > (int64_t)sizeof bytes)
      return error_set(STATUS_DATA, "%s: an image is too large", dataset_path(dataset));
    TRY(dataset_image_read(dataset, i, bytes));
    *digest = mix(*digest, bytes, (size_t)dataset_image_size(dataset, i));
  }
  return STATUS_OK;
}

static status_t dataset_digest(const char *path, uint64_t *digest) {
  dataset_t *dataset;
  TRY(dataset_open(NULL, path, &dataset));
  status_code_t status = dataset_contents(dataset, digest);
  dataset_close(dataset);
  return status;
}

/* ---- Flips ---- */

typedef status_t (*digest_t)(const char *path, uint64_t *digest);

/* In a process of its own: 0 where the contents are EXPECTED, 3 where the file was refused by name. */
static int child_outcome(digest_t digest, const char *path, uint64_t expected) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    uint64_t found = 0;
    alarm(SECONDS);
    h5_guard_set_limit(SECONDS / 4);
    status_code_t status = digest(path, &found);
    if (status == STATUS_OK) _exit(found == expected ? 0 : 100);
    _exit(strstr(error_message(), path) ? status_exit(status) : 101);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status);
}

static void flips_are_found(status_t (*write)(comm_t *comm, const char *path), digest_t digest) {
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  uint64_t expected = 0;
  int64_t refused = 0;
  io_test_folder(folder);
  io_test_path(path, folder, "x.h5");
  assert_ok(write(mpi_test_world(), path));
  assert_ok(digest(path, &expected));
  int64_t bits = 8 * io_test_size(path), stride = bits / FLIPS | 1;
  int descriptor = open(path, O_RDWR);
  for (int64_t bit = 0; bit < bits; bit += stride) {
    unsigned char byte, flipped;
    assert_int_equal(pread(descriptor, &byte, 1, bit / 8), 1);
    flipped = (unsigned char)(byte ^ 1u << bit % 8);
    assert_int_equal(pwrite(descriptor, &flipped, 1, bit / 8), 1);
    int outcome = child_outcome(digest, path, expected);
    if (outcome != 0 && outcome != status_exit(STATUS_DATA))
      fail_msg("byte %lld ^ %u: outcome %d", (long long)bit / 8, 1u << bit % 8, outcome);
    refused += outcome != 0;
    assert_int_equal(pwrite(descriptor, &byte, 1, bit / 8), 1);
  }
  close(descriptor);
  assert_true(refused > FLIPS / 4); /* the rest hit room that nothing uses */
  assert_int_equal(child_outcome(digest, path, expected), 0);
  io_test_remove(folder);
}

static void flips_in_weights_are_found(void **state) {
  (void)state;
  flips_are_found(small_weights_write, weights_digest);
}

static void flips_in_datasets_are_found(void **state) {
  (void)state;
  flips_are_found(small_dataset_write, dataset_digest);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(flips_in_weights_are_found),
      cmocka_unit_test(flips_in_datasets_are_found),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
