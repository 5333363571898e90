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

/* Elements on each side of every array that hold PAIR_GUARD and must hold it at the end of a case: what an
 * operation writes or adds outside its operands is found on every device. A multiple of what devices align
 * to. */
enum { PAIR_GUARD_ELEMENTS = 256 };
#define PAIR_GUARD (-93.0)

/* An array with its guards. */
typedef enum { PAIR_REAL, PAIR_WIDE, PAIR_HALF, PAIR_INDEX } pair_kind_t;
typedef struct {
  pair_kind_t kind;
  void *block; /* begins with the guard */
  int64_t n;
} pair_array_t;

typedef struct {
  device_t *devices[DEVICES];
  op_suite_tolerances_t tolerances;
  random_stream_t random;
  pair_array_t arrays[DEVICES][PAIR_ARRAYS_MAX]; /* to be released */
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
typedef struct {
  weight_t on[DEVICES];
} weight_pair_t;

typedef struct {
  size_t n;
  half_t *on[DEVICES];
} half_pair_t;

/* Checks the guards of all arrays and releases them: at the end of a case. */
void pair_release(op_pair_t *pair);

/* Normal random numbers times SCALE, rounded so that the tested device's type holds them exactly. */
real_pair_t real_random(op_pair_t *pair, int64_t n, double scale);
wide_pair_t wide_random(op_pair_t *pair, int64_t n, double scale);
/* Filled with PAIR_UNTOUCHED. */
real_pair_t real_untouched(op_pair_t *pair, int64_t n);
wide_pair_t wide_untouched(op_pair_t *pair, int64_t n);
/* Random in the (rows, cols; ld) part, PAIR_UNTOUCHED between the rows. */
real_pair_t real_rows(op_pair_t *pair, int64_t rows, int64_t cols, int64_t ld, double scale);
wide_pair_t wide_rows(op_pair_t *pair, int64_t rows, int64_t cols, int64_t ld, double scale);
/* Copies of host arrays. */
real_pair_t real_of(op_pair_t *pair, const double *values, int64_t n);
wide_pair_t wide_of(op_pair_t *pair, const double *values, int64_t n);
half_pair_t half_of(op_pair_t *pair, const double *values, int64_t n);
index_pair_t index_of(op_pair_t *pair, const int32_t *values, int64_t n);
/* N normal random numbers that bf16 holds exactly; on the host. Free with memory_free. */
double *host_halves(op_pair_t *pair, int64_t n, double scale);
/* A weight of normal random numbers in NF4: a part of a larger matrix, whose columns begin with a block where
 * AT_BLOCK. */
weight_pair_t nf4_random(op_pair_t *pair, int64_t rows, int64_t cols, bool at_block);

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
void case_linear(void **state);
void case_linear_nf4(void **state);
void case_linear_shapes(void **state);
void case_half_weights(void **state);
void case_half_cache(void **state);
void case_activation_backward(void **state);
void case_swiglu(void **state);
void case_adamw(void **state);
void case_simple(void **state);
void case_copies(void **state);
void case_rmsnorm(void **state);
void case_layernorm(void **state);
void case_rotary(void **state);
void case_attention(void **state);
void case_attention_backward(void **state);
void case_cache(void **state);
void case_cache_copy(void **state);
void case_decode_begin(void **state);
void case_decode_advance(void **state);
void case_embedding(void **state);
void case_rows(void **state);
void case_periodic(void **state);
void case_vocab_statistics(void **state);
void case_vocab_infinities(void **state);
void case_vocab_ties(void **state);
void case_vocab_many(void **state);
void case_vocab_backward(void **state);
void case_sample(void **state);
void case_sample_cut(void **state);
void case_vocab_histogram(void **state);
void case_vocab_walk(void **state);
void case_policy_loss(void **state);
void case_policy_loss_overflow(void **state);
void case_value_loss(void **state);
void case_pair_loss(void **state);

#endif
