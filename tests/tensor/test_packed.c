/* Packing of sequences end to end, with image places expanded. */
#include "tensor/packed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { IMG = TOKEN_IMAGE };

static void check(const int32_t *found, const int32_t *expected, int n) {
  for (int i = 0; i < n; i++)
    assert_int_equal(found[i], expected[i]);
}

static void sequences_are_packed(void **state) {
  (void)state;
  const int32_t a[] = {1, IMG, 7, 8}, b[] = {1, 9}, c[] = {IMG, 5, IMG};
  const packed_source_t sources[] = {{a, 4, 3}, {b, 2, -1}, {NULL, 0, -1}, {c, 3, 0}};
  const int32_t offsets[] = {0, 6, 8, 8, 15};
  const int32_t tokens[] = {1, IMG, IMG, IMG, 7, 8, 1, 9, IMG, IMG, IMG, 5, IMG, IMG, IMG};
  const int32_t positions[] = {0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 2, 3, 4, 5, 6};
  const int32_t starts[] = {1, 8, 12}, images[] = {3, 0, 0};
  packed_t packed;
  assert_int_equal(packed_create(sources, 4, 3, &packed), STATUS_OK);
  assert_int_equal(packed.sequences, 4);
  assert_int_equal(packed.images, 3);
  assert_int_equal(packed.image_slots, 3);
  check(packed.offsets, offsets, 5);
  check(packed.tokens, tokens, 15);
  check(packed.positions, positions, 15);
  check(packed.image_start, starts, 3);
  check(packed.image_index, images, 3);
  assert_int_equal(packed_length(a, 4, 3), 6);
  assert_int_equal(packed_length(b, 2, 3), 2);
  assert_int_equal(packed_length(c, 3, 576), 1153);
  packed_free(&packed);
  assert_null(packed.tokens);
}

static void empty_batch(void **state) {
  (void)state;
  packed_t packed;
  assert_int_equal(packed_create(NULL, 0, 4, &packed), STATUS_OK);
  assert_int_equal(packed.offsets[0], 0);
  assert_int_equal(packed.images, 0);
  packed_free(&packed);
}

static void image_place_without_image(void **state) {
  (void)state;
  const int32_t a[] = {1, 2, IMG};
  const packed_source_t source = {a, 3, -1};
  packed_t packed;
  assert_int_equal(packed_create(&source, 1, 4, &packed), STATUS_INTERNAL);
  assert_null(packed.offsets);
}

/* A model without vision tower. */
static void no_slots_for_images(void **state) {
  (void)state;
  const int32_t a[] = {1, 2, IMG};
  const packed_source_t shown = {a, 3, 0}, text = {a, 2, -1};
  packed_t packed;
  assert_int_equal(packed_create(&shown, 1, 0, &packed), STATUS_INTERNAL);
  assert_int_equal(packed_create(&text, 1, 0, &packed), STATUS_OK);
  assert_int_equal(packed.offsets[1], 2);
  packed_free(&packed);
}

static void too_many_positions(void **state) {
  (void)state;
  const int32_t a[] = {IMG, IMG, IMG};
  const packed_source_t source = {a, 3, 0};
  packed_t packed;
  assert_int_equal(packed_create(&source, 1, 1 << 30, &packed), STATUS_INTERNAL);
  assert_null(packed.offsets);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sequences_are_packed),      cmocka_unit_test(empty_batch),
      cmocka_unit_test(image_place_without_image), cmocka_unit_test(no_slots_for_images),
      cmocka_unit_test(too_many_positions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
