/* Frequencies of the rotary embedding, and how models with longer contexts than they began with change them.
 */
#ifndef TENSOR_ROPE_H
#define TENSOR_ROPE_H

#include <stdbool.h>
#include <stdint.h>

/* All zero: none. Positions are divided by FACTOR: for all frequencies (linear) or, where ORIGINAL is not
 * zero (LLaMA 3), for those that turn less than LOW times in ORIGINAL positions, not for those that turn more
 * than HIGH times, and in between for a part that falls linearly. */
typedef struct {
  double factor;
  double low, high;
  int64_t original;
} rope_scaling_t;

/* Angle per position of pair I (0 .. HEAD_SIZE / 2 - 1): BASE^(-2 I / HEAD_SIZE), scaled. Local. */
double rope_frequency(double base, const rope_scaling_t *scaling, int32_t head_size, int64_t i);

bool rope_scaling_equal(const rope_scaling_t *a, const rope_scaling_t *b);

#endif
