/* A disk that fails: call number k of one rank gives an error, is interrupted, or does a part of its work,
 * for every k. After an error all ranks have it, with the file's name and the reason, and no half file is
 * left; after the rest the file is what it always is. Linked with --wrap, so that the calls of io/ come by
 * here. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "base/memory.h"
#include "io/formats/dataset.h"
#include "io/formats/journal.h"
#include "io/formats/kept.h"
#include "io/formats/weights.h"
#include "io/tensors/safetensors_writer.h"
#include "io/tensors/tensor_file.h"
#include "io_test.h"
#include "small_files.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

/* ---- The calls ---- */

typedef enum {
  FAULT_ERROR, /* of one call: EIO where its number is odd, else ENOSPC */
  FAULT_EINTR, /* of every second call, so that each is made again once */
  FAULT_SHORT, /* the same */
  FAULT_COUNT
} fault_t;

static struct {
  int64_t calls, at; /* AT 0: none fails */
  fault_t fault;
} plan;

static int error_of(int64_t call) {
  return call % 2 == 1 ? EIO : ENOSPC;
}

/* What the next call comes to: 0 goes on, -1 fails with errno set, 1 does a part. */
static int next_call(void) {
  plan.calls++;
  if (plan.at == 0 || (plan.fault == FAULT_ERROR ? plan.calls != plan.at : plan.calls % 2 == 0)) return 0;
  errno = plan.fault == FAULT_EINTR ? EINTR : error_of(plan.at);
  return plan.fault == FAULT_SHORT ? 1 : -1;
}

/* Declares the real function and defines the one in its place. PART: its arguments for a part of the work. */
#define WRAP(type, name, parameters, whole, part)                                                            \
  type __real_##name parameters;                                                                             \
  type __wrap_##name parameters;                                                                             \
  type __wrap_##name parameters {                                                                            \
    int next = next_call();                                                                                  \
    if (next < 0) return -1;                                                                                 \
    return next == 0 ? __real_##name whole : __real_##name part;                                             \
  }
WRAP(ssize_t, write, (int fd, const void *bytes, size_t n), (fd, bytes, n), (fd, bytes, (n + 1) / 2))
WRAP(ssize_t, pwrite, (int fd, const void *bytes, size_t n, off_t at), (fd, bytes, n, at),
     (fd, bytes, (n + 1) / 2, at))
WRAP(ssize_t, pread, (int fd, void *bytes, size_t n, off_t at), (fd, bytes, n, at),
     (fd, bytes, (n + 1) / 2, at))
WRAP(int, fsync, (int fd), (fd), (fd))
WRAP(int, ftruncate, (int fd, off_t n), (fd, n), (fd, n))
WRAP(int, rename, (const char *from, const char *to), (from, to), (from, to))

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  int mode = flags & O_CREAT ? va_arg(arguments, int) : 0;
  va_end(arguments);
  return next_call() < 0 ? -1 : __real_open(path, flags, mode);
}

/* ---- Every call of every rank ---- */

/* Does WORK with PATH while call AT of RANK comes to FAULT. *FIRED: there was such a call. */
typedef status_t (*work_t)(comm_t *comm, const char *path);
static status_code_t work_do(work_t work, const char *path, int rank, int64_t at, fault_t fault,
                             bool *fired) {
  comm_t *world = mpi_test_world();
  plan.calls = 0;
  plan.fault = fault;
  plan.at = comm_rank(world) == rank ? at : 0;
  status_code_t status = work(world, path);
  bool mine = plan.at > 0 && plan.calls >= at;
  plan.at = 0;
  int64_t statuses[2] = {status, -(int64_t)status};
  assert_ok(comm_any(world, mine, fired));
  assert_ok(comm_allreduce(world, statuses, 2, COMM_I64, COMM_MAX));
  assert_int_equal(statuses[0], -statuses[1]); /* all ranks came to the same */
  return status;
}

/* The error of a fault, as all ranks see it. */
static void error_check(status_code_t status, const char *folder, int64_t call) {
  const char *reason = strerror(error_of(call));
  if (!strstr(error_message(), reason)) fail_msg("'%s' does not say '%s'", error_message(), reason);
  assert_error_about(status, STATUS_DATA, folder);
}

typedef struct {
  char *bytes;
  size_t n;
} contents_t;

static contents_t contents_read(const char *path) {
  contents_t contents;
  assert_ok(file_read(path, 1 << 24, &contents.bytes, &contents.n));
  return contents;
}

static void same_contents(const char *path, const contents_t *expected) {
  contents_t found = contents_read(path);
  assert_int_equal(found.n, expected->n);
  assert_memory_equal(found.bytes, expected->bytes, found.n);
  memory_free(found.bytes);
}

static void writing_survives(work_t work, const char *name) {
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], partial[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  bool fired;
  io_test_folder(folder);
  io_test_path(path, folder, name);
  assert_ok(file_partial(partial, path));
  assert_ok(work(world, path));
  contents_t expected = contents_read(path);
  for (int rank = 0; rank < comm_size(world); ++rank) {
    for (fault_t fault = 0; fault < FAULT_COUNT; ++fault) {
      fired = true;
      for (int64_t at = 1; fired && (at == 1 || fault == FAULT_ERROR); ++at) {
        assert_ok(comm_barrier(world));
        if (comm_rank(world) == 0) unlink(path);
        assert_ok(comm_barrier(world));
        status_code_t status = work_do(work, path, rank, at, fault, &fired);
        bool fails = fired && fault == FAULT_ERROR;
        if (fails) error_check(status, folder, at);
        if (!fails) assert_ok(status);
        assert_false(file_exists(partial));
        /* It may have failed at the very last: when the name was there, but not certain to last. */
        if (!fails || file_exists(path)) same_contents(path, &expected);
      }
    }
  }
  memory_free(expected.bytes);
  io_test_remove(folder);
}

static void weights_survive(void **state) {
  (void)state;
  writing_survives(small_weights_write, "x.h5");
}

/* One tensor that a thread writes. */
static status_t behind_write(comm_t *comm, const char *path, bool cached) {
  enum { ROWS = 300, COLS = 1000 };
  static float values[ROWS * COLS];
  static const h5_format_t format = {"test_behind", 1, "make it again"};
  const weights_spec_t spec = {.format = &format, .disk.cached = cached};
  const weights_item_t item = {.path = "/weights/a",
                               .ndim = 2,
                               .shape = {ROWS, COLS},
                               .dtype = DTYPE_F32,
                               .rows = ROWS,
                               .cols = COLS,
                               .row_count = ROWS,
                               .col_count = COLS,
                               .data = values,
                               .mine = comm_rank(comm) == 0};
  return weights_write(comm, path, &spec, &item, 1);
}

static status_t direct_write(comm_t *comm, const char *path) {
  return behind_write(comm, path, false);
}

static status_t cached_write(comm_t *comm, const char *path) {
  return behind_write(comm, path, true);
}

static void large_weights_survive(void **state) {
  (void)state;
  writing_survives(direct_write, "x.h5");
  writing_survives(cached_write, "x.h5");
}

static void datasets_survive(void **state) {
  (void)state;
  writing_survives(small_dataset_write, "x.h5");
}

static void rollouts_survive(void **state) {
  (void)state;
  writing_survives(small_rollout_write, "x.h5");
}

static void scores_survive(void **state) {
  (void)state;
  writing_survives(small_scores_write, "x.h5");
}

/* Writes x.safetensors, or shards of it, to the folder of PATH: each rank a half of each tensor. */
static status_t tensors_fill(comm_t *comm, safetensors_writer_t *writer) {
  const float values[4] = {1, 2, 3, 4};
  for (int64_t i = 0; i < 2; i++)
    TRY(safetensors_write_f32(writer, i, 4 * comm_rank(comm), 4, values));
  return STATUS_OK;
}

static status_t tensors_write(comm_t *comm, const char *path, int64_t shard_bytes) {
  char folder[FILE_MAX_PATH];
  safetensors_writer_t *writer;
  const int64_t n = 4 * comm_size(comm);
  const tensor_spec_t specs[] = {{"a", TENSOR_F32, 1, {n}}, {"b", TENSOR_BF16, 1, {n}}};
  snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
  TRY(safetensors_create(comm, folder, "x", specs, 2, shard_bytes, &writer));
  return safetensors_finish(writer, tensors_fill(comm, writer));
}

static status_t one_file_write(comm_t *comm, const char *path) {
  return tensors_write(comm, path, 0);
}

static status_t shards_write(comm_t *comm, const char *path) {
  return tensors_write(comm, path, 1);
}

static void tensors_survive(void **state) {
  (void)state;
  writing_survives(one_file_write, "x.safetensors");
  writing_survives(shards_write, "x.safetensors.index.json");
}

/* ---- Reading ---- */

static status_t tensors_read(const tensor_files_t *files) {
  float values[16];
  for (int64_t i = 0; i < tensor_files_count(files); i++) {
    const tensor_entry_t *entry = tensor_files_at(files, i);
    TRY(tensor_files_read_f32(files, entry, 0, entry->elements < 16 ? entry->elements : 16, values));
    for (int k = 0; k < 4; k++)
      if (values[k] != (float)(k + 1)) return error_set(STATUS_INTERNAL, "%s: another value", entry->name);
  }
  return STATUS_OK;
}

static status_t tensors_use(comm_t *comm, const char *path) {
  tensor_files_t *files;
  status_code_t status = tensor_files_open(path, &files);
  if (status == STATUS_OK) status = tensors_read(files);
  tensor_files_close(files);
  return comm_agree(comm, status);
}

static status_t weights_use(comm_t *comm, const char *path) {
  weights_file_t *file;
  TRY(weights_open(comm, path, &small_weights_format, &file));
  status_code_t status = weights_verify(file);
  weights_close(file);
  return status;
}

static status_t sample_use(const dataset_t *dataset, int64_t i) {
  dataset_sample_t sample;
  uint8_t bytes[64];
  TRY(dataset_image_read(dataset, dataset_sample_image(dataset, i), bytes));
  TRY(dataset_sample_read(dataset, i, &sample));
  status_code_t status = sample.id.n == 2 ? STATUS_OK : STATUS_INTERNAL;
  dataset_sample_free(&sample);
  return status;
}

static status_t dataset_use(comm_t *comm, const char *path) {
  dataset_t *dataset;
  TRY(dataset_open(comm, path, &dataset));
  status_code_t status = STATUS_OK;
  for (int64_t i = 0; i < dataset_info(dataset).samples && status == STATUS_OK; ++i)
    status = sample_use(dataset, i);
  dataset_close(dataset);
  return comm_agree(comm, status);
}

static void reading_survives(work_t write, work_t use, const char *name) {
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  bool fired;
  io_test_folder(folder);
  io_test_path(path, folder, name);
  assert_ok(write(world, path));
  for (int rank = 0; rank < comm_size(world); ++rank) {
    for (fault_t fault = 0; fault < FAULT_COUNT; ++fault) {
      fired = true;
      for (int64_t at = 1; fired && (at == 1 || fault == FAULT_ERROR); ++at) {
        status_code_t status = work_do(use, path, rank, at, fault, &fired);
        bool fails = fired && fault == FAULT_ERROR;
        if (fails) error_check(status, folder, at);
        if (!fails) assert_ok(status);
      }
    }
  }
  io_test_remove(folder);
}

static void readers_survive(void **state) {
  (void)state;
  reading_survives(small_weights_write, weights_use, "x.h5");
  reading_survives(small_dataset_write, dataset_use, "x.h5");
  reading_survives(one_file_write, tensors_use, "x.safetensors");
  reading_survives(shards_write, tensors_use, "x.safetensors.index.json");
}

/* ---- Plain files ---- */

static status_t text_replace(comm_t *comm, const char *path) {
  return comm_agree(comm, comm_rank(comm) == 0 ? file_replace(path, "all of it", 9) : STATUS_OK);
}

static status_t line_append(const char *path) {
  journal_t journal = {.descriptor = -1};
  snprintf(journal.path, sizeof journal.path, "%s", path);
  status_code_t status = journal_append(&journal, "a line\n", 7);
  journal_close(&journal);
  if (status != STATUS_OK) unlink(path);
  return status;
}

static status_t text_append(comm_t *comm, const char *path) {
  return comm_agree(comm, comm_rank(comm) == 0 ? line_append(path) : STATUS_OK);
}

static status_t stream_fill(FILE *stream, const char *path) {
  fputs("a line\n", stream);
  errno = 0;
  if (fclose(stream) == 0) return STATUS_OK;
  int problem = errno;
  unlink(path);
  return error_set(STATUS_DATA, "%s: %s", path, strerror(problem));
}

static status_t text_stream(comm_t *comm, const char *path) {
  FILE *stream = NULL;
  status_code_t status = comm_rank(comm) == 0 ? file_stream(path, false, &stream) : STATUS_OK;
  if (stream) status = stream_fill(stream, path);
  return comm_agree(comm, status);
}

static void plain_files_survive(void **state) {
  (void)state;
  writing_survives(text_replace, "x.h5");
  writing_survives(text_append, "x.h5");
  writing_survives(text_stream, "x.h5");
}

/* ---- Finished samples ---- */

enum { KEPT_SAMPLES = 6 };

static status_t kept_start(comm_t *comm, const char *path, kept_t **kept) {
  const kept_options_t options = {
      .path = path, .identity = "a = 1\n", .what = "samples", .readers = comm, .writes = true};
  return kept_open(comm, &options, kept);
}

/* The numbers 0 .. KEPT_SAMPLES - 1 in turn. */
static status_t kept_write_all(comm_t *comm, const char *path) {
  kept_t *kept;
  TRY(kept_start(comm, path, &kept));
  for (int64_t key = 0; key < KEPT_SAMPLES; key++)
    if (key % comm_size(comm) == comm_rank(comm)) kept_append(kept, key, &key, sizeof key);
  kept_close(kept);
  return STATUS_OK;
}

/* What is there is right; KEPT_READ_COUNT of them. */
static int64_t kept_read_count;
static status_t kept_read_all(comm_t *comm, const char *path) {
  SCOPED(kept_loaded_free) kept_loaded_t loaded = {0};
  int64_t keys[KEPT_SAMPLES];
  kept_t *kept;
  for (int64_t key = 0; key < KEPT_SAMPLES; key++)
    keys[key] = key;
  TRY(kept_start(comm, path, &kept));
  status_code_t status = kept_load(kept, keys, KEPT_SAMPLES, &loaded);
  kept_read_count = 0;
  for (int64_t key = 0; key < KEPT_SAMPLES && status == STATUS_OK; key++) {
    kept_read_count += loaded.there[key];
    if (!loaded.there[key] || loaded.holder[key] != comm_rank(comm)) continue;
    assert_int_equal(loaded.items[key].size, sizeof key);
    assert_memory_equal(loaded.items[key].bytes, &key, sizeof key);
  }
  kept_close(kept);
  return status;
}

static void kept_forget(const char *path) {
  kept_t *kept;
  assert_ok(kept_start(mpi_test_world(), path, &kept));
  assert_ok(kept_remove(&kept));
}

/* A disk that refuses a sample fails no task: those written before are there, whole, and interrupted calls
 * and half ones lose none. */
static void kept_samples_survive(void **state) {
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  (void)state;
  io_test_folder(folder);
  io_test_path(path, folder, "x");
  log_set_level(LOG_ERROR);
  for (int fault = 0; fault < FAULT_COUNT; fault++)
    for (int rank = 0; rank < comm_size(mpi_test_world()); rank++)
      for (int64_t at = 1, fired = 1; fired && (fault == FAULT_ERROR || at == 1); at++) {
        bool there;
        assert_int_equal(work_do(kept_write_all, path, rank, at, (fault_t)fault, &there), STATUS_OK);
        fired = there;
        assert_ok(kept_read_all(mpi_test_world(), path));
        assert_in_range(kept_read_count, there && fault == FAULT_ERROR ? KEPT_SAMPLES / 2 : KEPT_SAMPLES,
                        KEPT_SAMPLES);
        kept_forget(path);
      }
  assert_ok(kept_write_all(mpi_test_world(), path));
  for (int fault = 0; fault < FAULT_COUNT; fault++)
    for (int64_t at = 1, fired = 1; fired && (fault == FAULT_ERROR || at == 1); at++) {
      bool there;
      assert_int_equal(work_do(kept_read_all, path, 0, at, (fault_t)fault, &there), STATUS_OK);
      fired = there;
      if (!there || fault != FAULT_ERROR) assert_int_equal(kept_read_count, KEPT_SAMPLES);
    }
  log_set_level(LOG_INFO);
  io_test_remove(folder);
}

int main(int argc, char **argv) {
  bool alone = getenv("HOSTS_PLACES") == NULL; /* no other host (tests/hosts) has part in the files */
  if (alone && access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1); /* thousands of small files */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(weights_survive),      cmocka_unit_test(large_weights_survive),
      cmocka_unit_test(datasets_survive),     cmocka_unit_test(rollouts_survive),
      cmocka_unit_test(scores_survive),       cmocka_unit_test(readers_survive),
      cmocka_unit_test(plain_files_survive),  cmocka_unit_test(tensors_survive),
      cmocka_unit_test(kept_samples_survive),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
