/* Every half, and floats around every boundary between two of them, against arithmetic in double. */
#include "base/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { HALVES = 65536 };

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* A format of 16 bits with FRACTION bits of fraction. */
typedef struct {
  int fraction, bias;
  void (*widen)(const void *from, float *to, size_t n);
  void (*narrow)(const float *from, void *to, size_t n);
} format_t;

static const format_t formats[] = {{10, 15, half_from_f16, half_to_f16},
                                   {7, 127, half_from_bf16, half_to_bf16}};

/* The value of HALF by its definition; infinity and NaN too. */
static double value_of(const format_t *format, unsigned half) {
  const int fraction_bits = format->fraction, most = (1 << (15 - fraction_bits)) - 1;
  int exponent = (int)(half >> fraction_bits) & most, fraction = (int)half & ((1 << fraction_bits) - 1);
  double sign = half & 0x8000u ? -1 : 1;
  if (exponent == most) return fraction ? (double)NAN : sign * (double)INFINITY;
  if (exponent == 0) return sign * ldexp(fraction, 1 - format->bias - fraction_bits);
  return sign * ldexp(fraction + (1 << fraction_bits), exponent - format->bias - fraction_bits);
}

static void all_halves_are_widened(void **state) {
  (void)state;
  static uint16_t halves[HALVES], back[HALVES];
  static float floats[HALVES];
  for (int i = 0; i < HALVES; i++)
    halves[i] = (uint16_t)i;
  for (int f = 0; f < 2; f++) {
    formats[f].widen(halves, floats, HALVES);
    formats[f].narrow(floats, back, HALVES);
    for (unsigned i = 0; i < HALVES; i++) {
      double expected = value_of(&formats[f], i);
      if (isnan(expected)) {
        assert_true(isnan(floats[i]));
        assert_int_equal(back[i], i | 1u << (formats[f].fraction - 1)); /* quiet, all else kept */
        continue;
      }
      assert_true((double)floats[i] == expected && !signbit(floats[i]) == !signbit(expected));
      assert_int_equal(back[i], i);
    }
  }
}

/* Between two neighbouring halves: the middle goes to the even one, floats beside it to the nearer one. */
static void narrowing_goes_to_the_nearest(void **state) {
  (void)state;
  for (int f = 0; f < 2; f++) {
    const unsigned infinite = (0x7fffu >> formats[f].fraction) << formats[f].fraction;
    for (unsigned low = 0; low + 1 < infinite; low++) {
      float middle = (float)((value_of(&formats[f], low) + value_of(&formats[f], low + 1)) / 2);
      float values[6] = {float_of(bits_of(middle) - 1), middle, float_of(bits_of(middle) + 1)};
      uint16_t found[6];
      const unsigned expected[3] = {low, low + low % 2, low + 1};
      for (int i = 0; i < 3; i++)
        values[3 + i] = -values[i];
      formats[f].narrow(values, found, 6);
      for (int i = 0; i < 3; i++) {
        assert_int_equal(found[i], expected[i]);
        assert_int_equal(found[3 + i], expected[i] | 0x8000u);
      }
    }
  }
}

static void the_ends_are_kept(void **state) {
  (void)state;
  const float values[] = {0.0f,     -0.0f, INFINITY, -INFINITY,       65519.996f,
                          65520.0f, 3e38f, 0x1p-25f, 0x1.000002p-25f, 1e-45f};
  const uint16_t f16[] = {0, 0x8000, 0x7c00, 0xfc00, 0x7bff, 0x7c00, 0x7c00, 0, 1, 0};
  uint16_t found[10];
  half_to_f16(values, found, 10);
  for (int i = 0; i < 10; i++)
    assert_int_equal(found[i], f16[i]);
  const float large[] = {float_of(0x7f7f7fffu), float_of(0x7f7f8000u), float_of(0xff7fffffu),
                         float_of(0x7f800001u), float_of(0xffc12345u)};
  const uint16_t bf16[] = {0x7f7f, 0x7f80, 0xff80, 0x7fc0, 0xffc1};
  half_to_bf16(large, found, 5);
  for (int i = 0; i < 5; i++)
    assert_int_equal(found[i], bf16[i]);
  const float nans[] = {float_of(0x7f800001u), float_of(0xffffffffu)};
  half_to_f16(nans, found, 2);
  assert_int_equal(found[0], 0x7e00);
  assert_int_equal(found[1], 0xffff);
}

static void any_count_and_place_is_taken(void **state) {
  (void)state;
  float values[70], back[70];
  unsigned char bytes[2 * 70 + 2];
  for (int i = 0; i < 70; i++)
    values[i] = (float)(i - 30) / 4;
  for (int f = 0; f < 2; f++)
    for (size_t n = 0; n < 70; n++) {
      memset(bytes, 0x5a, sizeof bytes);
      memset(back, 0, sizeof back);
      formats[f].narrow(values, bytes + 1, n); /* at an odd address */
      formats[f].widen(bytes + 1, back, n);
      assert_memory_equal(back, values, n * sizeof *values);
      assert_int_equal(bytes[2 * n + 1], 0x5a);
      assert_true(bits_of(back[n]) == 0);
    }
}

static void rounding_in_place_is_there_and_back(void **state) {
  (void)state;
  float values[] = {0.0f,   -0.0f,   1.00390625f, 1.01171875f,          -0.1f,
                    1e-41f, 3.4e38f, -INFINITY,   float_of(0x7f800001u)};
  enum { N = sizeof values / sizeof *values };
  uint16_t halves[N];
  float expected[N];
  half_to_bf16(values, halves, N);
  half_from_bf16(halves, expected, N);
  half_round_bf16(values, N);
  assert_memory_equal(values, expected, sizeof values);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_halves_are_widened),
      cmocka_unit_test(narrowing_goes_to_the_nearest),
      cmocka_unit_test(the_ends_are_kept),
      cmocka_unit_test(any_count_and_place_is_taken),
      cmocka_unit_test(rounding_in_place_is_there_and_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
