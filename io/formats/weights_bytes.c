#include "base/memory.h"
#include "io/formats/weights.h"

#include <stdio.h>
#include <string.h>
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
  if (found == 0 && blocks == 0) return STATUS_OK;
  if (found != blocks)
    return error_set(
        STATUS_DATA,
        "%s: attribute xxh3 of %s has %lld hashes, expected %lld (one for each 16 MiB): the file "
        "is damaged, or another program wrote it",
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

/* ------------------------------------------------------------------ texts --------------------------------
 */

/* The name of the attribute that holds the hash of attribute NAME. */
enum { HASH_NAME = 64 };
static const char *hash_name(const char *name, char text[HASH_NAME]) {
  snprintf(text, HASH_NAME, "%s_xxh3", name);
  return text;
}

status_t weights_write_text(h5_file_t *file, const char *object, const char *name, const char *text) {
  char hashed[HASH_NAME];
  uint64_t hash = XXH3_64bits(text, strlen(text));
  TRY(h5_attr_write_text(file, object, name, text));
  return h5_attr_write_u64(file, object, hash_name(name, hashed), &hash, 1);
}

static status_t text_check(h5_file_t *file, const char *object, const char *name, const char *text,
                           uint64_t *hash) {
  char hashed[HASH_NAME];
  uint64_t written, found = XXH3_64bits(text, strlen(text));
  TRY(h5_attr_read_u64(file, object, hash_name(name, hashed), &written, 1));
  if (hash) *hash = found;
  if (found == written) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: attribute %s of %s does not have the hash it was written with: the file is damaged, or "
      "was changed by another program; take another copy",
      h5_path(file), name, object);
}

status_t weights_read_text(h5_file_t *file, const char *object, const char *name, char **text,
                           uint64_t *hash) {
  TRY(h5_attr_read_text(file, object, name, text));
  status_code_t status = text_check(file, object, name, *text, hash);
  if (status == STATUS_OK) return STATUS_OK;
  memory_free(*text);
  *text = NULL;
  return status;
}
