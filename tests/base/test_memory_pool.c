/* Pools: blocks apart, zeroed and aligned, counted in the pool's arena, given back together on any way out.
 */
#include "base/memory_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static size_t in_use(void) {
  return memory_usage(ARENA_ROLLOUT).current;
}

static void blocks_are_given_back_together(void **state) {
  enum { BLOCKS = 20, BYTES = 100 };
  unsigned char *blocks[BLOCKS];
  memory_pool_t pool = {.arena = ARENA_ROLLOUT};
  size_t before = in_use();
  (void)state;
  for (int b = 0; b < BLOCKS; b++) {
    assert_int_equal(memory_pool_alloc(&pool, &blocks[b], BYTES, 1), STATUS_OK);
    assert_int_equal((uintptr_t)blocks[b] % 64, 0);
    for (int i = 0; i < BYTES; i++)
      assert_int_equal(blocks[b][i], 0);
    memset(blocks[b], b + 1, BYTES);
  }
  for (int b = 0; b < BLOCKS; b++)
    assert_true(blocks[b][0] == b + 1 && blocks[b][BYTES - 1] == b + 1);
  assert_in_range(in_use() - before, BLOCKS * BYTES, BLOCKS * (BYTES + 64));
  memory_pool_free(&pool);
  assert_int_equal(in_use(), before);
  assert_int_equal(memory_pool_alloc(&pool, &blocks[0], 1, 8), STATUS_OK); /* and used again */
  memory_pool_free(&pool);
  assert_int_equal(in_use(), before);
}

/* Takes a block, then one that no memory can hold. */
static status_t early_return(void) {
  double *small, *endless;
  POOL(pool, ARENA_ROLLOUT);
  TRY(memory_pool_alloc(&pool, &small, 10, sizeof *small));
  return memory_pool_alloc(&pool, &endless, SIZE_MAX / 4, sizeof *endless);
}

static void a_scoped_pool_is_freed_on_errors(void **state) {
  size_t before = in_use();
  (void)state;
  assert_int_equal(early_return(), STATUS_MEMORY);
  assert_int_equal(in_use(), before);
  error_clear();
}

static void nothing_is_nothing(void **state) {
  int none = 0, *block = &none;
  memory_pool_t pool = {.arena = ARENA_ROLLOUT};
  (void)state;
  assert_int_equal(memory_pool_alloc(&pool, &block, 0, sizeof *block), STATUS_OK);
  assert_null(block);
  memory_pool_free(&pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_are_given_back_together),
      cmocka_unit_test(a_scoped_pool_is_freed_on_errors),
      cmocka_unit_test(nothing_is_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
