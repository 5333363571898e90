#include "cli/kept_count.h"

#include "cli/cli.h"
#include "io/formats/kept_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Whole records of the file PATH, but for the identity. */
static int64_t records_of(const char *path) {
  kept_head_t head;
  int64_t count = 0;
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  while (fread(&head, sizeof head, 1, file) == 1) {
    char bytes[1 << 16];
    assert_in_range(head.n, 0, sizeof bytes);
    if (fread(bytes, 1, (size_t)head.n, file) < (size_t)head.n) break;
    count += head.key != KEPT_IDENTITY;
  }
  fclose(file);
  return count;
}

/* Samples of all files, and in FILE (where there is one) the path of the first that has some. */
static int64_t look(const char *path, char *first) {
  SCOPED_MEMORY kept_name_t *names = NULL;
  char folder[FILE_MAX_PATH], file[FILE_MAX_PATH];
  int64_t count = 0;
  int32_t files;
  assert_int_equal(kept_folder_path(folder, path, ""), STATUS_OK);
  assert_int_equal(kept_folder_list(folder, &names, &files), STATUS_OK);
  for (int32_t i = 0; i < files; i++) {
    assert_int_equal(kept_file_path(file, folder, names[i]), STATUS_OK);
    int64_t records = records_of(file);
    if (count == 0 && records > 0) strcpy(first, file);
    count += records;
  }
  return count;
}

int64_t kept_count(const char *path) {
  char first[FILE_MAX_PATH];
  return look(path, first);
}

bool kept_is_there(const char *path) {
  char folder[FILE_MAX_PATH];
  assert_int_equal(kept_folder_path(folder, path, ""), STATUS_OK);
  return cli_exists(folder);
}

const char *kept_a_file(const char *path) {
  static char first[FILE_MAX_PATH];
  assert_true(look(path, first) > 0);
  return first;
}
