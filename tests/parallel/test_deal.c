/* Dealing of sequences by length: properties, bounds and cases written out by hand. */
#include "base/random.h"
#include "base/status.h"
#include "parallel/exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 120 };

static void make_lengths(uint64_t seed, int32_t *lengths) {
  random_stream_t stream = random_stream(seed, RANDOM_TEST, 0);
  for (int i = 0; i < N; i++)
    lengths[i] = (int32_t)(1 + random_below(&stream, 200));
}

static void deal_by_hand(void **state) {
  (void)state;
  /* 9 -> 0, 7 (index 1) -> 1, 7 (index 3) -> 2, 3 -> 1 (7 < 9, lowest), 2 -> 2, then 1 -> 0 (9, 10, 9). */
  const int32_t lengths[] = {3, 7, 9, 7, 2, 1}, expected[] = {1, 1, 0, 2, 2, 0};
  int32_t group[6];
  assert_int_equal(deal_by_length(lengths, 6, 3, group), STATUS_OK);
  assert_memory_equal(group, expected, sizeof expected);
}

/* No group leads another by more than the longest sequence. */
static void deal_is_balanced(void **state) {
  (void)state;
  for (int groups = 1; groups <= 9; groups++) {
    int32_t lengths[N], group[N];
    int64_t load[9] = {0}, most = 0, least = INT64_MAX;
    int32_t longest = 0;
    make_lengths((uint64_t)groups, lengths);
    assert_int_equal(deal_by_length(lengths, N, groups, group), STATUS_OK);
    for (int i = 0; i < N; i++) {
      assert_in_range(group[i], 0, groups - 1);
      load[group[i]] += lengths[i];
      if (lengths[i] > longest) longest = lengths[i];
    }
    for (int g = 0; g < groups; g++) {
      if (load[g] > most) most = load[g];
      if (load[g] < least) least = load[g];
    }
    assert_true(most - least <= longest);
  }
}

static void fewer_sequences_than_groups(void **state) {
  (void)state;
  const int32_t lengths[] = {5, 5}, expected[] = {0, 1};
  int32_t group[2] = {-1, -1};
  assert_int_equal(deal_by_length(lengths, 2, 8, group), STATUS_OK);
  assert_memory_equal(group, expected, sizeof expected);
  assert_int_equal(deal_by_length(NULL, 0, 8, NULL), STATUS_OK);
  assert_int_equal(deal_by_length(lengths, 2, 0, group), STATUS_INTERNAL);
}

/* What each micro-batch must be: within the limit or a single unit, whole units, none empty, and no two that
 * fit together (that is what first fit leaves). */
static void check_micro(const int32_t *lengths, const int64_t *indices, int64_t n, int unit, int64_t limit,
                        const int32_t *micro, int32_t count) {
  int64_t load[N] = {0}, units[N] = {0};
  for (int64_t i = 0; i < n; i++) {
    assert_in_range(micro[i], 0, count - 1);
    assert_int_equal(micro[i], micro[i - i % unit]);
    load[micro[i]] += lengths[indices[i]];
    units[micro[i]] += i % unit == 0;
  }
  for (int a = 0; a < count; a++) {
    assert_true(units[a] > 0);
    assert_true(load[a] <= limit || units[a] == 1);
    for (int b = a + 1; b < count; b++)
      assert_true(load[a] + load[b] > limit);
  }
}

static void micro_batches_keep_the_limit(void **state) {
  (void)state;
  const int units[] = {1, 2, 4};
  const int64_t limits[] = {1, 50, 333, 1000000};
  for (int u = 0; u < 3; u++) {
    for (int l = 0; l < 4; l++) {
      int32_t lengths[N], micro[N], count = -1;
      int64_t indices[N];
      make_lengths(11, lengths);
      random_permutation(5, RANDOM_TEST, 0, N, indices);
      int64_t n = N - 20; /* some sequences belong to other groups */
      assert_int_equal(deal_micro_batches(lengths, indices, n, units[u], limits[l], micro, &count),
                       STATUS_OK);
      check_micro(lengths, indices, n, units[u], limits[l], micro, count);
      if (limits[l] == 1000000) assert_int_equal(count, 1);
      if (limits[l] == 1) assert_int_equal(count, n / units[u]);
    }
  }
}

static void micro_batches_by_hand(void **state) {
  (void)state;
  /* Longest first: 12 (too long) alone; 6 + 4; 5 + 3; nothing goes beside 12. */
  const int32_t lengths[] = {4, 12, 3, 6, 5, 99};
  const int64_t indices[] = {4, 3, 2, 1, 0};
  const int32_t expected[] = {2, 1, 2, 0, 1};
  int32_t micro[5], count = 0;
  assert_int_equal(deal_micro_batches(lengths, indices, 5, 1, 10, micro, &count), STATUS_OK);
  assert_int_equal(count, 3);
  assert_memory_equal(micro, expected, sizeof expected);
}

static void no_sequences_no_micro_batches(void **state) {
  (void)state;
  int32_t count = -1;
  assert_int_equal(deal_micro_batches(NULL, NULL, 0, 4, 10, NULL, &count), STATUS_OK);
  assert_int_equal(count, 0);
}

static void bad_requests_are_errors(void **state) {
  (void)state;
  const int32_t lengths[] = {1, 2, 3};
  const int64_t indices[] = {0, 1, 2};
  int32_t micro[3], count;
  assert_int_equal(deal_micro_batches(lengths, indices, 3, 2, 10, micro, &count), STATUS_INTERNAL);
  assert_int_equal(deal_micro_batches(lengths, indices, 3, 0, 10, micro, &count), STATUS_INTERNAL);
  assert_int_equal(deal_micro_batches(lengths, indices, 3, 1, 0, micro, &count), STATUS_INTERNAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(deal_by_hand),
      cmocka_unit_test(deal_is_balanced),
      cmocka_unit_test(fewer_sequences_than_groups),
      cmocka_unit_test(micro_batches_keep_the_limit),
      cmocka_unit_test(micro_batches_by_hand),
      cmocka_unit_test(no_sequences_no_micro_batches),
      cmocka_unit_test(bad_requests_are_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
