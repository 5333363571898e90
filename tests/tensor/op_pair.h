/* Two devices side by side for the suite of operations: the tested one and the oracle, with the same arrays
 * on both. */
#ifndef TESTS_TENSOR_OP_PAIR_H
#define TESTS_TENSOR_OP_PAIR_H

#include "base/random.h"
#include "tensor/op_suite.h"
#include "tensor/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TESTED, ORACLE, DEVICES };
enum { PAIR_ARRAYS_MAX = 512 };

/* What arrays hold before an operation sets them: exact in every type, and never the result of a case. */
#define PAIR_UNTOUCHED (-77.0)

typedef struct {
  device_t *devices[DEVICES];
  op_suite_tolerances_t tolerances;
  random_stream_t random;
  void *arrays[DEVICES][PAIR_ARRAYS_MAX]; /* to be released */
  int array_count[DEVICES];
} op_pair_t;

/* An array of n elements on both devices. */
typedef struct {
  size_t n;
  real_t *on[DEVICES];
} real_pair_t;
typedef struct {
  size_t n;
  wide_t *on[DEVICES];
} wide_pair_t;
typedef struct {
  size_t n;
  index_t *on[DEVICES];
} index_pair_t;

/* Releases all arrays: at the end of a case. */
void pair_release(op_pair_t *pair);

/* Normal random numbers times SCALE, rounded so that the tested device's type holds them exactly. */
real_pair_t real_random(op_pair_t *pair, int64_t n, double scale);
wide_pair_t wide_random(op_pair_t *pair, int64_t n, double scale);
/* Filled with PAIR_UNTOUCHED. */
real_pair_t real_untouched(op_pair_t *pair, int64_t n);
wide_pair_t wide_untouched(op_pair_t *pair, int64_t n);
/* Copies of host arrays. */
real_pair_t real_of(op_pair_t *pair, const double *values, int64_t n);
wide_pair_t wide_of(op_pair_t *pair, const double *values, int64_t n);
index_pair_t index_of(op_pair_t *pair, const int32_t *values, int64_t n);

/* Host copies (n) from one side; the caller frees with memory_free. */
double *real_host(op_pair_t *pair, const real_pair_t *array, int side);
double *wide_host(op_pair_t *pair, const wide_pair_t *array, int side);
int32_t *index_host(op_pair_t *pair, const index_pair_t *array, int side);

/* The (rows, cols; ld) part of ARRAY from element BEGIN agrees on both sides to TOLERANCE (normalised).
 * Elements outside it that are PAIR_UNTOUCHED on the oracle must be so on the tested device. */
void real_expect_close(op_pair_t *pair, const char *what, const real_pair_t *array, int64_t begin,
                       int64_t rows, int64_t cols, int64_t ld, double tolerance);
void wide_expect_close(op_pair_t *pair, const char *what, const wide_pair_t *array, int64_t begin,
                       int64_t rows, int64_t cols, int64_t ld, double tolerance);
/* max|a - b| / max|b| of host arrays; infinite where one is not finite and the other is. */
double normalised_error(const double *a, const double *b, size_t n);

/* Uniform choice among the N values. */
int64_t pair_choose(op_pair_t *pair, const int64_t *values, int n);
bool pair_flip(op_pair_t *pair);

/* Fails the test with the error's message unless STATUS is OK. */
void expect_ok_at(status_code_t status, const char *file, int line);
#define EXPECT_OK(expr) expect_ok_at((expr), __FILE__, __LINE__)

/* The cases, by file. */
void case_gemm(void **state);
void case_activation_backward(void **state);
void case_swiglu(void **state);
void case_adamw(void **state);
void case_simple(void **state);
void case_copies(void **state);
void case_rmsnorm(void **state);
void case_layernorm(void **state);
void case_rope(void **state);
void case_attention(void **state);
void case_attention_backward(void **state);
void case_cache(void **state);
void case_cache_copy(void **state);
void case_decode_begin(void **state);
void case_decode_advance(void **state);
void case_embedding(void **state);
void case_rows(void **state);
void case_periodic(void **state);
void case_vocab_logprob(void **state);
void case_vocab_ties(void **state);
void case_vocab_backward(void **state);
void case_sample(void **state);
void case_sample_cut(void **state);
void case_vocab_histogram(void **state);

#endif
