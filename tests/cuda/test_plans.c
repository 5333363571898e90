/* What the cuda device's host code computes: keys of products, how sums over rows and attention are divided,
 * and where lanes find elements. */
#include "cuda/attention_plan.h"
#include "cuda/cudnn_shape.h"
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

/* ---- Attention ---- */

enum { SEQUENCES = 6, POSITIONS = 1000 };
static const int32_t offsets[SEQUENCES + 1] = {0, 1, 1, 129, 257, 300, POSITIONS};

/* Each position of each head is in exactly one block's tile, and a head's blocks follow each other in the
 * order asked for. */
static void check_blocks(int32_t rows, int32_t heads, bool ascending) {
  attention_tile_t list[POSITIONS];
  int32_t seen[POSITIONS * 3] = {0};
  const int64_t tiles = attention_tiles(SEQUENCES, offsets, rows, list);
  attention_block_t before = {{-1, 0, 0}, 0};
  assert_int_equal(attention_tiles(SEQUENCES, offsets, rows, NULL), tiles);
  for (int64_t block = 0; block < tiles * heads; block++) {
    const attention_block_t work = attention_block(list[block / heads], block, heads, rows, ascending);
    assert_in_range(work.head, 0, heads - 1);
    assert_int_equal(work.tile.first % rows, 0);
    for (int32_t i = work.tile.first; i < work.tile.first + rows && i < work.tile.length; i++)
      seen[(work.tile.begin + i) * heads + work.head]++;
    if (work.tile.begin == before.tile.begin && work.head == before.head)
      assert_int_equal(work.tile.first - before.tile.first, ascending ? rows : -rows);
    before = work;
  }
  for (int32_t i = 0; i < POSITIONS * heads; i++)
    assert_int_equal(seen[i], 1);
}

static void blocks_cover_all_positions(void **state) {
  (void)state;
  static const int32_t rows[] = {PLAIN_ROWS, TENSOR_BACKWARD_ROWS, TENSOR_FORWARD_ROWS};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int32_t heads = 1; heads <= 3; heads++) {
      check_blocks(rows[i], heads, false);
      check_blocks(rows[i], heads, true);
    }
}

static void shapes_follow_type_and_head(void **state) {
  (void)state;
  assert_true(attention_shape(128, true).tensor_cores);
  assert_int_equal(attention_shape(8, true).forward_rows, TENSOR_FORWARD_ROWS);
  assert_int_equal(attention_shape(8, true).backward_rows, TENSOR_BACKWARD_ROWS);
  assert_false(attention_shape(129, true).tensor_cores);
  assert_false(attention_shape(64, false).tensor_cores);
  assert_int_equal(attention_shape(64, false).forward_rows, PLAIN_ROWS);
}

static void parts_cover_a_sequence(void **state) {
  (void)state;
  assert_int_equal(split_count(0), 0);
  assert_int_equal(split_count(1), 1);
  assert_int_equal(split_count(SPLIT_POSITIONS), 1);
  assert_int_equal(split_count(SPLIT_POSITIONS + 1), 2);
}

/* ---- Fragments ---- */

enum { LANES = 32 };

/* The lanes' results are all of 16 x 8, once. */
static void results_cover_a_tile(void **state) {
  (void)state;
  bool seen[16][8] = {{false}};
  for (int32_t lane = 0; lane < LANES; lane++)
    for (int32_t i = 0; i < 4; i++) {
      const int32_t row = result_row(lane, i), col = result_col(lane, i);
      assert_in_range(row, 0, 15);
      assert_in_range(col, 0, 7);
      assert_false(seen[row][col]);
      seen[row][col] = true;
    }
}

/* Where element J of register I of LANE comes from, of the 16 x 16 elements whose rows of eight begin at
 * ROW(lane), COL(lane): matrix i has the addresses of lanes 8i and on; a lane gets two neighbours of row lane
 * / 4 of it, or of that column. */
typedef struct {
  int32_t row, col;
} place_t;
static place_t loaded(int32_t (*row)(int32_t), int32_t (*col)(int32_t), bool transposed, int32_t lane,
                      int32_t i, int32_t j) {
  const int32_t in_row = transposed ? lane % 4 * 2 + j : lane / 4,
                in_col = transposed ? lane / 4 : lane % 4 * 2 + j;
  return (place_t){row(8 * i + in_row), col(8 * i + in_row) + in_col};
}

static void expect_place(place_t found, int32_t row, int32_t col) {
  assert_int_equal(found.row, row);
  assert_int_equal(found.col, col);
}

/* As mma.m16n8k16 wants them: of the left factor (16 rows, 16 columns) register i has row lane / 4 + 8 (i %
 * 2), columns 2 (lane % 4) + 8 (i / 2) and the next; of the right one (16 rows that are summed over, 8
 * columns) rows 2 (lane % 4) + 8 i and the next, column lane / 4. */
static void loads_make_fragments(void **state) {
  (void)state;
  for (int32_t lane = 0; lane < LANES; lane++)
    for (int32_t i = 0; i < 4; i++)
      for (int32_t j = 0; j < 2; j++) {
        const int32_t pair = lane % 4 * 2 + j, outer = lane / 4;
        expect_place(loaded(left_row, left_col, false, lane, i, j), outer + i % 2 * 8, pair + i / 2 * 8);
        /* Registers 2n and 2n + 1 belong to the n-th of two products. Rows of b are its columns where b^T is
         * the factor. */
        expect_place(loaded(right_row, right_col, false, lane, i, j), outer + i / 2 * 8, pair + i % 2 * 8);
        expect_place(loaded(left_row, left_col, true, lane, i, j), pair + i % 2 * 8, outer + i / 2 * 8);
      }
}

/* Four an octave: no batch is below its plan, and none far below. */
static void few_plans_serve_all_batches(void **state) {
  int32_t bounds = 0;
  int64_t last = 0;
  (void)state;
  for (int64_t n = 1; n <= 1 << 16; n++) {
    const int64_t bound = cudnn_bound(n);
    assert_true(n <= bound && 4 * bound <= 5 * n && bound >= last);
    assert_int_equal(cudnn_bound(bound), bound);
    bounds += bound > last;
    last = bound;
  }
  assert_int_equal(cudnn_bound(0), 1);
  assert_int_equal(bounds, 8 + 4 * (16 - 3));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keys_tell_products_apart),    cmocka_unit_test(alignment_is_the_largest_power_of_two),
      cmocka_unit_test(chunks_cover_all_rows),       cmocka_unit_test(blocks_cover_all_positions),
      cmocka_unit_test(shapes_follow_type_and_head), cmocka_unit_test(parts_cover_a_sequence),
      cmocka_unit_test(results_cover_a_tile),        cmocka_unit_test(loads_make_fragments),
      cmocka_unit_test(few_plans_serve_all_batches),
  };
  return cmocka_run_group_tests_name("plans of the cuda device", tests, NULL, NULL);
}
