#define _GNU_SOURCE
#include "io/formats/kept.h"

#include "base/log.h"
#include "io/descriptor.h"
#include "io/formats/kept_files.h"
#include "perf/perf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is appended reaches storage, and outlives the machine, this many seconds later at the most. */
static const double sync_seconds = 5.0;

struct kept {
  comm_t *comm, *readers;
  char path[FILE_MAX_PATH], folder[FILE_MAX_PATH]; /* of the output; PATH.kept */
  char *identity;
  const char *what;
  /* What earlier starts have left: its files, and the records that this rank reads. */
  kept_name_t *names; /* (file_count) */
  int32_t file_count;
  kept_records_t records;
  int64_t found;              /* records of all readers */
  int read_file, read_number; /* the descriptor that was read from last (-1: none), and of which file */
  /* What this start adds. */
  bool writes;
  kept_name_t own;
  int descriptor; /* -1 before the first record */
  int64_t end;    /* of the file: behind the last whole record */
  int64_t added;
  double synced; /* perf_now() */
};

/* ---- Opening ---- */

/* An error of the disk is a warning. */
static status_t kept_forgive(status_code_t status, const char *what) {
  if (status != STATUS_DATA && status != STATUS_INPUT) return status;
  log_warning("%s; those %s are made again", error_message(), what);
  error_clear();
  return STATUS_OK;
}

/* Rank 0 lists the files, and all learn their names. Collective. */
static status_t kept_list(kept_t *kept) {
  comm_t *comm = kept->comm;
  bool first = comm_rank(comm) == 0;
  status_code_t status = STATUS_OK;
  if (first)
    status = kept_forgive(kept_folder_list(kept->folder, &kept->names, &kept->file_count), kept->what);
  TRY(comm_agree(comm, status));
  TRY(comm_broadcast(comm, &kept->file_count, 1, COMM_I32, 0));
  if (!first) status = memory_alloc(&kept->names, ARENA_IO, (size_t)kept->file_count, sizeof *kept->names);
  TRY(comm_agree(comm, status));
  TRY(comm_broadcast(comm, kept->names, 2 * (size_t)kept->file_count, COMM_I32, 0));
  kept->own.rank = comm_rank(comm);
  kept->own.start = kept->file_count > 0 ? kept->names[kept->file_count - 1].start + 1 : 1;
  return STATUS_OK;
}

/* The files that fall to this rank. One that cannot be read is left out. */
static status_t kept_scan(kept_t *kept) {
  int reader = kept->readers ? comm_rank(kept->readers) : 0;
  int readers = kept->readers ? comm_size(kept->readers) : 1;
  for (int32_t f = reader; f < kept->file_count; f += readers) {
    char path[FILE_MAX_PATH];
    TRY(kept_file_path(path, kept->folder, kept->names[f]));
    status_code_t status = kept_file_scan(path, f, kept->identity, &kept->records);
    TRY(status == STATUS_DATA ? kept_forgive(status, kept->what) : status);
  }
  kept_records_sort(&kept->records);
  return STATUS_OK;
}

/* Rank 0: what is there is of something else. */
static status_t kept_make_way(const kept_t *kept, const kept_options_t *options) {
  char aside[FILE_MAX_PATH];
  if (options->routine) return kept_folder_remove(kept->folder);
  TRY(kept_folder_path(aside, options->path, ".other"));
  TRY(kept_folder_remove(aside));
  TRY(file_rename(kept->folder, aside));
  log_warning("what an earlier start had finished is now in %s: rename it back to go on from it", aside);
  return STATUS_OK;
}

/* None of what is there, for which the thread's message is the reason, is taken. Collective. */
static status_t kept_refuse(kept_t *kept, const kept_options_t *options) {
  log_info("kept       none of the %s: %s", kept->what, error_message());
  error_clear();
  kept->records.count = kept->records.lost = 0;
  kept->file_count = 0;
  status_code_t status = STATUS_OK;
  if (comm_rank(kept->comm) == 0) status = kept_forgive(kept_make_way(kept, options), kept->what);
  return comm_agree(kept->comm, status);
}

/* How much there is. Ranks that read the same files count them once. Collective. */
static status_t kept_count(kept_t *kept) {
  int64_t sums[] = {kept->records.count, kept->records.lost};
  if (kept->readers) TRY(comm_allreduce(kept->readers, sums, 2, COMM_I64, COMM_SUM));
  kept->found = sums[0];
  if (kept->found > 0)
    log_info("kept       %" PRId64 " %s of earlier starts are taken over from %s", sums[0], kept->what,
             kept->folder);
  if (sums[1] > 0)
    log_info("kept       %" PRId64 " bytes of %s are no whole records, cut off or damaged: what they were of "
             "is made again",
             sums[1], kept->folder);
  return STATUS_OK;
}

static status_t kept_find(kept_t *kept, const kept_options_t *options) {
  TRY(kept_list(kept));
  if (kept->file_count == 0) return STATUS_OK;
  status_code_t status = comm_agree(kept->comm, kept_scan(kept));
  if (status == STATUS_INPUT) return kept_refuse(kept, options);
  TRY(status);
  return kept_count(kept);
}

static status_t kept_create(comm_t *comm, const kept_options_t *options, kept_t **out) {
  SCOPED(kept_close_at) kept_t *kept = NULL;
  *out = NULL;
  TRY(memory_alloc(&kept, ARENA_IO, 1, sizeof *kept));
  kept->descriptor = kept->read_number = -1;
  kept->read_file = -1;
  kept->comm = comm;
  kept->readers = options->readers;
  kept->what = options->what;
  kept->writes = options->writes;
  TRY(file_join(kept->path, options->path, NULL, NULL));
  TRY(kept_folder_path(kept->folder, options->path, ""));
  TRY(memory_copy_text(&kept->identity, ARENA_IO, options->identity, strlen(options->identity)));
  memory_hand_over(out, &kept);
  return STATUS_OK;
}

status_t kept_open(comm_t *comm, const kept_options_t *options, kept_t **out) {
  TRY(comm_agree(comm, kept_create(comm, options, out)));
  status_code_t status = kept_find(*out, options);
  if (status == STATUS_OK) return STATUS_OK;
  kept_close(*out);
  *out = NULL;
  return status;
}

/* ---- Ending ---- */

void kept_close(kept_t *kept) {
  if (!kept) return;
  if (kept->descriptor >= 0) {
    (void)!descriptor_sync(kept->descriptor);
    (void)!descriptor_close(kept->descriptor);
  }
  if (kept->read_number >= 0) (void)!descriptor_close(kept->read_number);
  memory_free(kept->names);
  memory_free(kept->records.records);
  memory_free(kept->identity);
  memory_free(kept);
}

status_t kept_finish(kept_t **kept) {
  const kept_t *done = *kept;
  if (!done) return STATUS_OK;
  int64_t added = done->added;
  TRY(comm_allreduce(done->comm, &added, 1, COMM_I64, COMM_SUM));
  if (done->found > 0)
    log_info("kept       %" PRId64 " %s of earlier starts and %" PRId64 " of this one are complete",
             done->found, done->what, added);
  kept_close(*kept);
  *kept = NULL;
  return STATUS_OK;
}

status_t kept_drop(comm_t *comm, const char *path) {
  char folder[FILE_MAX_PATH];
  TRY(kept_folder_path(folder, path, ""));
  TRY(comm_barrier(comm)); /* no rank has a file open any more */
  if (comm_rank(comm) != 0 || !file_exists(folder) || kept_folder_remove(folder) == STATUS_OK)
    return STATUS_OK;
  log_warning("%s", error_message());
  error_clear();
  return STATUS_OK;
}

status_t kept_remove(kept_t **kept) {
  char path[FILE_MAX_PATH];
  if (!*kept) return STATUS_OK;
  comm_t *comm = (*kept)->comm;
  memcpy(path, (*kept)->path, sizeof path);
  TRY(kept_finish(kept));
  return kept_drop(comm, path);
}

/* ---- What there is ---- */

int64_t kept_found(const kept_t *kept) {
  return kept ? kept->found : 0;
}

int64_t kept_added(const kept_t *kept) {
  return kept ? kept->added : 0;
}

status_t kept_tell(const kept_t *kept, int64_t total, bool *gained) {
  int64_t all = kept_added(kept);
  if (!kept) return STATUS_OK;
  TRY(comm_allreduce(kept->comm, &all, 1, COMM_I64, COMM_SUM));
  *gained |= all > 0;
  all += kept->found;
  if (all > 0)
    log_info("kept       %" PRId64 " of %" PRId64 " %s for the next start", all, total, kept->what);
  return STATUS_OK;
}

static const kept_record_t *record_find(const kept_t *kept, int64_t key) {
  int64_t low = 0, high = kept->records.count;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (kept->records.records[middle].key < key)
      low = middle + 1;
    else
      high = middle;
  }
  const kept_record_t *record = kept->records.records + low;
  return low < kept->records.count && record->key == key ? record : NULL;
}

/* Records that are asked for one after the other are of one file, mostly. */
static int kept_read_from(kept_t *kept, int32_t file) {
  char path[FILE_MAX_PATH];
  if (kept->read_number >= 0 && kept->read_file == file) return 0;
  if (kept->read_number >= 0) (void)!descriptor_close(kept->read_number);
  kept->read_number = -1;
  kept->read_file = file;
  if (kept_file_path(path, kept->folder, kept->names[file]) != STATUS_OK) return ENAMETOOLONG;
  return descriptor_open(path, O_RDONLY, &kept->read_number);
}

status_t kept_read(kept_t *kept, int64_t key, void **bytes, size_t *n) {
  SCOPED_MEMORY char *read = NULL;
  const kept_record_t *record = kept ? record_find(kept, key) : NULL;
  size_t found = 0;
  *bytes = NULL;
  *n = 0;
  if (!record) return STATUS_OK;
  TRY(memory_alloc(&read, ARENA_IO, (size_t)record->n + 1, 1));
  int problem = kept_read_from(kept, record->file);
  if (problem == 0)
    problem = descriptor_read_at(kept->read_number, read, (size_t)record->n, record->at, &found);
  if (problem != 0 || found < (size_t)record->n) {
    log_warning("%s: a record can no longer be read: %s", kept->folder, strerror(problem ? problem : EIO));
    return STATUS_OK;
  }
  *n = found;
  memory_hand_over(bytes, &read);
  return STATUS_OK;
}

/* Reads those of LOADED that this rank has. */
static status_t kept_load_own(kept_t *kept, const int64_t *keys, kept_loaded_t *loaded) {
  int none = comm_size(kept->readers);
  TRY(memory_pool_alloc(&loaded->pool, &loaded->holder, (size_t)loaded->n, sizeof *loaded->holder));
  TRY(memory_pool_alloc(&loaded->pool, &loaded->there, (size_t)loaded->n, sizeof *loaded->there));
  TRY(memory_pool_alloc(&loaded->pool, &loaded->items, (size_t)loaded->n, sizeof *loaded->items));
  for (int64_t i = 0; i < loaded->n; i++) {
    SCOPED_MEMORY void *read = NULL;
    void *bytes;
    size_t n;
    loaded->holder[i] = none;
    TRY(kept_read(kept, keys[i], &read, &n));
    if (!read) continue;
    TRY(memory_pool_alloc(&loaded->pool, &bytes, n + 1, 1));
    memcpy(bytes, read, n);
    loaded->holder[i] = comm_rank(kept->readers);
    loaded->items[i] = (exchange_item_t){.id = i, .bytes = bytes, .size = n};
  }
  return STATUS_OK;
}

status_t kept_load(kept_t *kept, const int64_t *keys, int64_t n, kept_loaded_t *out) {
  *out = (kept_loaded_t){.kept = kept, .n = n, .pool = {ARENA_IO, NULL}};
  TRY(comm_agree(kept->comm, kept_load_own(kept, keys, out)));
  TRY(comm_allreduce(kept->readers, out->holder, (size_t)n, COMM_I32, COMM_MIN));
  for (int64_t i = 0; i < n; i++)
    out->there[i] = out->holder[i] < comm_size(kept->readers);
  /* What one of several ranks that read the same files could not read is there for none. */
  return comm_allreduce(kept->comm, out->there, (size_t)n, COMM_I32, COMM_MIN);
}

void kept_loaded_free(kept_loaded_t *loaded) {
  memory_pool_free(&loaded->pool);
  *loaded = (kept_loaded_t){0};
}

status_t kept_deal(kept_loaded_t *loaded, const int32_t *owner, exchange_t *result) {
  comm_t *readers = loaded->kept->readers;
  int64_t count = 0;
  for (int64_t i = 0; i < loaded->n; i++) {
    if (!loaded->there[i] || loaded->holder[i] != comm_rank(readers)) continue;
    exchange_item_t item = loaded->items[i];
    item.destination = owner[i];
    loaded->items[count++] = item; /* behind I, or in its place */
  }
  return exchange_items(readers, loaded->items, count, result);
}

/* ---- Adding ---- */

/* The record as it lies in the file. */
static status_t record_make(int64_t key, const void *bytes, size_t n, char **record, size_t *size) {
  const kept_head_t head = {kept_hash(key, bytes, n), key, (int64_t)n};
  *size = sizeof head + n;
  TRY(memory_alloc(record, ARENA_IO, *size, 1));
  memcpy(*record, &head, sizeof head);
  if (n > 0) memcpy(*record + sizeof head, bytes, n);
  return STATUS_OK;
}

static status_t kept_put(kept_t *kept, int64_t key, const void *bytes, size_t n) {
  SCOPED_MEMORY char *record = NULL;
  size_t size;
  TRY(record_make(key, bytes, n, &record, &size));
  int problem = descriptor_write(kept->descriptor, record, size);
  if (problem == 0) {
    kept->end += (int64_t)size;
    return STATUS_OK;
  }
  (void)!descriptor_truncate(kept->descriptor, kept->end);
  return error_set(STATUS_DATA, "%s: a record could not be written: %s", kept->folder, strerror(problem));
}

/* Makes this rank's file, and the folder. */
static status_t kept_begin(kept_t *kept) {
  char path[FILE_MAX_PATH];
  TRY(file_make_folder(kept->folder));
  TRY(kept_file_path(path, kept->folder, kept->own));
  int problem = descriptor_open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL, &kept->descriptor);
  if (problem) return error_set(STATUS_DATA, "%s: cannot be created: %s", path, strerror(problem));
  kept->synced = perf_now();
  return kept_put(kept, KEPT_IDENTITY, kept->identity, strlen(kept->identity));
}

static status_t kept_add(kept_t *kept, int64_t key, const void *bytes, size_t n) {
  if (kept->descriptor < 0) TRY(kept_begin(kept));
  TRY(kept_put(kept, key, bytes, n));
  kept->added++;
  if (perf_now() - kept->synced < sync_seconds) return STATUS_OK;
  int problem = descriptor_sync(kept->descriptor);
  kept->synced = perf_now();
  if (problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be synced to storage: %s", kept->folder, strerror(problem));
}

void kept_append(kept_t *kept, int64_t key, const void *bytes, size_t n) {
  if (!kept || !kept->writes) return;
  if (kept_add(kept, key, bytes, n) == STATUS_OK) return;
  kept->writes = false;
  log_warning("%s\nfinished %s are no longer kept for a start after this one", error_message(), kept->what);
  error_clear();
}
