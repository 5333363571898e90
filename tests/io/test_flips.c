/* One flipped bit, wherever it is in a file, is found or does not matter: the file is refused with its name,
 * or its contents are what they were. Nothing crashes or goes on for ever. */
#define _GNU_SOURCE
#include "io/formats/dataset.h"
#include "io/formats/rollout_file.h"
#include "io/formats/scores_file.h"
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

static status_t rollout_digest(const char *path, uint64_t *digest) {
  rollout_file_t rollout;
  rollout_info_t info;
  TRY(rollout_file_read(path, 0, -1, &info, &rollout));
  const int64_t numbers[] = {info.step, rollout.samples, rollout.fact_width};
  const size_t n = (size_t)rollout.samples;
  const size_t query = (size_t)rollout.query_offsets[n], response = (size_t)rollout.response_offsets[n];
  *digest = mix(mix(*digest, numbers, sizeof numbers), info.settings, strlen(info.settings));
  *digest = mix(mix(*digest, rollout.query_tokens, 4 * query), rollout.response_tokens, 4 * response);
  for (int k = 0; k < ROLLOUT_TOKEN_COUNT; ++k)
    *digest = mix(*digest, rollout.token[k], 4 * response);
  *digest = mix(mix(*digest, rollout.reward, 4 * n), rollout.stopped, n);
  *digest = mix(*digest, rollout.response_text, (size_t)rollout.response_text_offsets[n]);
  rollout_file_free(&rollout);
  rollout_info_free(&info);
  return STATUS_OK;
}

static status_t scores_digest(const char *path, uint64_t *digest) {
  scores_file_t scores;
  scores_info_t info;
  TRY(scores_info_read(path, &info));
  *digest = mix(mix(*digest, info.model, strlen(info.model)), &info.dataset_identity, sizeof(uint64_t));
  scores_info_free(&info);
  TRY(scores_file_read(path, 0, -1, &scores));
  const size_t n = (size_t)scores.samples, tokens = (size_t)scores.offsets[n];
  *digest = mix(mix(mix(*digest, scores.tokens, 4 * tokens), scores.logprob, 4 * tokens), scores.id, 8 * n);
  *digest = mix(*digest, scores.names, (size_t)scores.name_offsets[n]);
  if (scores.has_reward) *digest = mix(*digest, scores.reward, 4 * n);
  scores_file_free(&scores);
  return STATUS_OK;
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

/* Bytes of a file that are not 0: those are mostly room that nothing uses. */
static int64_t bytes_used(int descriptor) {
  unsigned char bytes[4096];
  int64_t used = 0, at = 0;
  for (ssize_t n; (n = pread(descriptor, bytes, sizeof bytes, at)) > 0; at += n)
    for (ssize_t i = 0; i < n; ++i)
      used += bytes[i] != 0;
  return used;
}

typedef struct {
  const char *path;
  digest_t digest;
  uint64_t expected;
  int descriptor; /* on PATH */
  int64_t refused;
} flipping_t;

/* Flips a bit of byte AT, which is BYTE, and back. */
static void flip(flipping_t *file, int64_t at, unsigned char byte) {
  const unsigned char flipped = (unsigned char)(byte ^ 1u << at % 8);
  assert_int_equal(pwrite(file->descriptor, &flipped, 1, at), 1);
  int outcome = child_outcome(file->digest, file->path, file->expected);
  if (outcome != 0 && outcome != status_exit(STATUS_DATA))
    fail_msg("byte %lld ^ %u: outcome %d", (long long)at, 1u << at % 8, outcome);
  file->refused += outcome != 0;
  assert_int_equal(pwrite(file->descriptor, &byte, 1, at), 1);
}

/* Half of the flips anywhere, half of them in bytes that are not 0. */
static void flip_all(flipping_t *file, int64_t size) {
  for (int used = 0; used < 2; ++used) {
    int64_t count = used ? bytes_used(file->descriptor) : size, stride = count / (FLIPS / 2) | 1, left = 0;
    for (int64_t at = 0; at < size; ++at) {
      unsigned char byte;
      assert_int_equal(pread(file->descriptor, &byte, 1, at), 1);
      if ((used && byte == 0) || left-- > 0) continue;
      left = stride - 1;
      flip(file, at, byte);
    }
  }
}

static void flips_are_found(status_t (*write)(comm_t *comm, const char *path), digest_t digest) {
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  flipping_t file = {.path = path, .digest = digest};
  io_test_folder(folder);
  io_test_path(path, folder, "x.h5");
  assert_ok(write(mpi_test_world(), path));
  assert_ok(digest(path, &file.expected));
  file.descriptor = open(path, O_RDWR);
  flip_all(&file, io_test_size(path));
  close(file.descriptor);
  assert_true(file.refused > FLIPS / 3); /* others hit room that nothing uses */
  assert_int_equal(child_outcome(digest, path, file.expected), 0);
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

static void flips_in_rollouts_are_found(void **state) {
  (void)state;
  flips_are_found(small_rollout_write, rollout_digest);
}

static void flips_in_scores_are_found(void **state) {
  (void)state;
  flips_are_found(small_scores_write, scores_digest);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(flips_in_weights_are_found),
      cmocka_unit_test(flips_in_datasets_are_found),
      cmocka_unit_test(flips_in_rollouts_are_found),
      cmocka_unit_test(flips_in_scores_are_found),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
