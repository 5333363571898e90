#include "tensor/op_suite.h"

#include "tensor/op_pair.h"
#include "tensor/plain/plain.h"

#include <string.h>

enum { SEED = 2024 };

/* ---- gemm ---- */

typedef struct {
  int64_t m, n, k, pad;
  bool trans_a, trans_b, c_wide, bias, pre, before;
  double alpha, beta;
  activation_t activation;
} gemm_case_t;

static void gemm_run(op_pair_t *pair, const gemm_case_t *c) {
  int64_t a_rows = c->trans_a ? c->k : c->m, lda = (c->trans_a ? c->m : c->k) + c->pad;
  int64_t b_rows = c->trans_b ? c->n : c->k, ldb = (c->trans_b ? c->k : c->n) + 2 * c->pad,
          ldc = c->n + c->pad;
  real_pair_t a = real_random(pair, a_rows * lda, 1.0), b = real_random(pair, b_rows * ldb, 1.0);
  real_pair_t bias = real_random(pair, c->n, 1.0), pre = real_untouched(pair, c->m * ldc), real_c = {0},
              real_before = {0};
  wide_pair_t wide_c = {0}, wide_before = {0};
  bool set = c->beta == 0.0 || c->before; /* c is not read */
  if (c->c_wide)
    wide_c = set ? wide_untouched(pair, c->m * ldc) : wide_rows(pair, c->m, c->n, ldc, 1.0);
  else
    real_c = set ? real_untouched(pair, c->m * ldc) : real_rows(pair, c->m, c->n, ldc, 1.0);
  if (c->before && c->c_wide)
    wide_before = wide_rows(pair, c->m, c->n, ldc, 1.0);
  else if (c->before)
    real_before = real_rows(pair, c->m, c->n, ldc, 1.0);
  for (int s = 0; s < DEVICES; s++) {
    op_gemm_t op = {.trans_a = c->trans_a,
                    .trans_b = c->trans_b,
                    .m = c->m,
                    .n = c->n,
                    .k = c->k,
                    .a = a.on[s],
                    .lda = lda,
                    .b = b.on[s],
                    .ldb = ldb,
                    .c = c->c_wide ? (void *)wide_c.on[s] : (void *)real_c.on[s],
                    .before = c->c_wide ? (void *)wide_before.on[s] : (void *)real_before.on[s],
                    .ldc = ldc,
                    .c_wide = c->c_wide,
                    .alpha = c->alpha,
                    .beta = c->beta,
                    .bias = c->bias ? bias.on[s] : NULL,
                    .activation = c->activation,
                    .pre = c->pre ? pre.on[s] : NULL};
    EXPECT_OK(OP(pair->devices[s], gemm, &op));
  }
  double tolerance = pair->tolerances.forward;
  if (c->c_wide)
    wide_expect_close(pair, "gemm wide c", &wide_c, 0, c->m, c->n, ldc, tolerance);
  else
    real_expect_close(pair, "gemm c", &real_c, 0, c->m, c->n, ldc, tolerance);
  if (c->pre) real_expect_close(pair, "gemm pre", &pre, 0, c->m, c->n, ldc, tolerance);
  pair_release(pair);
}

void case_gemm(void **state) {
  op_pair_t *pair = *state;
  static const int64_t sizes[] = {1, 2, 3, 5, 8, 16, 17, 31, 64, 65, 100, 129};
  enum { CASES = 64, SIZES = sizeof sizes / sizeof *sizes };
  for (int i = 0; i < CASES; i++) {
    gemm_case_t c = {.m = pair_choose(pair, sizes, SIZES),
                     .n = pair_choose(pair, sizes, SIZES),
                     .k = pair_choose(pair, sizes, SIZES),
                     .pad = pair_flip(pair) ? 3 : 0,
                     .trans_a = i & 1,
                     .trans_b = i & 2,
                     .bias = pair_flip(pair),
                     .alpha = pair_flip(pair) ? 1.0 : 0.25,
                     .beta = (i & 4) ? (pair_flip(pair) ? 1.0 : 0.5) : 0.0};
    c.c_wide = pair_flip(pair);
    c.before = c.beta != 0.0 && pair_flip(pair);
    if (!c.c_wide) c.activation = (activation_t)random_below(&pair->random, ACTIVATION_COUNT);
    c.pre = c.activation != ACTIVATION_NONE && pair_flip(pair);
    gemm_run(pair, &c);
  }
  /* Larger than the blocks of a fast device, in the shapes of a projection, its input's gradient and its
   * weight's. */
  gemm_run(pair, &(gemm_case_t){.m = 70, .n = 300, .k = 520, .trans_b = true, .alpha = 1.0});
  gemm_run(pair, &(gemm_case_t){.m = 70, .n = 520, .k = 300, .alpha = 1.0, .beta = 1.0, .c_wide = true});
  gemm_run(pair,
           &(gemm_case_t){
               .m = 300, .n = 520, .k = 70, .trans_a = true, .alpha = 1.0, .beta = 1.0, .c_wide = true});
  /* Decode steps: few rows, and sums that are shared by all of a block. */
  gemm_run(pair, &(gemm_case_t){.m = 1, .n = 40, .k = 2120, .trans_b = true, .alpha = 1.0, .c_wide = true});
  gemm_run(pair, &(gemm_case_t){.m = 3, .n = 20, .k = 5128, .trans_b = true, .alpha = 1.0});
  gemm_run(pair, &(gemm_case_t){.m = 11, .n = 18, .k = 4104, .trans_b = true, .alpha = 1.0, .c_wide = true});
  gemm_run(pair, &(gemm_case_t){.m = 7,
                                .n = 33,
                                .k = 1032,
                                .trans_b = true,
                                .alpha = 0.5,
                                .beta = 2.0,
                                .bias = true,
                                .before = true});
  gemm_run(pair,
           &(gemm_case_t){.m = 13, .n = 50, .k = 520, .pad = 8, .trans_b = true, .alpha = 1.0, .beta = 1.0});
}

/* ---- Elements ---- */

static const int64_t lengths[] = {1, 7, 64, 1003};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

void case_activation_backward(void **state) {
  op_pair_t *pair = *state;
  for (int i = 0; i < LENGTHS * 2 * ACTIVATION_COUNT; i++) {
    int64_t n = lengths[i % LENGTHS];
    bool in_place = i / LENGTHS % 2;
    real_pair_t pre = real_random(pair, n, 3.0), dy = real_random(pair, n, 1.0), dx = real_untouched(pair, n);
    for (int s = 0; s < DEVICES; s++) {
      op_activation_backward_t op = {.n = n,
                                     .activation = (activation_t)(i / LENGTHS / 2),
                                     .pre = pre.on[s],
                                     .dy = dy.on[s],
                                     .dx = in_place ? dy.on[s] : dx.on[s]};
      EXPECT_OK(OP(pair->devices[s], activation_backward, &op));
    }
    real_expect_close(pair, "activation_backward dx", in_place ? &dy : &dx, 0, 1, n, n,
                      pair->tolerances.gradient);
    pair_release(pair);
  }
}

static void swiglu_run(op_pair_t *pair, int64_t rows, int64_t cols, bool in_place, bool again) {
  int64_t n = rows * cols;
  real_pair_t gate_up = real_random(pair, 2 * n, 2.0), dy = real_random(pair, n, 1.0);
  real_pair_t y = real_untouched(pair, n), dgate_up = real_untouched(pair, 2 * n),
              second = real_untouched(pair, n);
  for (int s = 0; s < DEVICES; s++) {
    op_swiglu_t forward = {.rows = rows, .cols = cols, .gate_up = gate_up.on[s], .y = y.on[s]};
    EXPECT_OK(OP(pair->devices[s], swiglu, &forward));
    op_swiglu_backward_t backward = {.rows = rows,
                                     .cols = cols,
                                     .gate_up = gate_up.on[s],
                                     .dy = dy.on[s],
                                     .dgate_up = in_place ? gate_up.on[s] : dgate_up.on[s],
                                     .y = again ? (in_place ? dy.on[s] : second.on[s]) : NULL};
    EXPECT_OK(OP(pair->devices[s], swiglu_backward, &backward));
  }
  real_expect_close(pair, "swiglu", &y, 0, 1, n, n, pair->tolerances.forward);
  real_expect_close(pair, "swiglu dgate_up", in_place ? &gate_up : &dgate_up, 0, 1, 2 * n, 2 * n,
                    pair->tolerances.gradient);
  real_expect_close(pair, "swiglu dy", &dy, 0, 1, n, n, pair->tolerances.forward);
  real_expect_close(pair, "swiglu y once more", &second, 0, 1, n, n, pair->tolerances.forward);
  pair_release(pair);
}

void case_swiglu(void **state) {
  static const int64_t rows[] = {1, 3, 40};
  for (int i = 0; i < LENGTHS * 12; i++)
    swiglu_run(*state, rows[i / 4 % 3], lengths[i / 12], i & 1, i & 2);
}

void case_adamw(void **state) {
  op_pair_t *pair = *state;
  enum { STEPS = 3 };
  for (int i = 0; i < LENGTHS; i++) {
    int64_t n = lengths[i];
    double *zeros = NULL;
    EXPECT_OK(memory_alloc(&zeros, ARENA_OTHER, (size_t)n, sizeof *zeros));
    wide_pair_t master = wide_random(pair, n, 1.0), m = wide_of(pair, zeros, n), v = wide_of(pair, zeros, n);
    memory_free(zeros);
    real_pair_t real = real_random(pair, n, 1.0);
    int64_t first = n / 3; /* one run without and one with weights of the compute type */
    for (int step = 1; step <= STEPS; step++) {
      wide_pair_t grad = wide_random(pair, n, 0.1);
      for (int s = 0; s < DEVICES; s++) {
        const device_t *device = pair->devices[s];
        const adamw_run_t runs[] = {{first, master.on[s], m.on[s], v.on[s], grad.on[s], NULL},
                                    {n - first, wide_at(device, master.on[s], first),
                                     wide_at(device, m.on[s], first), wide_at(device, v.on[s], first),
                                     wide_at(device, grad.on[s], first), real_at(device, real.on[s], first)}};
        op_adamw_t op = {.count = 2,
                         .runs = runs,
                         .grad_scale = 0.5,
                         .lr = 1e-2,
                         .beta1 = 0.9,
                         .beta2 = 0.999,
                         .eps = 1e-8,
                         .weight_decay = i % 2 ? 0.1 : 0.0,
                         .step = step};
        EXPECT_OK(OP(pair->devices[s], adamw, &op));
      }
    }
    wide_expect_close(pair, "adamw master", &master, 0, 1, n, n, pair->tolerances.forward);
    real_expect_close(pair, "adamw real", &real, 0, 1, n, n, pair->tolerances.forward);
    wide_expect_close(pair, "adamw m", &m, 0, 1, n, n, pair->tolerances.forward);
    wide_expect_close(pair, "adamw v", &v, 0, 1, n, n, pair->tolerances.forward);
    pair_release(pair);
  }
}

void case_simple(void **state) {
  op_pair_t *pair = *state;
  for (int i = 0; i < LENGTHS; i++) {
    int64_t n = lengths[i];
    real_pair_t x = real_random(pair, n, 1.0), y = real_random(pair, n, 1.0),
                copied = real_untouched(pair, n);
    real_pair_t filled = real_untouched(pair, n + 1), narrowed = real_untouched(pair, n);
    wide_pair_t wide = wide_random(pair, n, 1.0), widened = wide_untouched(pair, n),
                sum = wide_random(pair, 1, 1.0);
    wide_pair_t wide_filled = wide_untouched(pair, n + 1);
    for (int s = 0; s < DEVICES; s++) {
      device_t *device = pair->devices[s];
      EXPECT_OK(OP(device, add, &(op_add_t){.n = n, .x = x.on[s], .y = y.on[s]}));
      EXPECT_OK(OP(device, copy, &(op_copy_t){.n = n, .x = x.on[s], .y = copied.on[s]}));
      EXPECT_OK(OP(device, fill_real, &(op_fill_real_t){.n = n, .value = 0.75, .x = filled.on[s]}));
      EXPECT_OK(OP(device, fill_wide, &(op_fill_wide_t){.n = n, .value = -0.5, .x = wide_filled.on[s]}));
      EXPECT_OK(OP(device, narrow, &(op_narrow_t){.n = n, .from = wide.on[s], .to = narrowed.on[s]}));
      EXPECT_OK(OP(device, widen, &(op_widen_t){.n = n, .from = x.on[s], .to = widened.on[s]}));
      EXPECT_OK(OP(device, sum_squares, &(op_sum_squares_t){.n = n, .x = wide.on[s], .sum = sum.on[s]}));
    }
    double tolerance = pair->tolerances.forward;
    real_expect_close(pair, "add", &y, 0, 1, n, n, tolerance);
    real_expect_close(pair, "copy", &copied, 0, 1, n, n, 0.0);
    real_expect_close(pair, "fill_real", &filled, 0, 1, n, n, 0.0);
    wide_expect_close(pair, "fill_wide", &wide_filled, 0, 1, n, n, 0.0);
    real_expect_close(pair, "narrow", &narrowed, 0, 1, n, n, tolerance);
    wide_expect_close(pair, "widen", &widened, 0, 1, n, n, 0.0);
    wide_expect_close(pair, "sum_squares", &sum, 0, 1, 1, 1, tolerance);
    pair_release(pair);
  }
}

/* Copies to the device and back, in both host types, and in parts. */
void case_copies(void **state) {
  op_pair_t *pair = *state;
  device_t *device = pair->devices[TESTED];
  enum { N = 37, BEGIN = 5, PART = 11 };
  float sent[N], received[N] = {0};
  double received_double[N] = {0};
  int32_t sent_index[N], received_index[N] = {0};
  for (int i = 0; i < N; i++) {
    sent[i] = (float)(i * 0.5);
    sent_index[i] = i - 7;
  }
  real_t *real = NULL;
  wide_t *wide = NULL;
  index_t *index = NULL;
  EXPECT_OK(real_alloc(device, ARENA_OTHER, N, &real));
  EXPECT_OK(wide_alloc(device, ARENA_OTHER, N, &wide));
  EXPECT_OK(index_alloc(device, ARENA_OTHER, N, &index));
  EXPECT_OK(real_upload(device, real, sent, DTYPE_F32, N));
  EXPECT_OK(wide_upload(device, wide, sent, DTYPE_F32, N));
  EXPECT_OK(index_upload(device, index, sent_index, N));
  EXPECT_OK(real_download(device, received, DTYPE_F32, real, N));
  EXPECT_OK(wide_download(device, received_double, DTYPE_F64, wide, N));
  EXPECT_OK(index_download(device, received_index, index, N));
  EXPECT_OK(device_synchronize(device));
  for (int i = 0; i < N; i++)
    assert_true(received[i] == sent[i] && received_double[i] == (double)sent[i]);
  assert_memory_equal(received_index, sent_index, sizeof sent_index);
  EXPECT_OK(wide_upload(device, wide_at(device, wide, BEGIN), received_double, DTYPE_F64, PART));
  EXPECT_OK(wide_download(device, received, DTYPE_F32, wide_at(device, wide, BEGIN - 1), PART + 2));
  EXPECT_OK(index_download(device, received_index, index_at(index, BEGIN), PART));
  EXPECT_OK(device_synchronize(device));
  assert_true(received[0] == sent[BEGIN - 1] && received[PART + 1] == sent[BEGIN + PART]);
  for (int i = 0; i < PART; i++)
    assert_true(received[i + 1] == sent[i] && received_index[i] == sent_index[BEGIN + i]);
  device_release(device, real);
  device_release(device, wide);
  device_release(device, index);
}

/* ---- The suite ---- */

static int start(void **state) {
  op_pair_t *pair = *state;
  pair->random = random_stream(SEED, RANDOM_TEST, 0);
  return 0;
}

static int finish(void **state) {
  pair_release(*state);
  return 0;
}

int op_suite_run(device_t *device, op_suite_tolerances_t tolerances) {
  static op_pair_t pair;
  pair = (op_pair_t){.tolerances = tolerances};
  pair.devices[TESTED] = device;
  status_code_t status = plain_create(PLAIN_DOUBLE, false, &pair.devices[ORACLE]);
  if (status != STATUS_OK) {
    print_error("%s\n", error_message());
    return 1;
  }
#define CASE(name)                                                                                           \
  { #name, case_##name, start, finish, &pair }
  const struct CMUnitTest tests[] = {
      CASE(gemm),
      CASE(linear),
      CASE(linear_nf4),
      CASE(linear_shapes),
      CASE(half_weights),
      CASE(half_cache),
      CASE(activation_backward),
      CASE(swiglu),
      CASE(adamw),
      CASE(simple),
      CASE(copies),
      CASE(rmsnorm),
      CASE(layernorm),
      CASE(rotary),
      CASE(attention),
      CASE(attention_backward),
      CASE(cache),
      CASE(cache_copy),
      CASE(decode_begin),
      CASE(decode_advance),
      CASE(embedding),
      CASE(rows),
      CASE(periodic),
      CASE(vocab_statistics),
      CASE(vocab_infinities),
      CASE(vocab_ties),
      CASE(vocab_many),
      CASE(vocab_backward),
      CASE(sample),
      CASE(sample_cut),
      CASE(vocab_histogram),
      CASE(vocab_walk),
      CASE(policy_loss),
      CASE(policy_loss_overflow),
      CASE(value_loss),
      CASE(pair_loss),
  };
#undef CASE
  int failed = _cmocka_run_group_tests(device->detail ? device->detail : device->name, tests,
                                       sizeof tests / sizeof *tests, NULL, NULL);
  device_free(pair.devices[ORACLE]);
  return failed;
}
