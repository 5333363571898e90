/* Arrays in device memory, for tests of what the cpu device promises to the bit. */
#ifndef TESTS_TENSOR_CPU_BITS_H
#define TESTS_TENSOR_CPU_BITS_H

#include "base/random.h"
#include "tensor/cpu/cpu.h"
#include "tensor/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define OK(expr) assert_int_equal((expr), STATUS_OK)

static inline device_t *device_new(int threads) {
  device_t *device = NULL;
  OK(cpu_create(threads, NULL, &device));
  return device;
}

/* N normal numbers of stream SEED; on the host. */
static inline float *normal_new(uint64_t seed, int64_t n) {
  float *values = NULL;
  random_stream_t stream = random_stream(seed, RANDOM_TEST, 0);
  OK(memory_alloc(&values, ARENA_OTHER, (size_t)n, sizeof *values));
  for (int64_t i = 0; i < n; i++)
    values[i] = (float)random_normal(&stream);
  return values;
}

/* N numbers on DEVICE: normal ones of stream SEED, or zeros for seed 0. */
static inline real_t *real_new(device_t *device, uint64_t seed, int64_t n) {
  real_t *real = NULL;
  OK(real_alloc(device, ARENA_OTHER, (size_t)n, &real));
  if (seed == 0) {
    OK(OP(device, fill_real, &(op_fill_real_t){.n = n, .value = 0.0, .x = real}));
    return real;
  }
  float *values = normal_new(seed, n);
  OK(real_upload(device, real, values, DTYPE_F32, (size_t)n));
  memory_free(values);
  return real;
}

static inline wide_t *wide_new(device_t *device, int64_t n) {
  wide_t *wide = NULL;
  OK(wide_alloc(device, ARENA_OTHER, (size_t)n, &wide));
  OK(OP(device, fill_wide, &(op_fill_wide_t){.n = n, .value = 0.0, .x = wide}));
  return wide;
}

static inline index_t *index_new(device_t *device, const int32_t *values, int64_t n) {
  index_t *index = NULL;
  OK(index_alloc(device, ARENA_OTHER, (size_t)n, &index));
  OK(index_upload(device, index, values, (size_t)n));
  return index;
}

static inline float *real_get(device_t *device, const real_t *from, int64_t n) {
  float *values = NULL;
  OK(memory_alloc(&values, ARENA_OTHER, (size_t)n, sizeof *values));
  OK(real_download(device, values, DTYPE_F32, from, (size_t)n));
  OK(device_synchronize(device));
  return values;
}

static inline float *wide_get(device_t *device, const wide_t *from, int64_t n) {
  float *values = NULL;
  OK(memory_alloc(&values, ARENA_OTHER, (size_t)n, sizeof *values));
  OK(wide_download(device, values, DTYPE_F32, from, (size_t)n));
  OK(device_synchronize(device));
  return values;
}

#endif
