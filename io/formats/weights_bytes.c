#include "base/memory.h"
#include "io/formats/weights_file.h"

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
  SCOPED_MEMORY uint64_t *hashes = NULL;
  int64_t blocks = block_count(n);
  TRY(h5_write_bytes(file, object, bytes, n));
  TRY(h5_attr_write_text(file, object, "meaning", meaning));
  if (blocks == 0) return STATUS_OK;
  TRY(memory_alloc(&hashes, ARENA_IO, (size_t)blocks, sizeof *hashes));
  for (int64_t b = 0; b < blocks; ++b)
    hashes[b] = block_hash(bytes, n, b);
  return h5_attr_write_u64(file, object, "xxh3", hashes, blocks);
}

status_t weights_hashes_read(h5_file_t *file, const char *object, int64_t n, uint64_t *hashes) {
  int64_t found;
  TRY(h5_attr_count(file, object, "xxh3", &found));
  if (found == n) return n == 0 ? STATUS_OK : h5_attr_read_u64(file, object, "xxh3", hashes, n);
  return error_set(STATUS_DATA,
                   "%s: attribute xxh3 of %s has %lld hashes, expected %lld (one for each 16 MiB): the file "
                   "is damaged, or another program wrote it",
                   h5_path(file), object, (long long)found, (long long)n);
}

status_t weights_read_bytes(h5_file_t *file, const char *object, char **out, int64_t *n) {
  SCOPED_MEMORY char *bytes = NULL;
  SCOPED_MEMORY uint64_t *hashes = NULL;
  *out = NULL;
  TRY(h5_read_bytes(file, object, &bytes, n));
  int64_t blocks = block_count(*n);
  TRY(memory_alloc(&hashes, ARENA_IO, (size_t)blocks, sizeof *hashes));
  TRY(weights_hashes_read(file, object, blocks, hashes));
  for (int64_t b = 0; b < blocks; ++b)
    if (block_hash(bytes, *n, b) != hashes[b])
      return error_set(STATUS_DATA,
                       "%s: block %lld of %s does not have the hash it was written with: the file is "
                       "damaged; take another copy",
                       h5_path(file), (long long)b, object);
  memory_hand_over(out, &bytes);
  return STATUS_OK;
}

/* ---- texts ---- */

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

status_t weights_read_text(h5_file_t *file, const char *object, const char *name, char **out,
                           uint64_t *hash) {
  SCOPED_MEMORY char *text = NULL;
  char hashed[HASH_NAME];
  uint64_t written;
  *out = NULL;
  TRY(h5_attr_read_text(file, object, name, &text));
  TRY(h5_attr_read_u64(file, object, hash_name(name, hashed), &written, 1));
  uint64_t found = XXH3_64bits(text, strlen(text));
  if (hash) *hash = found;
  if (found != written)
    return error_set(
        STATUS_DATA,
        "%s: attribute %s of %s does not have the hash it was written with: the file is damaged, or "
        "was changed by another program; take another copy",
        h5_path(file), name, object);
  memory_hand_over(out, &text);
  return STATUS_OK;
}
