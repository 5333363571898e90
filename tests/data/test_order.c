#include "data/order.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 37 };

static void assert_permutation(const int64_t *rows, int64_t n) {
  bool seen[COUNT] = {false};
  for (int64_t i = 0; i < n; i++) {
    assert_true(rows[i] >= 0 && rows[i] < COUNT);
    assert_false(seen[rows[i]]);
    seen[rows[i]] = true;
  }
}

static void each_epoch_is_a_permutation_of_its_own(void **state) {
  (void)state;
  order_t order;
  int64_t first[COUNT], second[COUNT];
  assert_int_equal(order_create(NULL, 7, true, NULL, COUNT, &order), STATUS_OK);
  assert_int_equal(order_rows(&order, 0, COUNT, first), STATUS_OK);
  assert_int_equal(order_rows(&order, COUNT, COUNT, second), STATUS_OK);
  assert_permutation(first, COUNT);
  assert_permutation(second, COUNT);
  assert_memory_not_equal(first, second, sizeof first);
  order_free(&order);
  assert_int_equal(order_create(NULL, 8, true, NULL, COUNT, &order), STATUS_OK);
  assert_int_equal(order_rows(&order, 0, COUNT, second), STATUS_OK);
  assert_memory_not_equal(first, second, sizeof first);
  order_free(&order);
}

/* A batch is the same whether it was reached in order, after a restart, or in other pieces. */
static void a_batch_depends_on_its_number_alone(void **state) {
  (void)state;
  enum { BATCH = 10, BATCHES = 30 };
  order_t straight, fresh;
  int64_t all[BATCH * BATCHES], batch[BATCH];
  assert_int_equal(order_create(NULL, 3, true, NULL, COUNT, &straight), STATUS_OK);
  for (int64_t p = 0; p < BATCH * BATCHES; p++)
    assert_int_equal(order_rows(&straight, p, 1, &all[p]), STATUS_OK);
  for (int64_t k = BATCHES - 1; k >= 0; k--) {
    assert_int_equal(order_create(NULL, 3, true, NULL, COUNT, &fresh), STATUS_OK);
    assert_int_equal(order_rows(&fresh, k * BATCH, BATCH, batch), STATUS_OK);
    assert_memory_equal(batch, all + k * BATCH, sizeof batch);
    order_free(&fresh);
    assert_int_equal(order_rows(&straight, k * BATCH, BATCH, batch), STATUS_OK);
    assert_memory_equal(batch, all + k * BATCH, sizeof batch);
  }
  order_free(&straight);
}

static void rows_are_those_given(void **state) {
  (void)state;
  const int64_t rows[] = {5, 9, 11, 40};
  order_t order;
  int64_t found[8];
  assert_int_equal(order_create(NULL, 1, false, rows, 4, &order), STATUS_OK);
  assert_int_equal(order_rows(&order, 2, 6, found), STATUS_OK);
  const int64_t expected[] = {11, 40, 5, 9, 11, 40};
  assert_memory_equal(found, expected, sizeof expected);
  order_free(&order);
  assert_int_equal(order_create(NULL, 1, true, rows, 4, &order), STATUS_OK);
  assert_int_equal(order_rows(&order, 4, 4, found), STATUS_OK);
  int64_t sum = 0;
  for (int i = 0; i < 4; i++)
    sum += found[i];
  assert_int_equal(sum, 65);
  assert_int_equal(order_epoch(&order, 7), 1);
  assert_int_equal(order_place(&order, 7), 3);
  order_free(&order);
}

/* A step of 4,096 ranks with 64 samples each, over a million samples: four steps and a bit are an epoch. */
static void large_batches_use_each_sample_once_an_epoch(void **state) {
  enum { SAMPLES = 1000003, BATCH = 4096 * 64 };
  (void)state;
  order_t order;
  int64_t *rows = calloc(BATCH, sizeof *rows);
  int32_t *seen = calloc(SAMPLES, sizeof *seen);
  assert_true(rows && seen);
  assert_int_equal(order_create(NULL, 5, true, NULL, SAMPLES, &order), STATUS_OK);
  for (int64_t position = 0; position < 2 * (int64_t)SAMPLES; position += BATCH) {
    assert_int_equal(order_rows(&order, position, BATCH, rows), STATUS_OK);
    for (int64_t i = 0; i < BATCH && position + i < 2 * (int64_t)SAMPLES; i++) {
      assert_in_range(rows[i], 0, SAMPLES - 1);
      seen[rows[i]]++;
      assert_true(seen[rows[i]] <= 1 + (position + i) / SAMPLES);
    }
  }
  for (int64_t i = 0; i < SAMPLES; i++)
    assert_int_equal(seen[i], 2);
  order_free(&order);
  free(rows);
  free(seen);
}

static void nothing_to_draw_is_an_error(void **state) {
  (void)state;
  order_t order;
  assert_int_equal(order_create(NULL, 1, true, NULL, 0, &order), STATUS_DATA);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_epoch_is_a_permutation_of_its_own),
      cmocka_unit_test(a_batch_depends_on_its_number_alone),
      cmocka_unit_test(rows_are_those_given),
      cmocka_unit_test(large_batches_use_each_sample_once_an_epoch),
      cmocka_unit_test(nothing_to_draw_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
