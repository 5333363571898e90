/* Partitions: every element of a weight is held, by as many ranks as the partition says. */
#include "tensor/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS_MAX = 48, COLS_MAX = 24 };

/* Counts, over the ranks of a tp group, who holds each element of a (rows, cols) weight, and checks that all
 * agree on the stored shape. */
static void check_cover(split_t split, int64_t rows, int64_t cols, int heads, int tp, int replicas) {
  int held[ROWS_MAX][COLS_MAX] = {{0}}, written[ROWS_MAX][COLS_MAX] = {{0}};
  partition_t first, p;
  for (int rank = 0; rank < tp; rank++) {
    assert_int_equal(partition_make("w", split, COMPLETE_SUM, rows, cols, heads, 1, rank, tp, &p), STATUS_OK);
    if (rank == 0) first = p;
    assert_int_equal(p.local_rows, first.local_rows);
    assert_int_equal(p.local_cols, first.local_cols);
    assert_int_equal(p.replicas, replicas);
    assert_in_range(p.replica, 0, replicas - 1);
    assert_int_equal(p.complete, replicas > 1 ? COMPLETE_SUM : COMPLETE_LOCAL);
    assert_in_range(p.row_count, 0, p.local_rows);
    assert_int_equal(p.col_count, p.local_cols);
    assert_int_equal(partition_elements(&p), p.local_rows * p.local_cols);
    for (int64_t r = p.row_begin; r < p.row_begin + p.row_count; r++) {
      for (int64_t c = p.col_begin; c < p.col_begin + p.col_count; c++) {
        assert_in_range(r, 0, rows - 1);
        assert_in_range(c, 0, cols - 1);
        held[r][c]++;
        written[r][c] += p.replica == 0;
      }
    }
  }
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t c = 0; c < cols; c++) {
      assert_int_equal(held[r][c], replicas);
      assert_int_equal(written[r][c], 1);
    }
  }
}

static void weights_are_covered(void **state) {
  (void)state;
  for (int tp = 1; tp <= 8; tp++) {
    check_cover(SPLIT_NONE, 7, 5, 0, tp, tp);
    check_cover(SPLIT_NONE, 1, 1, 0, tp, tp);
    check_cover(SPLIT_ROWS, 3 * tp, 5, 0, tp, 1);
    check_cover(SPLIT_ROWS, 2 * tp, 1, 0, tp, 1);
    check_cover(SPLIT_COLUMNS, 5, 2 * tp, 0, tp, 1);
  }
}

static void vocabularies_are_padded(void **state) {
  (void)state;
  partition_t p;
  for (int tp = 1; tp <= 8; tp++) {
    for (int64_t rows = 1; rows <= 20; rows++)
      check_cover(SPLIT_VOCAB, rows, 3, 0, tp, 1);
  }
  /* 47 words on 4 ranks: 12 stored each, 11 true on the last. */
  assert_int_equal(partition_make("embed", SPLIT_VOCAB, COMPLETE_LOCAL, 47, 8, 0, 1, 3, 4, &p), STATUS_OK);
  assert_int_equal(p.row_begin, 36);
  assert_int_equal(p.row_count, 11);
  assert_int_equal(p.local_rows, 12);
  /* 5 words on 4 ranks: nothing but padding on the last. */
  assert_int_equal(partition_make("embed", SPLIT_VOCAB, COMPLETE_LOCAL, 5, 8, 0, 1, 3, 4, &p), STATUS_OK);
  assert_int_equal(p.row_count, 0);
  assert_int_equal(p.row_begin, 5);
  assert_int_equal(p.local_rows, 2);
  /* 47 words on 3 ranks by multiples of 10: 20 stored each, 7 true on the last. */
  assert_int_equal(partition_make("embed", SPLIT_VOCAB, COMPLETE_LOCAL, 47, 8, 0, 10, 2, 3, &p), STATUS_OK);
  assert_int_equal(p.row_begin, 40);
  assert_int_equal(p.row_count, 7);
  assert_int_equal(p.local_rows, 20);
}

static void key_value_heads_are_replicated(void **state) {
  (void)state;
  partition_t p;
  check_cover(SPLIT_KV_ROWS, 8 * 4, 5, 8, 1, 1);
  check_cover(SPLIT_KV_ROWS, 8 * 4, 5, 8, 4, 1);
  check_cover(SPLIT_KV_ROWS, 8 * 4, 5, 8, 8, 1);
  check_cover(SPLIT_KV_ROWS, 2 * 6, 5, 2, 4, 2);
  check_cover(SPLIT_KV_ROWS, 2 * 6, 5, 2, 8, 4);
  check_cover(SPLIT_KV_ROWS, 1 * 6, 5, 1, 3, 3);
  /* 2 heads of 6 rows on 8 ranks: ranks 4..7 hold the second. */
  assert_int_equal(partition_make("k", SPLIT_KV_ROWS, COMPLETE_SUM, 12, 5, 2, 1, 6, 8, &p), STATUS_OK);
  assert_int_equal(p.row_begin, 6);
  assert_int_equal(p.row_count, 6);
  assert_int_equal(p.replica, 2);
  assert_int_equal(p.replicas, 4);
}

static status_code_t make(split_t split, complete_t complete, int64_t rows, int64_t cols, int heads, int tp) {
  partition_t p;
  status_code_t status = partition_make("layers.3.w", split, complete, rows, cols, heads, 1, 0, tp, &p);
  if (status != STATUS_OK) assert_non_null(strstr(error_message(), "layers.3.w"));
  error_clear();
  return status;
}

static void uneven_splits_are_input_errors(void **state) {
  (void)state;
  assert_int_equal(make(SPLIT_ROWS, COMPLETE_LOCAL, 10, 4, 0, 3), STATUS_INPUT);
  assert_int_equal(make(SPLIT_COLUMNS, COMPLETE_LOCAL, 4, 10, 0, 3), STATUS_INPUT);
  assert_int_equal(make(SPLIT_COLUMNS, COMPLETE_LOCAL, 4, 1, 0, 2), STATUS_INPUT);
  assert_int_equal(make(SPLIT_KV_ROWS, COMPLETE_SUM, 16, 4, 4, 3), STATUS_INPUT);
  assert_int_equal(make(SPLIT_KV_ROWS, COMPLETE_SUM, 16, 4, 4, 6), STATUS_INPUT);
  assert_int_equal(make(SPLIT_KV_ROWS, COMPLETE_SUM, 15, 4, 4, 2), STATUS_INPUT);
  assert_int_equal(make(SPLIT_KV_ROWS, COMPLETE_SUM, 15, 4, 0, 1), STATUS_INPUT);
}

static void replicas_need_a_completion(void **state) {
  (void)state;
  assert_int_equal(make(SPLIT_NONE, COMPLETE_LOCAL, 4, 4, 0, 2), STATUS_INTERNAL);
  assert_int_equal(make(SPLIT_KV_ROWS, COMPLETE_LOCAL, 4, 4, 1, 2), STATUS_INTERNAL);
  assert_int_equal(make(SPLIT_NONE, COMPLETE_LOCAL, 4, 4, 0, 1), STATUS_OK);
  assert_int_equal(make(SPLIT_NONE, COMPLETE_EQUAL, 4, 4, 0, 2), STATUS_OK);
  assert_int_equal(make(SPLIT_ROWS, COMPLETE_LOCAL, 4, 4, 0, 0), STATUS_INTERNAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(weights_are_covered),
      cmocka_unit_test(vocabularies_are_padded),
      cmocka_unit_test(key_value_heads_are_replicated),
      cmocka_unit_test(uneven_splits_are_input_errors),
      cmocka_unit_test(replicas_need_a_completion),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
