#include "tensor/rope.h"

#include <math.h>

static const double turn = 6.283185307179586;

double rope_frequency(double base, const rope_scaling_t *scaling, int32_t head_size, int64_t i) {
  double frequency = pow(base, -2.0 * (double)i / (double)head_size);
  if (scaling->factor == 0.0) return frequency;
  double slow = frequency / scaling->factor;
  if (scaling->original == 0) return slow;
  double turns = (double)scaling->original * frequency / turn;
  if (turns < scaling->low) return slow;
  if (turns > scaling->high) return frequency;
  double kept = (turns - scaling->low) / (scaling->high - scaling->low);
  return (1.0 - kept) * slow + kept * frequency;
}

bool rope_scaling_equal(const rope_scaling_t *a, const rope_scaling_t *b) {
  return a->factor == b->factor && a->low == b->low && a->high == b->high && a->original == b->original;
}
