/* A folder of its own for each test on a run's files, and looking at files. */
#ifndef TESTS_RECORD_RUN_TEST_H
#define TESTS_RECORD_RUN_TEST_H

#include "base/memory.h"
#include "io/file.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Fails the test, showing the error's message, unless EXPR is STATUS_OK. */
#define assert_ok(expr)                                                                                      \
  do {                                                                                                       \
    status_code_t assert_status_ = (expr);                                                                   \
    if (assert_status_ != STATUS_OK) fail_msg("%s: %s", status_name(assert_status_), error_message());       \
  } while (0)

/* Makes a new folder below the system's place for temporary files. */
static inline void run_test_folder(char folder[FILE_MAX_PATH]) {
  const char *place = getenv("TMPDIR");
  snprintf(folder, FILE_MAX_PATH, "%s/llava_run_XXXXXX", place ? place : "/tmp");
  assert_non_null(mkdtemp(folder));
}

static inline int run_test_remove_one(const char *path, const struct stat *info, int type,
                                      struct FTW *place) {
  (void)info;
  (void)type;
  (void)place;
  return remove(path);
}

static inline void run_test_remove(const char *folder) {
  nftw(folder, run_test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* PATH = FOLDER/NAME. */
static inline const char *run_test_path(char path[FILE_MAX_PATH], const char *folder, const char *name) {
  assert_ok(file_join(path, folder, name, NULL));
  return path;
}

static inline void run_test_write(const char *folder, const char *name, const char *text) {
  char path[FILE_MAX_PATH];
  assert_ok(file_replace(run_test_path(path, folder, name), text, strlen(text)));
}

#endif
