/* 16-bit floating point: IEEE half (f16: 5 exponent bits, 10 of fraction) and bfloat16 (bf16: 8 and 7).
 * Rounding is to nearest, ties to even; what is too large becomes infinity; a NaN stays one with its sign,
 * made quiet, and keeps what fits of its payload. Widening is exact. Loops that the compiler vectorises.
 * Local. FROM and TO may not overlap; the side of 16 bits need not be aligned. */
#ifndef BASE_HALF_H
#define BASE_HALF_H

#include <stddef.h>

void half_from_f16(const void *from, float *to, size_t n);
void half_to_f16(const float *from, void *to, size_t n);
void half_from_bf16(const void *from, float *to, size_t n);
void half_to_bf16(const float *from, void *to, size_t n);
/* X (n) in place to the nearest that bf16 holds. */
void half_round_bf16(float *x, size_t n);

#endif
