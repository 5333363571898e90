#include "cli/same.h"

#include "base/memory.h"
#include "cli/cli.h"
#include "io/h5.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT = 1 << 21, NAMES_MOST = 64 };

/* Takes the times out of the lines of TEXT. */
static void cut_times(char *text) {
  static const char *const keys[] = {"\"seconds\":", "\"step_seconds\":"};
  for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
    for (char *place = text; (place = strstr(place, keys[k])) != NULL;) {
      place += strlen(keys[k]);
      char *rest = place + strcspn(place, ",}");
      memmove(place, rest, strlen(rest) + 1);
    }
}

static void compare_texts(const char *folder, const char *whole, const char *name, bool timed) {
  static char found[TEXT], expected[TEXT];
  char path[192];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  cli_read(path, found, sizeof found);
  snprintf(path, sizeof path, "%s/%s", whole, name);
  cli_read(path, expected, sizeof expected);
  if (timed) cut_times(found);
  if (timed) cut_times(expected);
  if (strcmp(found, expected) != 0)
    fail_msg("%s/%s holds:\n%s\nexpected:\n%s", folder, name, found, expected);
}

void same_metrics(const char *folder, const char *whole) {
  compare_texts(folder, whole, "metrics.jsonl", true);
}

void same_text(const char *folder, const char *whole, const char *name) {
  compare_texts(folder, whole, name, false);
}

static void *read_dataset(h5_file_t *file, const char *path, size_t *bytes) {
  h5_type_t type;
  int ndim;
  int64_t shape[H5_MAX_DIMS], n = 1;
  float *values;
  assert_int_equal(h5_dataset_info(file, path, &type, &ndim, shape), STATUS_OK);
  assert_int_equal(type, H5TYPE_F32);
  for (int d = 0; d < ndim; d++)
    n *= shape[d];
  *bytes = (size_t)n * sizeof *values;
  assert_int_equal(memory_alloc(&values, ARENA_OTHER, (size_t)n + 1, sizeof *values), STATUS_OK);
  assert_int_equal(h5_read_rows(file, path, H5TYPE_F32, 0, shape[0], values), STATUS_OK);
  return values;
}

static h5_file_t *open_file(const char *folder, const char *name) {
  char path[192];
  h5_file_t *file;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  if (h5_open(path, H5_READ, NULL, &file) != STATUS_OK) fail_msg("%s", error_message());
  return file;
}

static bool is_compared(const char *path) {
  return strncmp(path, "/adapters/", 10) == 0 || strncmp(path, "/heads/", 7) == 0 ||
         strncmp(path, "/optimizer/", 11) == 0;
}

int same_weights(const char *folder, const char *whole, const char *name) {
  h5_file_t *found = open_file(folder, name), *expected = open_file(whole, name);
  char **paths;
  int64_t count;
  int compared = 0;
  assert_int_equal(h5_list(expected, "/", &paths, &count), STATUS_OK);
  for (int64_t i = 0; i < count; i++) {
    size_t bytes, other;
    if (!is_compared(paths[i])) continue;
    void *a = read_dataset(found, paths[i], &bytes), *b = read_dataset(expected, paths[i], &other);
    assert_int_equal(bytes, other);
    if (memcmp(a, b, bytes) != 0) fail_msg("%s: %s of %s differs", folder, paths[i], name);
    memory_free(a);
    memory_free(b);
    compared++;
  }
  memory_free(paths);
  assert_int_equal(h5_close(found), STATUS_OK);
  assert_int_equal(h5_close(expected), STATUS_OK);
  return compared;
}

typedef struct {
  char *names[NAMES_MOST];
  int count;
} same_names_t;

static int compare_names(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static same_names_t names_in(const char *folder, const char *name) {
  same_names_t names = {.count = 0};
  char path[192];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  DIR *directory = opendir(path);
  assert_non_null(directory);
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    assert_true(names.count < NAMES_MOST);
    names.names[names.count++] = strdup(entry->d_name);
  }
  closedir(directory);
  qsort(names.names, (size_t)names.count, sizeof *names.names, compare_names);
  return names;
}

void same_names(const char *folder, const char *whole, const char *name) {
  same_names_t found = names_in(folder, name), expected = names_in(whole, name);
  for (int i = 0; i < found.count || i < expected.count; i++) {
    const char *a = i < found.count ? found.names[i] : "nothing",
               *b = i < expected.count ? expected.names[i] : "nothing";
    if (strcmp(a, b) != 0) fail_msg("%s/%s holds %s, expected %s", folder, name, a, b);
  }
  for (int i = 0; i < found.count; i++)
    free(found.names[i]);
  for (int i = 0; i < expected.count; i++)
    free(expected.names[i]);
}
