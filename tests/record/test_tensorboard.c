#define _GNU_SOURCE
#include "record/metric_table.h"
#include "record/tensorboard.h"

#include "run_test.h"

#include <dirent.h>
#include <math.h>

/* The checksum's definition, bit by bit; the writer uses a table. */
static uint32_t crc32c(const uint8_t *bytes, size_t n) {
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < n; i++) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit++)
      crc = (crc >> 1) ^ (crc & 1u ? 0x82f63b78u : 0);
  }
  return ~crc;
}

static uint32_t masked(const uint8_t *bytes, size_t n) {
  uint32_t crc = crc32c(bytes, n);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static uint64_t little_endian(const uint8_t *bytes, int n) {
  uint64_t value = 0;
  for (int i = n - 1; i >= 0; i--)
    value = value << 8 | bytes[i];
  return value;
}

typedef struct {
  const uint8_t *at, *end;
} tensorboard_reader_t;

static uint64_t read_varint(tensorboard_reader_t *reader) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    assert_true(reader->at < reader->end);
    uint8_t byte = *reader->at++;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return value;
  }
}

typedef struct {
  int field, wire;
  uint64_t number;              /* varint, or the bits of a fixed field */
  tensorboard_reader_t content; /* of a field of bytes */
} field_t;

static bool read_field(tensorboard_reader_t *reader, field_t *out) {
  if (reader->at == reader->end) return false;
  uint64_t key = read_varint(reader);
  *out = (field_t){.field = (int)(key >> 3), .wire = (int)(key & 7)};
  if (out->wire == 0) {
    out->number = read_varint(reader);
  } else if (out->wire == 2) {
    uint64_t n = read_varint(reader);
    assert_true(n <= (uint64_t)(reader->end - reader->at));
    out->content = (tensorboard_reader_t){reader->at, reader->at + n};
    reader->at += n;
  } else {
    int n = out->wire == 1 ? 8 : 4;
    assert_true(out->wire == 1 || out->wire == 5);
    assert_true(reader->end - reader->at >= n);
    out->number = little_endian(reader->at, n);
    reader->at += n;
  }
  return true;
}

/* Takes the next record off FILE and checks its framing. */
static bool read_record(tensorboard_reader_t *file, tensorboard_reader_t *out) {
  if (file->at == file->end) return false;
  assert_true(file->end - file->at >= 16);
  uint64_t n = little_endian(file->at, 8);
  assert_true(n <= (uint64_t)(file->end - file->at) - 16);
  assert_int_equal(little_endian(file->at + 8, 4), masked(file->at, 8));
  *out = (tensorboard_reader_t){file->at + 12, file->at + 12 + n};
  assert_int_equal(little_endian(out->end, 4), masked(out->at, n));
  file->at = out->end + 4;
  return true;
}

typedef struct {
  int64_t step;
  double wall_time;
  char version[32];
  bool start; /* a session starts: later points of older files are void */
  int count;
  char names[8][64];
  float values[8];
  char descriptions[8][1024]; /* "": none */
} event_t;

static void copy_text(char *to, size_t size, tensorboard_reader_t from) {
  assert_true((size_t)(from.end - from.at) < size);
  memcpy(to, from.at, (size_t)(from.end - from.at));
  to[from.end - from.at] = '\0';
}

/* The description in a value's metadata, which must call it a scalar. */
static void read_metadata(tensorboard_reader_t metadata, char *description, size_t size) {
  field_t part, name;
  bool scalar = false;
  while (read_field(&metadata, &part)) {
    char plugin[16];
    if (part.field == 3) copy_text(description, size, part.content);
    if (part.field != 1) continue;
    assert_true(read_field(&part.content, &name));
    copy_text(plugin, sizeof plugin, name.content);
    scalar = strcmp(plugin, "scalars") == 0;
  }
  assert_true(scalar);
}

static void read_summary(tensorboard_reader_t summary, event_t *event) {
  field_t value, part;
  while (read_field(&summary, &value)) {
    assert_int_equal(value.field, 1);
    while (read_field(&value.content, &part)) {
      if (part.field == 1) copy_text(event->names[event->count], sizeof event->names[0], part.content);
      if (part.field == 2) {
        uint32_t bits = (uint32_t)part.number;
        assert_int_equal(part.wire, 5);
        memcpy(&event->values[event->count], &bits, 4);
      }
      if (part.field == 9)
        read_metadata(part.content, event->descriptions[event->count], sizeof event->descriptions[0]);
    }
    event->count++;
  }
}

static event_t read_event(tensorboard_reader_t record) {
  event_t event = {0};
  field_t field;
  while (read_field(&record, &field)) {
    if (field.field == 1) memcpy(&event.wall_time, &field.number, 8);
    if (field.field == 2) event.step = (int64_t)field.number;
    if (field.field == 3) copy_text(event.version, sizeof event.version, field.content);
    if (field.field == 5) read_summary(field.content, &event);
    if (field.field == 7) {
      field_t log_status;
      assert_true(read_field(&field.content, &log_status));
      event.start = log_status.field == 1 && log_status.number == 1;
    }
  }
  return event;
}

/* The events of the only event file in FOLDER; returns how many. */
static int read_events(const char *folder, event_t *events, int most) {
  char path[FILE_MAX_PATH], *text;
  size_t n;
  int count = 0;
  DIR *names = opendir(folder);
  assert_non_null(names);
  path[0] = '\0';
  for (struct dirent *entry; (entry = readdir(names));)
    if (strncmp(entry->d_name, "events.out.tfevents.", 20) == 0) run_test_path(path, folder, entry->d_name);
  closedir(names);
  assert_ok(file_read(path, 1 << 20, &text, &n));
  tensorboard_reader_t file = {(const uint8_t *)text, (const uint8_t *)text + n}, record;
  while (read_record(&file, &record)) {
    assert_true(count < most);
    events[count++] = read_event(record);
  }
  memory_free(text);
  return count;
}

static void checksum_has_its_published_value(void **state) {
  (void)state;
  assert_int_equal(crc32c((const uint8_t *)"123456789", 9), 0xe3069283u);
}

static void scalars_come_back(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], below[FILE_MAX_PATH];
  static const char *const names[] = {"objective/kl_sum_seq", "ppo/loss/policy"};
  tensorboard_t *tensorboard;
  event_t events[4];
  run_test_folder(folder);
  assert_ok(tensorboard_open(run_test_path(below, folder, "tensorboard"), 301, &tensorboard));
  assert_ok(tensorboard_add(tensorboard, 301, 2, names, (const double[]){0.25, -1.5e-3}));
  assert_ok(tensorboard_add(tensorboard, 70000000000, 1, names, (const double[]){NAN}));
  assert_int_equal(read_events(below, events, 4), 4); /* before it is closed: nothing waits in memory */
  tensorboard_close(tensorboard);
  assert_string_equal(events[0].version, "brain.Event:2");
  assert_true(events[0].wall_time > 1e9);
  assert_true(events[1].start && events[1].step == 301);
  assert_true(events[2].step == 301 && events[2].count == 2);
  assert_string_equal(events[2].names[0], names[0]);
  assert_string_equal(events[2].names[1], names[1]);
  assert_true(events[2].values[0] == 0.25f && events[2].values[1] == -1.5e-3f);
  assert_true(events[3].step == 70000000000 && isnan(events[3].values[0]));
  run_test_remove(folder);
}

/* A metric's first value in a file says what it means; a name that is in no table has no description. */
static void descriptions_come_once(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  static const char *const names[] = {"sft/loss", "mine"};
  tensorboard_t *tensorboard;
  event_t events[4];
  run_test_folder(folder);
  assert_ok(tensorboard_open(folder, 1, &tensorboard));
  for (int step = 1; step <= 2; step++)
    assert_ok(tensorboard_add(tensorboard, step, 2, names, (const double[]){1.0, 2.0}));
  assert_int_equal(read_events(folder, events, 4), 4);
  tensorboard_close(tensorboard);
  assert_string_equal(events[2].descriptions[0], metric_find("sft/loss")->meaning);
  assert_string_equal(events[2].descriptions[1], "");
  assert_string_equal(events[3].descriptions[0], "");
  assert_true(events[2].values[0] == 1.0f && events[3].values[1] == 2.0f);
  run_test_remove(folder);
}

static void two_files_of_one_second_stay_apart(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  tensorboard_t *first, *second;
  int files = 0;
  run_test_folder(folder);
  assert_ok(tensorboard_open(folder, 1, &first));
  assert_ok(tensorboard_open(folder, 2, &second));
  tensorboard_close(first);
  tensorboard_close(second);
  DIR *names = opendir(folder);
  assert_non_null(names);
  for (struct dirent *entry; (entry = readdir(names));)
    files += strncmp(entry->d_name, "events.out", 10) == 0;
  closedir(names);
  assert_int_equal(files, 2);
  run_test_remove(folder);
}

static void a_folder_that_cannot_be_is_an_error(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], below[FILE_MAX_PATH];
  tensorboard_t *tensorboard;
  run_test_folder(folder);
  run_test_write(folder, "file", "x");
  assert_int_equal(tensorboard_open(run_test_path(below, folder, "file/below"), 1, &tensorboard),
                   STATUS_DATA);
  assert_null(tensorboard);
  error_clear();
  run_test_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(checksum_has_its_published_value),
      cmocka_unit_test(scalars_come_back),
      cmocka_unit_test(descriptions_come_once),
      cmocka_unit_test(two_files_of_one_second_stay_apart),
      cmocka_unit_test(a_folder_that_cannot_be_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
