#include "base/memory.h"

#include <stdbool.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void blocks_are_zeroed_and_aligned(void **state) {
  (void)state;
  for (size_t n = 1; n < 200; n += 13) {
    unsigned char *block = NULL;
    assert_int_equal(memory_alloc(&block, ARENA_SCRATCH, n, 1), STATUS_OK);
    assert_int_equal((uintptr_t)block % 64, 0);
    for (size_t i = 0; i < n; i++)
      assert_int_equal(block[i], 0);
    memset(block, 0xAB, n); /* the next block of this size must be zeroed again */
    memory_free(block);
  }
}

static void nothing_asked_gives_null(void **state) {
  (void)state;
  double *block = (double *)state;
  assert_int_equal(memory_alloc(&block, ARENA_IO, 0, sizeof *block), STATUS_OK);
  assert_null(block);
  memory_free(block);
}

static void use_is_counted_by_arena(void **state) {
  (void)state;
  memory_usage_t before = memory_usage(ARENA_CACHE);
  size_t other = memory_usage(ARENA_DATA).current;
  float *a = NULL, *b = NULL;
  assert_int_equal(memory_alloc(&a, ARENA_CACHE, 1000, sizeof *a), STATUS_OK);
  assert_int_equal(memory_alloc(&b, ARENA_CACHE, 500, sizeof *b), STATUS_OK);
  assert_int_equal(memory_usage(ARENA_CACHE).current, before.current + 6000);
  assert_int_equal(memory_usage(ARENA_DATA).current, other);
  memory_free(a);
  memory_free(b);
  assert_int_equal(memory_usage(ARENA_CACHE).current, before.current);
  assert_true(memory_usage(ARENA_CACHE).peak >= before.current + 6000);
}

static void device_memory_is_counted_too(void **state) {
  (void)state;
  size_t before = memory_usage(ARENA_WEIGHTS).current;
  size_t host = memory_usage_at(MEMORY_HOST, ARENA_COUNT).current;
  size_t device = memory_usage_at(MEMORY_DEVICE, ARENA_COUNT).current;
  memory_account_device(ARENA_WEIGHTS, 1 << 20);
  memory_account(ARENA_CACHE, 1 << 10);
  assert_int_equal(memory_usage(ARENA_WEIGHTS).current, before + (1 << 20));
  assert_int_equal(memory_usage_at(MEMORY_DEVICE, ARENA_COUNT).current, device + (1 << 20));
  assert_int_equal(memory_usage_at(MEMORY_HOST, ARENA_COUNT).current, host + (1 << 10));
  memory_account_device(ARENA_WEIGHTS, -(1 << 20));
  memory_account(ARENA_CACHE, -(1 << 10));
  assert_int_equal(memory_usage(ARENA_WEIGHTS).current, before);
  assert_int_equal(memory_usage_at(MEMORY_DEVICE, ARENA_WEIGHTS).current,
                   memory_usage(ARENA_WEIGHTS).current);
  assert_true(memory_usage_at(MEMORY_DEVICE, ARENA_COUNT).peak >= device + (1 << 20));
  memory_reset_peaks();
  assert_int_equal(memory_usage_at(MEMORY_DEVICE, ARENA_COUNT).peak, device);
}

static void sizes_that_overflow_are_refused(void **state) {
  (void)state;
  double *block = NULL;
  size_t before = memory_usage(ARENA_OTHER).current;
  assert_int_equal(memory_alloc(&block, ARENA_OTHER, SIZE_MAX / 4, sizeof *block), STATUS_MEMORY);
  assert_null(block);
  assert_int_equal(memory_alloc(&block, ARENA_OTHER, SIZE_MAX, 1), STATUS_MEMORY);
  assert_int_equal(memory_usage(ARENA_OTHER).current, before);
  error_clear();
}

static void shapes_that_overflow_anywhere_do_not_fit(void **state) {
  const int64_t large = INT64_C(1) << 61, hidden[][3] = {{0, large, 9}, {large, 0, 9}, {large, 9, 0}};
  (void)state;
  for (int i = 0; i < 3; i++)
    assert_false(memory_shape_fits(hidden[i], 3, 1));
  assert_true(memory_shape_fits((const int64_t[]){0, large}, 2, 1));
  assert_true(memory_shape_fits((const int64_t[]){0, large}, 2, 3));
  assert_false(memory_shape_fits((const int64_t[]){0, large}, 2, 4));
  assert_false(memory_shape_fits((const int64_t[]){0, -1}, 2, 1));
  assert_true(memory_shape_fits(NULL, 0, 8));
}

static void resizing_keeps_contents_and_zeroes_the_rest(void **state) {
  (void)state;
  int32_t *block = NULL;
  size_t before = memory_usage(ARENA_DATA).current;
  assert_int_equal(memory_resize(&block, ARENA_DATA, 10, sizeof *block), STATUS_OK);
  for (int32_t i = 0; i < 10; i++)
    block[i] = i + 1;
  assert_int_equal(memory_resize(&block, ARENA_DATA, 1000, sizeof *block), STATUS_OK);
  for (int32_t i = 0; i < 1000; i++)
    assert_int_equal(block[i], i < 10 ? i + 1 : 0);
  assert_int_equal(memory_resize(&block, ARENA_DATA, 5, sizeof *block), STATUS_OK);
  assert_int_equal(block[4], 5);
  assert_int_equal(memory_usage(ARENA_DATA).current, before + 20);
  assert_int_equal(memory_resize(&block, ARENA_DATA, 0, sizeof *block), STATUS_OK);
  assert_null(block);
  assert_int_equal(memory_usage(ARENA_DATA).current, before);
}

static void a_failed_resize_leaves_the_block(void **state) {
  (void)state;
  int32_t *block = NULL;
  assert_int_equal(memory_alloc(&block, ARENA_DATA, 4, sizeof *block), STATUS_OK);
  block[3] = 7;
  int32_t *kept = block;
  assert_int_equal(memory_resize(&block, ARENA_DATA, SIZE_MAX / 2, sizeof *block), STATUS_MEMORY);
  assert_ptr_equal(block, kept);
  assert_int_equal(block[3], 7);
  memory_free(block);
  error_clear();
}

static void texts_are_copied_and_ended(void **state) {
  (void)state;
  char *copy = NULL;
  assert_int_equal(memory_copy_text(&copy, ARENA_OTHER, "shapes world", 6), STATUS_OK);
  assert_string_equal(copy, "shapes");
  memory_free(copy);
  assert_int_equal(memory_copy_text(&copy, ARENA_OTHER, "", 0), STATUS_OK);
  assert_string_equal(copy, "");
  memory_free(copy);
}

static void every_arena_has_a_name(void **state) {
  (void)state;
  for (int arena = 0; arena < ARENA_COUNT; arena++)
    assert_non_null(memory_usage(arena).name);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_are_zeroed_and_aligned),
      cmocka_unit_test(nothing_asked_gives_null),
      cmocka_unit_test(use_is_counted_by_arena),
      cmocka_unit_test(device_memory_is_counted_too),
      cmocka_unit_test(sizes_that_overflow_are_refused),
      cmocka_unit_test(shapes_that_overflow_anywhere_do_not_fit),
      cmocka_unit_test(resizing_keeps_contents_and_zeroes_the_rest),
      cmocka_unit_test(a_failed_resize_leaves_the_block),
      cmocka_unit_test(texts_are_copied_and_ended),
      cmocka_unit_test(every_arena_has_a_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
