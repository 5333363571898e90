#include "base/memory.h"
#include "io/weights.h"

#include <xxhash.h>

static int64_t block_count(int64_t n) {
  return (n + WEIGHTS_BLOCK_BYTES - 1) / WEIGHTS_BLOCK_BYTES;
}

static uint64_t block_hash(const char *bytes, int64_t n, int64_t block) {
  int64_t begin = block * WEIGHTS_BLOCK_BYTES;
  int64_t size = n - begin < WEIGHTS_BLOCK_BYTES ? n - begin : WEIGHTS_BLOCK_BYTES;
  return XXH3_64bits(bytes + begin, (size_t)size);
}

status_t weights_write_bytes(h5_file_t *file, const char *object, const char *meaning, const void *bytes,
                             int64_t n) {
  int64_t blocks = block_count(n);
  uint64_t *hashes;
  TRY(h5_write_bytes(file, object, bytes, n));
  TRY(h5_attr_write_text(file, object, "meaning", meaning));
  if (blocks == 0) return STATUS_OK;
  TRY(memory_alloc(&hashes, ARENA_IO, (size_t)blocks, sizeof *hashes));
  for (int64_t b = 0; b < blocks; ++b)
    hashes[b] = block_hash(bytes, n, b);
  status_code_t status = h5_attr_write_u64(file, object, "xxh3", hashes, blocks);
  memory_free(hashes);
  return status;
}

static status_t bytes_check(h5_file_t *file, const char *object, const char *bytes, int64_t n) {
  int64_t found, blocks = block_count(n);
  uint64_t *hashes;
  TRY(h5_attr_count(file, object, "xxh3", &found));
  /* Older files hash their tensors alone. */
  if (found == 0) return STATUS_OK;
  if (found != blocks)
    return error_set(STATUS_DATA,
                     "%s: attribute xxh3 of %s has %lld hashes, expected %lld (one for each 16 MiB)",
                     h5_path(file), object, (long long)found, (long long)blocks);
  TRY(memory_alloc(&hashes, ARENA_IO, (size_t)blocks, sizeof *hashes));
  status_code_t status = h5_attr_read_u64(file, object, "xxh3", hashes, blocks);
  for (int64_t b = 0; b < blocks && status == STATUS_OK; ++b)
    if (block_hash(bytes, n, b) != hashes[b])
      status = error_set(STATUS_DATA,
                         "%s: block %lld of %s does not have the hash it was written with: the file is "
                         "damaged; take another copy",
                         h5_path(file), (long long)b, object);
  memory_free(hashes);
  return status;
}

status_t weights_read_bytes(h5_file_t *file, const char *object, char **bytes, int64_t *n) {
  TRY(h5_read_bytes(file, object, bytes, n));
  status_code_t status = bytes_check(file, object, *bytes, *n);
  if (status == STATUS_OK) return STATUS_OK;
  memory_free(*bytes);
  *bytes = NULL;
  return status;
}
