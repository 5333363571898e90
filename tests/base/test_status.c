#include "base/status.h"

#include <pthread.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Exit statuses are a promise to scripts. */
static void exit_statuses_are_as_documented(void **state) {
  (void)state;
  assert_int_equal(status_exit(STATUS_OK), 0);
  assert_int_equal(status_exit(STATUS_INPUT), 2);
  assert_int_equal(status_exit(STATUS_DATA), 3);
  assert_int_equal(status_exit(STATUS_NUMERIC), 4);
  assert_int_equal(status_exit(STATUS_DEVICE), 5);
  assert_int_equal(status_exit(STATUS_COMM), 5);
  assert_int_equal(status_exit(STATUS_MEMORY), 5);
  assert_int_equal(status_exit(STATUS_STOPPED), 10);
}

static void every_status_has_a_name_of_its_own(void **state) {
  (void)state;
  for (int i = 0; i < STATUS_COUNT; i++)
    for (int j = 0; j < i; j++)
      assert_string_not_equal(status_name((status_code_t)i), status_name((status_code_t)j));
}

static void a_new_error_replaces_the_old_one(void **state) {
  (void)state;
  assert_int_equal(error_set(STATUS_DATA, "first %d", 1), STATUS_DATA);
  assert_int_equal(error_set(STATUS_INPUT, "[%s]", error_message()), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "first 1"));
  error_clear();
  assert_string_equal(error_message(), "");
}

static status_t break_down(void) {
  return error_set(STATUS_DATA, "broken");
}

static status_t pass_on(int *reached) {
  TRY(break_down());
  *reached = 1;
  return STATUS_OK;
}

static void try_returns_early_with_the_status(void **state) {
  (void)state;
  int reached = 0;
  assert_int_equal(pass_on(&reached), STATUS_DATA);
  assert_int_equal(reached, 0);
  assert_non_null(strstr(error_backtrace(), "pass_on"));
  error_clear();
}

static void context_is_added(void **state) {
  (void)state;
  status_code_t status = error_set(STATUS_DATA, "broken");
  assert_int_equal(error_context(status, "while reading %s", "x.h5"), STATUS_DATA);
  assert_non_null(strstr(error_message(), "broken"));
  assert_non_null(strstr(error_message(), "while reading x.h5"));
  error_clear();
}

static void *message_elsewhere(void *unused) {
  (void)unused;
  return error_message()[0] == '\0' ? NULL : "set";
}

static void messages_are_a_threads_own(void **state) {
  (void)state;
  status_code_t status = error_set(STATUS_DATA, "mine");
  pthread_t thread;
  void *found = NULL;
  assert_int_equal(pthread_create(&thread, NULL, message_elsewhere, NULL), 0);
  pthread_join(thread, &found);
  assert_null(found);
  assert_int_equal(status, STATUS_DATA);
  error_clear();
}

/* A message longer than the buffer is cut, not written beyond it (address sanitizer). */
static void long_messages_are_cut(void **state) {
  (void)state;
  status_code_t status = STATUS_OK;
  for (int i = 0; i < 2000; i++)
    status = error_context(STATUS_DATA, "a line of context that goes on for a while %d", i);
  for (int i = 0; i < 2000; i++)
    error_trace("function", "file.c", i);
  assert_int_equal(status, STATUS_DATA);
  assert_true(strlen(error_message()) > 1000);
  error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exit_statuses_are_as_documented),
      cmocka_unit_test(every_status_has_a_name_of_its_own),
      cmocka_unit_test(a_new_error_replaces_the_old_one),
      cmocka_unit_test(try_returns_early_with_the_status),
      cmocka_unit_test(context_is_added),
      cmocka_unit_test(messages_are_a_threads_own),
      cmocka_unit_test(long_messages_are_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
