/* What the cuda device's host code computes: keys of products, and how sums over rows are divided. */
#include "cuda/product_key.h"
#include "cuda/sum_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const op_gemm_t product = {.m = 64,
                                  .n = 4096,
                                  .k = 1024,
                                  .a = (const real_t *)0x1000,
                                  .lda = 1024,
                                  .b = (const real_t *)0x2000,
                                  .ldb = 1024,
                                  .c = (void *)0x3000,
                                  .ldc = 4096,
                                  .trans_b = true,
                                  .alpha = 1.0};

static bool same_key(const op_gemm_t *a, const op_gemm_t *b) {
  product_key_t left = product_key(a), right = product_key(b);
  bool is_same = memcmp(&left, &right, sizeof left) == 0;
  if (is_same) assert_true(product_hash(&left) == product_hash(&right));
  return is_same;
}

/* All that an algorithm depends on makes another key; what it does not, none. */
static void keys_tell_products_apart(void **state) {
  (void)state;
  op_gemm_t other = product;
  assert_true(same_key(&product, &other));
  other.a = (const real_t *)0x4100; /* as well aligned */
  other.alpha = 0.5;
  other.beta = 1.0;
  other.before = (void *)0x5000;
  assert_true(same_key(&product, &other));
#define EXPECT_OTHER(field, value)                                                                           \
  other = product;                                                                                           \
  other.field = (value);                                                                                     \
  assert_false(same_key(&product, &other))
  EXPECT_OTHER(m, 65);
  EXPECT_OTHER(n, 4097);
  EXPECT_OTHER(k, 1023);
  EXPECT_OTHER(lda, 1032);
  EXPECT_OTHER(ldb, 1032);
  EXPECT_OTHER(ldc, 5000);
  EXPECT_OTHER(trans_a, true);
  EXPECT_OTHER(trans_b, false);
  EXPECT_OTHER(c_wide, true);
  EXPECT_OTHER(bias, (const real_t *)0x100);
  EXPECT_OTHER(a, (const real_t *)0x1002);
  EXPECT_OTHER(b, (const real_t *)0x2010);
  EXPECT_OTHER(c, (void *)0x3008);
  EXPECT_OTHER(before, (void *)0x5010);
#undef EXPECT_OTHER
}

static void alignment_is_the_largest_power_of_two(void **state) {
  (void)state;
  static const struct {
    uintptr_t address;
    uint32_t alignment;
  } cases[] = {{0x1002, 2},  {0x1004, 4},   {0x1008, 8},  {0x1010, 16},
               {0x10c0, 64}, {0x1100, 256}, {0x8000, 256}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(pointer_alignment((const void *)cases[i].address), cases[i].alignment);
}

/* Each row is in exactly one chunk, whatever the sizes. */
static void chunks_cover_all_rows(void **state) {
  (void)state;
  static const int64_t rows[] = {1, 2, 63, 64, 65, 577, 1000, 8191, 8192, 8193, 100003},
                       periods[] = {1, 2, 5, 576, 577};
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
    for (size_t p = 0; p < sizeof periods / sizeof *periods; p++) {
      const sum_plan_t plan = sum_plan(rows[r], periods[p]);
      const int64_t each = (rows[r] + periods[p] - 1) / periods[p];
      assert_true(plan.chunks >= 1 && plan.chunks <= SUM_CHUNKS_MOST);
      assert_true(plan.chunks * plan.chunk >= each);
      assert_true((plan.chunks - 1) * plan.chunk < each); /* none is empty */
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keys_tell_products_apart),
      cmocka_unit_test(alignment_is_the_largest_power_of_two),
      cmocka_unit_test(chunks_cover_all_rows),
  };
  return cmocka_run_group_tests_name("plans of the cuda device", tests, NULL, NULL);
}
