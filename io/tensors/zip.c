/* Numbers of the format: APPNOTE.TXT of PKWARE, sections 4.3 and 4.5.3. */
#include "io/tensors/zip.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

enum {
  LOCAL_SIGNATURE = 0x04034b50,
  ENTRY_SIGNATURE = 0x02014b50,
  END_SIGNATURE = 0x06054b50,
  END64_SIGNATURE = 0x06064b50,
  LOCATOR_SIGNATURE = 0x07064b50,
  LOCAL_BYTES = 30,
  ENTRY_BYTES = 46,
  END_BYTES = 22,
  END64_BYTES = 56,
  LOCATOR_BYTES = 20,
  MOST_COMMENT = 65535,
  MOST_NAME = 65535,
  EXTRA_ZIP64 = 1,
  FLAG_ENCRYPTED = 1
};

static const uint32_t absent16 = 0xffffu, absent32 = 0xffffffffu; /* the number is in a ZIP64 field */
static const uint64_t directory_max_bytes = 256 * 1024 * 1024;

static uint32_t zip_get16(const char *bytes) {
  const unsigned char *b = (const unsigned char *)bytes;
  return (uint32_t)b[0] | (uint32_t)b[1] << 8;
}

static uint32_t zip_get32(const char *bytes) {
  return zip_get16(bytes) | zip_get16(bytes + 2) << 16;
}

static uint64_t zip_get64(const char *bytes) {
  return (uint64_t)zip_get32(bytes) | (uint64_t)zip_get32(bytes + 4) << 32;
}

static status_t zip_refuse(const zip_t *zip, const char *problem) {
  return error_set(STATUS_DATA, "%s: ZIP: %s", zip->source->path, problem);
}

static status_t zip_refuse_entry(const zip_t *zip, const zip_entry_t *entry, const char *problem) {
  return error_set(STATUS_DATA, "%s: ZIP: entry '%.*s': %s", zip->source->path,
                   (int)(entry->name_bytes < 200 ? entry->name_bytes : 200), entry->name, problem);
}

/* ---- The end of the file ---- */

/* Where the directory is. */
typedef struct {
  uint64_t entries, bytes, place;
  int64_t limit; /* byte of the file where it must have ended */
} end_t;

/* The last record of the file, which ends with it: *PLACE is its byte, END its bytes. */
static status_t zip_find_end(const zip_t *zip, int64_t *place, char end[END_BYTES]) {
  const int64_t size = zip->source->size;
  int64_t n = size < END_BYTES + MOST_COMMENT ? size : END_BYTES + MOST_COMMENT, found = -1;
  char *tail;
  TRY(memory_alloc(&tail, ARENA_IO, (size_t)n + 1, 1));
  status_code_t status = tensor_source_read(zip->source, tail, (size_t)n, size - n);
  for (int64_t at = n - END_BYTES; status == STATUS_OK && at >= 0 && found < 0; at--)
    if (zip_get32(tail + at) == END_SIGNATURE && at + END_BYTES + (int64_t)zip_get16(tail + at + 20) == n)
      found = at;
  if (found >= 0) memcpy(end, tail + found, END_BYTES);
  memory_free(tail);
  if (status != STATUS_OK) return status;
  *place = size - n + found;
  return found >= 0 ? STATUS_OK : zip_refuse(zip, "no directory at the end: the file is cut short or broken");
}

/* Replaces what END has of the numbers by those of the ZIP64 record, if there is one before PLACE. */
static status_t zip_read_end64(const zip_t *zip, int64_t place, end_t *end, bool *found) {
  char locator[LOCATOR_BYTES], record[END64_BYTES];
  *found = false;
  if (place < LOCATOR_BYTES + END64_BYTES) return STATUS_OK;
  TRY(tensor_source_read(zip->source, locator, sizeof locator, place - LOCATOR_BYTES));
  if (zip_get32(locator) != LOCATOR_SIGNATURE) return STATUS_OK;
  uint64_t at = zip_get64(locator + 8);
  if (zip_get32(locator + 4) != 0 || zip_get32(locator + 16) > 1) return zip_refuse(zip, "in several parts");
  if (at > (uint64_t)(place - LOCATOR_BYTES - END64_BYTES))
    return zip_refuse(zip, "the ZIP64 record lies outside the file");
  TRY(tensor_source_read(zip->source, record, sizeof record, (int64_t)at));
  if (zip_get32(record) != END64_SIGNATURE) return zip_refuse(zip, "no ZIP64 record where its locator says");
  if (zip_get32(record + 16) != 0 || zip_get32(record + 20) != 0 ||
      zip_get64(record + 24) != zip_get64(record + 32))
    return zip_refuse(zip, "in several parts");
  *end = (end_t){zip_get64(record + 32), zip_get64(record + 40), zip_get64(record + 48), (int64_t)at};
  *found = true;
  return STATUS_OK;
}

static bool zip_agrees(uint32_t number, uint32_t absent, uint64_t other) {
  return number == absent || number == other;
}

static status_t zip_read_end(const zip_t *zip, end_t *end) {
  char bytes[END_BYTES];
  int64_t place;
  bool large;
  TRY(zip_find_end(zip, &place, bytes));
  uint32_t entries = zip_get16(bytes + 10), size = zip_get32(bytes + 12), at = zip_get32(bytes + 16);
  TRY(zip_read_end64(zip, place, end, &large));
  if (!large) *end = (end_t){entries, size, at, place};
  if (!large && (entries == absent16 || size == absent32 || at == absent32))
    return zip_refuse(zip, "a ZIP64 record is missing before the end");
  if (zip_get16(bytes + 4) != 0 || zip_get16(bytes + 6) != 0 || zip_get16(bytes + 8) != entries)
    return zip_refuse(zip, "in several parts");
  if (!zip_agrees(entries, absent16, end->entries) || !zip_agrees(size, absent32, end->bytes) ||
      !zip_agrees(at, absent32, end->place))
    return zip_refuse(zip, "its two end records differ");
  if (end->place > (uint64_t)end->limit || end->bytes > (uint64_t)end->limit - end->place)
    return zip_refuse(zip, "the directory lies outside the file");
  if (end->bytes > directory_max_bytes) return zip_refuse(zip, "the directory takes more than 256 MiB");
  if (end->entries > end->bytes / ENTRY_BYTES)
    return zip_refuse(zip, "more entries than its directory holds");
  return STATUS_OK;
}

/* ---- Entries ---- */

/* Sets those of PACKED, SIZE and HEADER that are absent from the ZIP64 field among the extra fields (N
 * bytes). */
static bool zip_read_extra(const char *extra, size_t n, uint64_t *packed, uint64_t *size, uint64_t *header) {
  uint64_t *const wanted[] = {size, packed, header};
  bool missing = *packed == absent32 || *size == absent32 || *header == absent32;
  while (missing && n >= 4) {
    size_t length = zip_get16(extra + 2), at = 4;
    if (length > n - 4) return false;
    for (int i = 0; zip_get16(extra) == EXTRA_ZIP64 && i < 3; i++) {
      if (*wanted[i] != absent32) continue;
      if (at + 8 > length + 4) return false;
      *wanted[i] = zip_get64(extra + at);
      at += 8;
    }
    missing = zip_get16(extra) != EXTRA_ZIP64;
    extra += 4 + length;
    n -= 4 + length;
  }
  return !missing;
}

/* Reads the entry that begins at byte *AT of the directory (N bytes), and moves on. */
static status_t zip_read_entry(const zip_t *zip, size_t n, size_t *at, zip_entry_t *entry) {
  const char *bytes = zip->directory + *at;
  if (n - *at < ENTRY_BYTES || zip_get32(bytes) != ENTRY_SIGNATURE)
    return zip_refuse(zip, "the directory is broken");
  size_t name = zip_get16(bytes + 28), extra = zip_get16(bytes + 30), comment = zip_get16(bytes + 32);
  if (n - *at - ENTRY_BYTES < name + extra + comment)
    return zip_refuse(zip, "an entry reaches behind the directory's end");
  uint64_t packed = zip_get32(bytes + 20), size = zip_get32(bytes + 24), header = zip_get32(bytes + 42);
  *entry = (zip_entry_t){.name = bytes + ENTRY_BYTES, .name_bytes = name, .crc = zip_get32(bytes + 16)};
  if (!zip_read_extra(entry->name + name, extra, &packed, &size, &header))
    return zip_refuse_entry(zip, entry, "its ZIP64 field is missing or broken");
  if (zip_get16(bytes + 8) & FLAG_ENCRYPTED) return zip_refuse_entry(zip, entry, "encrypted");
  if (zip_get16(bytes + 10) != 0)
    return zip_refuse_entry(
        zip, entry,
        "compressed, expected to be stored as torch.save does; load and save it anew with PyTorch");
  if (packed != size) return zip_refuse_entry(zip, entry, "stored, but its two sizes differ");
  if (size > INT64_MAX || header > (uint64_t)zip->source->size)
    return zip_refuse_entry(zip, entry, "lies outside the file");
  entry->size = (int64_t)size;
  entry->header = (int64_t)header;
  *at += ENTRY_BYTES + name + extra + comment;
  return STATUS_OK;
}

/* Looks at the header before the data of ENTRY, which tells where they begin. LIMIT: the directory's place.
 */
static status_t zip_read_local(const zip_t *zip, int64_t limit, zip_entry_t *entry) {
  char bytes[LOCAL_BYTES], name[MOST_NAME];
  if (entry->header > limit - LOCAL_BYTES) return zip_refuse_entry(zip, entry, "lies outside the file");
  TRY(tensor_source_read(zip->source, bytes, sizeof bytes, entry->header));
  if (zip_get32(bytes) != LOCAL_SIGNATURE)
    return zip_refuse_entry(zip, entry, "no header where the directory says");
  if (zip_get16(bytes + 8) != 0 || zip_get16(bytes + 26) != entry->name_bytes)
    return zip_refuse_entry(zip, entry, "its header differs from the directory");
  entry->place = entry->header + LOCAL_BYTES + (int64_t)entry->name_bytes + (int64_t)zip_get16(bytes + 28);
  if (entry->place > limit || entry->size > limit - entry->place)
    return zip_refuse_entry(zip, entry, "lies outside the file");
  TRY(tensor_source_read(zip->source, name, entry->name_bytes, entry->header + LOCAL_BYTES));
  if (memcmp(name, entry->name, entry->name_bytes) == 0) return STATUS_OK;
  return zip_refuse_entry(zip, entry, "its header has another name");
}

static int zip_compare_headers(const void *left, const void *right) {
  const zip_entry_t *a = left, *b = right;
  return (a->header > b->header) - (a->header < b->header);
}

static int zip_compare_name(const zip_entry_t *entry, const char *name, size_t n) {
  int order = memcmp(entry->name, name, entry->name_bytes < n ? entry->name_bytes : n);
  return order != 0 ? order : (entry->name_bytes > n) - (entry->name_bytes < n);
}

static int zip_compare_names(const void *left, const void *right) {
  const zip_entry_t *b = right;
  return zip_compare_name(left, b->name, b->name_bytes);
}

/* Sorts the entries, and checks on the way that no byte and no name belongs to two. */
static status_t zip_arrange(const zip_t *zip) {
  const size_t count = (size_t)zip->count;
  if (count == 0) return STATUS_OK;
  qsort(zip->entries, count, sizeof *zip->entries, zip_compare_headers);
  for (size_t i = 1; i < count; i++)
    if (zip->entries[i].header < zip->entries[i - 1].place + zip->entries[i - 1].size)
      return zip_refuse_entry(zip, &zip->entries[i], "overlaps with another one");
  qsort(zip->entries, count, sizeof *zip->entries, zip_compare_names);
  for (size_t i = 1; i < count; i++)
    if (zip_compare_names(&zip->entries[i - 1], &zip->entries[i]) == 0)
      return zip_refuse_entry(zip, &zip->entries[i], "there are two of this name");
  return STATUS_OK;
}

status_t zip_open(const tensor_source_t *source, zip_t *zip) {
  end_t end;
  size_t at = 0;
  *zip = (zip_t){.source = source};
  TRY(zip_read_end(zip, &end));
  TRY(memory_alloc(&zip->directory, ARENA_IO, (size_t)end.bytes + 1, 1));
  TRY(tensor_source_read(source, zip->directory, (size_t)end.bytes, (int64_t)end.place));
  TRY(memory_alloc(&zip->entries, ARENA_IO, (size_t)end.entries + 1, sizeof *zip->entries));
  for (; zip->count < (int64_t)end.entries; zip->count++) {
    TRY(zip_read_entry(zip, (size_t)end.bytes, &at, &zip->entries[zip->count]));
    TRY(zip_read_local(zip, (int64_t)end.place, &zip->entries[zip->count]));
  }
  if (at != end.bytes) return zip_refuse(zip, "the directory holds more than its entries");
  return zip_arrange(zip);
}

void zip_free(zip_t *zip) {
  memory_free(zip->directory);
  memory_free(zip->entries);
  *zip = (zip_t){0};
}

const zip_entry_t *zip_find(const zip_t *zip, const char *name, size_t n) {
  int64_t low = 0, high = zip->count;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    int order = zip_compare_name(&zip->entries[middle], name, n);
    if (order == 0) return &zip->entries[middle];
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

status_t zip_read(const zip_t *zip, const zip_entry_t *entry, int64_t most, char **bytes) {
  *bytes = NULL;
  if (entry->size > most)
    return error_set(STATUS_DATA, "%s: ZIP: entry '%.*s': %lld bytes found, at most %lld expected",
                     zip->source->path, (int)(entry->name_bytes < 200 ? entry->name_bytes : 200), entry->name,
                     (long long)entry->size, (long long)most);
  TRY(memory_alloc(bytes, ARENA_IO, (size_t)entry->size + 1, 1));
  status_code_t status = tensor_source_read(zip->source, *bytes, (size_t)entry->size, entry->place);
  if (status == STATUS_OK && crc32(0, (const Bytef *)*bytes, (uInt)entry->size) != entry->crc)
    status = zip_refuse_entry(zip, entry, "its checksum does not fit: the file is damaged");
  if (status == STATUS_OK) return STATUS_OK;
  memory_free(*bytes);
  *bytes = NULL;
  return status;
}
