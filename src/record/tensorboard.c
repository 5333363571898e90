/* Records as in TensorFlow's TFRecord files: length (8 bytes), its checksum, data, their checksum; little
 * endian; the checksum is the masked crc32c. Data are protocol buffers of tensorflow/core/util/event.proto
 * and framework/summary.proto, written by hand: a handful of fields. */
#define _GNU_SOURCE
#include "record/tensorboard.h"

#include "base/memory.h"
#include "io/file.h"
#include "record/metric_table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HOST_MAX = 128, HEADER_BYTES = 12, CHECKSUM_BYTES = 4 };

/* Fields of the messages. */
enum {
  EVENT_WALL_TIME = 1,
  EVENT_STEP = 2,
  EVENT_FILE_VERSION = 3,
  EVENT_SUMMARY = 5,
  EVENT_SESSION_LOG = 7
};
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_METADATA = 9 };
enum { METADATA_PLUGIN = 1, METADATA_DESCRIPTION = 3, METADATA_CLASS = 4, PLUGIN_NAME = 1, CLASS_SCALAR = 1 };
enum { SESSION_STATUS = 1, SESSION_START = 1 };
/* How a field is stored. */
enum { WIRE_VARINT = 0, WIRE_8_BYTES = 1, WIRE_BYTES = 2, WIRE_4_BYTES = 5 };

typedef struct {
  uint8_t *bytes;
  size_t used;
} message_t;

struct tensorboard {
  FILE *file;
  char path[FILE_MAX_PATH];
  uint32_t crc_table[256];
  message_t event, value, summary, metadata, name; /* reused */
  bool *described; /* by row of the table of metrics: this file says what it means */
};

/* Reflected polynomial of crc32c (Castagnoli; RFC 3720). */
static void tensorboard_fill_crc_table(uint32_t table[256]) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++)
      crc = crc & 1u ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
    table[i] = crc;
  }
}

static uint32_t masked_crc(const uint32_t table[256], const uint8_t *bytes, size_t n) {
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < n; i++)
    crc = table[(crc ^ bytes[i]) & 0xffu] ^ (crc >> 8);
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static void tensorboard_store_little_endian(uint8_t *to, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++)
    to[i] = (uint8_t)(value >> (8 * i));
}

static status_t tensorboard_add_bytes(message_t *message, const void *bytes, size_t n) {
  TRY(memory_reserve(&message->bytes, ARENA_IO, message->used + n, 1));
  if (n > 0) memcpy(message->bytes + message->used, bytes, n);
  message->used += n;
  return STATUS_OK;
}

static status_t tensorboard_add_varint(message_t *message, uint64_t value) {
  uint8_t bytes[10];
  size_t n = 0;
  for (; value >= 0x80; value >>= 7)
    bytes[n++] = (uint8_t)(value | 0x80);
  bytes[n++] = (uint8_t)value;
  return tensorboard_add_bytes(message, bytes, n);
}

static status_t tensorboard_add_key(message_t *message, int field, int wire) {
  return tensorboard_add_varint(message, (uint64_t)(field << 3 | wire));
}

static status_t tensorboard_add_fixed(message_t *message, int field, int wire, uint64_t bits) {
  uint8_t bytes[8];
  int n = wire == WIRE_8_BYTES ? 8 : 4;
  tensorboard_store_little_endian(bytes, bits, n);
  TRY(tensorboard_add_key(message, field, wire));
  return tensorboard_add_bytes(message, bytes, (size_t)n);
}

static status_t tensorboard_add_field_bytes(message_t *message, int field, const void *bytes, size_t n) {
  TRY(tensorboard_add_key(message, field, WIRE_BYTES));
  TRY(tensorboard_add_varint(message, n));
  return tensorboard_add_bytes(message, bytes, n);
}

/* Starts tensorboard->event: time now, STEP. */
static status_t tensorboard_begin_event(tensorboard_t *tensorboard, int64_t step) {
  message_t *event = &tensorboard->event;
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  double wall = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
  uint64_t bits;
  memcpy(&bits, &wall, sizeof bits);
  event->used = 0;
  TRY(tensorboard_add_fixed(event, EVENT_WALL_TIME, WIRE_8_BYTES, bits));
  TRY(tensorboard_add_key(event, EVENT_STEP, WIRE_VARINT));
  return tensorboard_add_varint(event, (uint64_t)step);
}

static status_t tensorboard_write_event(tensorboard_t *tensorboard) {
  const message_t *event = &tensorboard->event;
  uint8_t header[HEADER_BYTES], checksum[CHECKSUM_BYTES];
  FILE *file = tensorboard->file;
  tensorboard_store_little_endian(header, event->used, 8);
  tensorboard_store_little_endian(header + 8, masked_crc(tensorboard->crc_table, header, 8), 4);
  tensorboard_store_little_endian(checksum, masked_crc(tensorboard->crc_table, event->bytes, event->used), 4);
  fwrite(header, 1, sizeof header, file);
  fwrite(event->bytes, 1, event->used, file);
  fwrite(checksum, 1, sizeof checksum, file);
  if (fflush(file) == 0 && !ferror(file)) return STATUS_OK;
  return error_set(STATUS_DATA, "%s cannot be written: %s", tensorboard->path, strerror(errno));
}

/* The file's first two records: its version; that points of FIRST_STEP and later in older files are void. */
static status_t tensorboard_write_start(tensorboard_t *tensorboard, int64_t first_step) {
  static const char version[] = "brain.Event:2";
  message_t *event = &tensorboard->event, *value = &tensorboard->value;
  TRY(tensorboard_begin_event(tensorboard, 0));
  TRY(tensorboard_add_field_bytes(event, EVENT_FILE_VERSION, version, strlen(version)));
  TRY(tensorboard_write_event(tensorboard));
  TRY(tensorboard_begin_event(tensorboard, first_step));
  value->used = 0;
  TRY(tensorboard_add_key(value, SESSION_STATUS, WIRE_VARINT));
  TRY(tensorboard_add_varint(value, SESSION_START));
  TRY(tensorboard_add_field_bytes(event, EVENT_SESSION_LOG, value->bytes, value->used));
  return tensorboard_write_event(tensorboard);
}

/* A second file of the same second gets a number. */
static status_t tensorboard_open_file(tensorboard_t *tensorboard, const char *folder) {
  char host[HOST_MAX], name[HOST_MAX + 64];
  if (gethostname(host, sizeof host) != 0) strcpy(host, "localhost");
  host[HOST_MAX - 1] = '\0';
  TRY(file_make_folder(folder));
  long long now = (long long)time(NULL);
  for (int number = 0; number < 1000; number++) {
    snprintf(name, sizeof name, number > 0 ? "events.out.tfevents.%lld.%s.%d" : "events.out.tfevents.%lld.%s",
             now, host, number);
    TRY(file_join(tensorboard->path, folder, name, NULL));
    status_code_t status = file_stream(tensorboard->path, true, &tensorboard->file);
    if (status == STATUS_OK || errno != EEXIST) return status;
    error_clear();
  }
  return error_set(STATUS_DATA, "%s exists: files of this second have all numbers", tensorboard->path);
}

SCOPED_POINTER(tensorboard_close, tensorboard_t)

status_t tensorboard_open(const char *folder, int64_t first_step, tensorboard_t **out) {
  SCOPED(tensorboard_close_at) tensorboard_t *tensorboard = NULL;
  int metrics;
  (void)metric_table(&metrics);
  *out = NULL;
  TRY(memory_alloc(&tensorboard, ARENA_OTHER, 1, sizeof *tensorboard));
  TRY(memory_alloc(&tensorboard->described, ARENA_OTHER, (size_t)metrics, sizeof *tensorboard->described));
  tensorboard_fill_crc_table(tensorboard->crc_table);
  TRY(tensorboard_open_file(tensorboard, folder));
  TRY(tensorboard_write_start(tensorboard, first_step));
  memory_hand_over(out, &tensorboard);
  return STATUS_OK;
}

void tensorboard_close(tensorboard_t *tensorboard) {
  if (!tensorboard) return;
  if (tensorboard->file) fclose(tensorboard->file);
  memory_free(tensorboard->event.bytes);
  memory_free(tensorboard->value.bytes);
  memory_free(tensorboard->summary.bytes);
  memory_free(tensorboard->metadata.bytes);
  memory_free(tensorboard->name.bytes);
  memory_free(tensorboard->described);
  memory_free(tensorboard);
}

/* What METRIC means, for the value in tensorboard->value. */
static status_t tensorboard_add_metadata(tensorboard_t *tensorboard, const metric_t *metric) {
  static const char plugin[] = "scalars";
  message_t *metadata = &tensorboard->metadata, *name = &tensorboard->name;
  name->used = metadata->used = 0;
  TRY(tensorboard_add_field_bytes(name, PLUGIN_NAME, plugin, strlen(plugin)));
  TRY(tensorboard_add_field_bytes(metadata, METADATA_PLUGIN, name->bytes, name->used));
  TRY(tensorboard_add_field_bytes(metadata, METADATA_DESCRIPTION, metric->meaning, strlen(metric->meaning)));
  TRY(tensorboard_add_key(metadata, METADATA_CLASS, WIRE_VARINT));
  TRY(tensorboard_add_varint(metadata, CLASS_SCALAR));
  return tensorboard_add_field_bytes(&tensorboard->value, VALUE_METADATA, metadata->bytes, metadata->used);
}

/* The first value of a metric in a file tells what it means. */
static status_t tensorboard_describe(tensorboard_t *tensorboard, const char *name) {
  int count;
  const metric_t *metric = metric_find(name);
  if (!metric) return STATUS_OK;
  bool *described = &tensorboard->described[metric - metric_table(&count)];
  if (*described) return STATUS_OK;
  *described = true;
  return tensorboard_add_metadata(tensorboard, metric);
}

static status_t tensorboard_add_scalar(tensorboard_t *tensorboard, const char *name, double scalar) {
  message_t *value = &tensorboard->value;
  float single = (float)scalar;
  uint32_t bits;
  memcpy(&bits, &single, sizeof bits);
  value->used = 0;
  TRY(tensorboard_add_field_bytes(value, VALUE_TAG, name, strlen(name)));
  TRY(tensorboard_add_fixed(value, VALUE_SIMPLE, WIRE_4_BYTES, bits));
  TRY(tensorboard_describe(tensorboard, name));
  return tensorboard_add_field_bytes(&tensorboard->summary, SUMMARY_VALUE, value->bytes, value->used);
}

status_t tensorboard_add(tensorboard_t *tensorboard, int64_t step, int32_t count, const char *const *names,
                         const double *values) {
  message_t *summary = &tensorboard->summary;
  summary->used = 0;
  for (int32_t i = 0; i < count; i++)
    TRY(tensorboard_add_scalar(tensorboard, names[i], values[i]));
  TRY(tensorboard_begin_event(tensorboard, step));
  TRY(tensorboard_add_field_bytes(&tensorboard->event, EVENT_SUMMARY, summary->bytes, summary->used));
  return tensorboard_write_event(tensorboard);
}
