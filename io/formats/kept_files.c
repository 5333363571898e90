#include "io/formats/kept_files.h"

#include "io/descriptor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- Names ---- */

status_t kept_folder_path(char folder[FILE_MAX_PATH], const char *path, const char *end) {
  if (snprintf(folder, FILE_MAX_PATH, "%s.kept%s", path, end) < FILE_MAX_PATH) return STATUS_OK;
  return error_set(STATUS_INPUT, "the path %.60s... is longer than %d characters", path, FILE_MAX_PATH - 1);
}

status_t kept_file_path(char path[FILE_MAX_PATH], const char *folder, kept_name_t name) {
  char file[64];
  snprintf(file, sizeof file, "start_%04d_rank_%06d", name.start, name.rank);
  return file_join(path, folder, file, NULL);
}

static bool name_read(const char *text, kept_name_t *name) {
  int end = 0;
  return sscanf(text, "start_%9d_rank_%9d%n", &name->start, &name->rank, &end) == 2 && text[end] == '\0';
}

/* ---- The folder ---- */

static int name_compare(const void *a, const void *b) {
  const kept_name_t *x = a, *y = b;
  if (x->start != y->start) return x->start < y->start ? -1 : 1;
  return (x->rank > y->rank) - (x->rank < y->rank);
}

static status_t folder_read(DIR *stream, kept_name_t **names, int32_t *count) {
  const struct dirent *entry;
  while ((entry = readdir(stream)) != NULL) {
    kept_name_t name;
    if (!name_read(entry->d_name, &name)) continue;
    TRY(memory_reserve(names, ARENA_IO, (size_t)*count + 1, sizeof **names));
    (*names)[(*count)++] = name;
  }
  return STATUS_OK;
}

status_t kept_folder_list(const char *folder, kept_name_t **names, int32_t *count) {
  SCOPED_MEMORY kept_name_t *found = NULL;
  DIR *stream = opendir(folder);
  *names = NULL;
  *count = 0;
  if (!stream && errno == ENOENT) return STATUS_OK;
  if (!stream) return error_set(STATUS_DATA, "%s: cannot be read: %s", folder, strerror(errno));
  status_code_t status = folder_read(stream, &found, count);
  closedir(stream);
  TRY(status);
  if (*count > 0) qsort(found, (size_t)*count, sizeof *found, name_compare);
  memory_hand_over(names, &found);
  return STATUS_OK;
}

status_t kept_folder_remove(const char *folder) {
  SCOPED_MEMORY kept_name_t *names = NULL;
  char path[FILE_MAX_PATH];
  int32_t count;
  TRY(kept_folder_list(folder, &names, &count));
  for (int32_t i = 0; i < count; i++) {
    TRY(kept_file_path(path, folder, names[i]));
    if (unlink(path) != 0 && errno != ENOENT)
      return error_set(STATUS_DATA, "%s cannot be removed: %s", path, strerror(errno));
  }
  if (rmdir(folder) == 0 || errno == ENOENT) return STATUS_OK;
  return error_set(STATUS_DATA, "%s cannot be removed: %s", folder, strerror(errno));
}

/* ---- Records ---- */

uint64_t kept_hash(int64_t key, const void *bytes, size_t n) {
  const int64_t numbers[] = {key, (int64_t)n};
  return XXH3_64bits_withSeed(bytes, n, XXH3_64bits(numbers, sizeof numbers));
}

/* A file that is being read: its next record, with BYTES in memory. */
typedef struct {
  int descriptor;
  const char *path;
  int64_t at, size;
  kept_head_t head;
  char *bytes;
} kept_scan_t;

static void scan_end(kept_scan_t *scan) {
  if (scan->descriptor >= 0) descriptor_close(scan->descriptor);
  memory_free(scan->bytes);
}

static status_t scan_fetch(const kept_scan_t *scan, void *bytes, size_t n, int64_t at) {
  size_t found = 0;
  int problem = descriptor_read_at(scan->descriptor, bytes, n, at, &found);
  if (problem == 0 && found < n) problem = EIO;
  if (problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be read: %s", scan->path, strerror(problem));
}

/* *WHOLE: there is another record, with its hash. */
static status_t scan_next(kept_scan_t *scan, bool *whole) {
  int64_t left = scan->size - scan->at - (int64_t)sizeof scan->head;
  *whole = false;
  if (left < 0) return STATUS_OK;
  TRY(scan_fetch(scan, &scan->head, sizeof scan->head, scan->at));
  if (scan->head.n < 0 || scan->head.n > left) return STATUS_OK;
  size_t n = (size_t)scan->head.n;
  TRY(memory_reserve(&scan->bytes, ARENA_IO, n + 1, 1));
  TRY(scan_fetch(scan, scan->bytes, n, scan->at + (int64_t)sizeof scan->head));
  *whole = kept_hash(scan->head.key, scan->bytes, n) == scan->head.hash;
  if (*whole) scan->at += (int64_t)(sizeof scan->head + n);
  scan->bytes[n] = '\0';
  return STATUS_OK;
}

/* Names the first line of IDENTITY that FOUND does not have. */
static status_t identity_compare(const char *path, const char *found, const char *identity) {
  while (*identity && *found) {
    int n = (int)strcspn(identity, "\n"), other = (int)strcspn(found, "\n");
    if (n != other || strncmp(identity, found, (size_t)n) != 0)
      return error_set(STATUS_INPUT, "what %s holds is of %.*s, this start is of %.*s", path, other, found, n,
                       identity);
    identity += n + (identity[n] == '\n');
    found += other + (found[other] == '\n');
  }
  if (*identity == *found) return STATUS_OK;
  return error_set(STATUS_INPUT, "%s does not say all that its samples are of", path);
}

static status_t scan_records(kept_scan_t *scan, int32_t file, kept_records_t *records) {
  bool whole;
  for (;;) {
    TRY(scan_next(scan, &whole));
    if (!whole) return STATUS_OK;
    TRY(memory_reserve(&records->records, ARENA_IO, (size_t)records->count + 1, sizeof *records->records));
    records->records[records->count++] =
        (kept_record_t){scan->head.key, scan->at - scan->head.n, scan->head.n, file};
  }
}

status_t kept_file_scan(const char *path, int32_t file, const char *identity, kept_records_t *records) {
  SCOPED(scan_end) kept_scan_t scan = {.descriptor = -1, .path = path};
  bool whole;
  TRY(file_size(path, &scan.size));
  int problem = descriptor_open(path, O_RDONLY, &scan.descriptor);
  if (problem) return error_set(STATUS_DATA, "%s: cannot be opened: %s", path, strerror(problem));
  TRY(scan_next(&scan, &whole));
  if (whole && scan.head.key == KEPT_IDENTITY) {
    TRY(identity_compare(path, scan.bytes, identity));
    TRY(scan_records(&scan, file, records));
  }
  records->lost += scan.size - scan.at;
  return STATUS_OK;
}

/* By key; of one key the newest first. */
static int record_compare(const void *a, const void *b) {
  const kept_record_t *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  if (x->file != y->file) return x->file > y->file ? -1 : 1;
  return (x->at < y->at) - (x->at > y->at);
}

void kept_records_sort(kept_records_t *records) {
  int64_t count = 0;
  if (records->count == 0) return;
  qsort(records->records, (size_t)records->count, sizeof *records->records, record_compare);
  for (int64_t i = 0; i < records->count; i++)
    if (count == 0 || records->records[count - 1].key != records->records[i].key)
      records->records[count++] = records->records[i];
  records->count = count;
}
