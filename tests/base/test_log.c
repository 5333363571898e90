#include "base/log.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The log file is what can be looked at; the screen gets the same. Counted are lines, not their wording. */
typedef struct {
  char path[64];
} log_file_t;

static int open_log(void **state) {
  static log_file_t file;
  snprintf(file.path, sizeof file.path, "/tmp/llava_rlhf_log_XXXXXX");
  int descriptor = mkstemp(file.path);
  if (descriptor < 0) return -1;
  close(descriptor);
  log_set_rank(0, 1);
  log_set_level(LOG_INFO);
  *state = &file;
  return log_open(file.path) == STATUS_OK ? 0 : -1;
}

static int close_log(void **state) {
  log_close();
  return unlink(((log_file_t *)*state)->path);
}

static int count(void **state, const char *word, bool at_start) {
  FILE *file = fopen(((log_file_t *)*state)->path, "r");
  assert_non_null(file);
  char line[1024];
  int found = 0;
  while (fgets(line, sizeof line, file)) {
    const char *at = strstr(line, word);
    found += at && (at == line || !at_start);
  }
  fclose(file);
  return found;
}

static int count_lines(void **state, const char *word) {
  return count(state, word, false);
}
static int count_starts(void **state, const char *word) {
  return count(state, word, true);
}

static void levels_are_kept_back(void **state) {
  log_info("apple");
  log_debug("apple");
  log_warning("apple");
  assert_int_equal(count_lines(state, "apple"), 2);
  log_set_level(LOG_DEBUG);
  log_debug("apple");
  assert_int_equal(count_lines(state, "apple"), 3);
}

static void other_ranks_only_warn(void **state) {
  log_set_rank(3, 4);
  log_info("pear");
  assert_int_equal(count_lines(state, "pear"), 0);
  log_error("pear");
  assert_int_equal(count_lines(state, "pear"), 1);
  assert_int_equal(count_lines(state, "3"), 1); /* says who */
  log_progress("work", 10, 10, "steps", NULL);
  assert_int_equal(count_lines(state, "work"), 0);
}

static void *write_many(void *unused) {
  (void)unused;
  for (int i = 0; i < 10; i++)
    log_info("thread says plum and nothing else");
  return NULL;
}

static void threads_do_not_mix_lines(void **state) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, write_many, NULL), 0);
  for (int i = 0; i < 4; i++)
    pthread_join(threads[i], NULL);
  assert_int_equal(count_lines(state, "thread says plum and nothing else\n"), 40);
}

/* Short work has no line of its own (test_progress.c has long work, on a clock of its own). */
static void short_work_leaves_no_line(void **state) {
  for (int i = 0; i <= 1000; i++)
    log_progress("counting", i, 1000, "samples", "loss 0.5");
  assert_int_equal(count_lines(state, "counting"), 0);
}

/* The clock stands in front of every message until it is stopped: the last words begin their line. */
static void messages_begin_with_the_clock(void **state) {
  log_start_clock(12.3);
  log_info("grape");
  log_warning("grape");
  log_start_clock(3723.0);
  log_info("grape");
  log_stop_clock();
  log_info("lemon");
  assert_int_equal(count_starts(state, "[  12.3 s] grape"), 1);
  assert_int_equal(count_starts(state, "[  12.3 s] warning: grape"), 1);
  assert_int_equal(count_starts(state, "[ 1:02:03] grape"), 1);
  assert_int_equal(count_starts(state, "lemon"), 1);
}

static void a_path_that_cannot_be_opened_is_an_error(void **state) {
  (void)state;
  assert_int_equal(log_open("/nowhere/at/all/log.txt"), STATUS_DATA);
  assert_non_null(strstr(error_message(), "/nowhere/at/all/log.txt"));
  error_clear();
  log_info("cherry"); /* the open file stays */
  assert_int_equal(count_lines(state, "cherry"), 1);
}

int main(void) {
#define LOG_TEST(test) cmocka_unit_test_setup_teardown(test, open_log, close_log)
  const struct CMUnitTest tests[] = {
      LOG_TEST(levels_are_kept_back),          LOG_TEST(other_ranks_only_warn),
      LOG_TEST(threads_do_not_mix_lines),      LOG_TEST(short_work_leaves_no_line),
      LOG_TEST(messages_begin_with_the_clock), LOG_TEST(a_path_that_cannot_be_opened_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
