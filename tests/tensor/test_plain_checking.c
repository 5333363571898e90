/* The checking mode of the plain device, the argument checks of its operations, and the wrappers of device.h.
 */
#include "tensor/ops.h"
#include "tensor/plain/plain.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 10 };

static void ok(status_code_t status) {
  if (status != STATUS_OK) fail_msg("%s", error_message());
}

static void refused(status_code_t status) {
  assert_int_equal(status, STATUS_DEVICE);
  assert_true(strlen(error_message()) > 0);
  error_clear();
}

static device_t *device_make(bool checking) {
  device_t *device = NULL;
  ok(plain_create(PLAIN_FLOAT, checking, &device));
  return device;
}

static real_t *real_make(device_t *device, size_t n) {
  real_t *array = NULL;
  ok(real_alloc(device, ARENA_OTHER, n, &array));
  ok(OP(device, fill_real, &(op_fill_real_t){.n = (int64_t)n, .value = 1.0, .x = array}));
  return array;
}

static index_t *index_make(device_t *device, const int32_t *values, size_t n) {
  index_t *array = NULL;
  ok(index_alloc(device, ARENA_OTHER, n, &array));
  ok(index_upload(device, array, values, n));
  return array;
}

/* ---- Faults: in a child, which must not come back ---- */

/* Reads or writes the first byte of POINTER in a child. True if that killed the child (a sanitizer ends it
 * with a status of its own). */
static bool faults(void *pointer, bool write) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    close(STDERR_FILENO); /* a sanitizer's report is expected here */
    volatile unsigned char *byte = pointer;
    if (write)
      *byte = 1;
    else
      (void)*byte;
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_host_access_faults(void **state) {
  (void)state;
  device_t *device = device_make(true);
  real_t *real = real_make(device, N);
  int host = 0;
  assert_false(faults(&host, true)); /* the test itself can tell */
  assert_true(faults(real, false));
  assert_true(faults(real, true));
  real_t *fresh = NULL; /* also before any operation has used it */
  ok(real_alloc(device, ARENA_OTHER, N, &fresh));
  assert_true(faults(fresh, true));
  device_release(device, fresh);
  device_release(device, real);
  device_free(device);
}

static void test_use_after_free_faults(void **state) {
  (void)state;
  device_t *device = device_make(true);
  real_t *real = real_make(device, N);
  device_release(device, real);
  assert_true(faults(real, false));
  real_t *next = real_make(device, N);
  assert_true(next != real); /* addresses are not given out again */
  refused(OP(device, fill_real, &(op_fill_real_t){.n = N, .value = 0.0, .x = real}));
  refused(OP(device, copy, &(op_copy_t){.n = N, .x = real, .y = next}));
  float host[N];
  refused(real_download(device, host, DTYPE_F32, real, N));
  device_release(device, next);
  device_free(device);
}

/* ---- Poison ---- */

static void test_unwritten_memory_is_refused(void **state) {
  (void)state;
  device_t *device = device_make(true);
  real_t *real = NULL, *good = real_make(device, N);
  wide_t *wide = NULL;
  index_t *index = NULL;
  float host[N];
  int32_t host_index[N];
  ok(real_alloc(device, ARENA_OTHER, N, &real));
  ok(wide_alloc(device, ARENA_OTHER, N, &wide));
  ok(index_alloc(device, ARENA_OTHER, N, &index));
  refused(real_download(device, host, DTYPE_F32, real, N));
  refused(wide_download(device, host, DTYPE_F32, wide, N));
  refused(index_download(device, host_index, index, N));
  refused(OP(device, add, &(op_add_t){.n = N, .x = real, .y = good}));
  refused(OP(device, add, &(op_add_t){.n = N, .x = good, .y = real}));
  ok(OP(device, fill_real,
        &(op_fill_real_t){.n = N - 1, .value = 2.0, .x = real})); /* one element stays unwritten */
  ok(real_download(device, host, DTYPE_F32, real, N - 1));
  refused(real_download(device, host, DTYPE_F32, real, N));
  ok(OP(device, copy,
        &(op_copy_t){.n = N, .x = real, .y = good})); /* a copy is as unwritten as the original */
  refused(real_download(device, host, DTYPE_F32, good, N));
  op_embedding_t embedding = {
      .rows = N, .cols = 1, .count = 5, .tokens = index, .weight = weight_real(good, 5, 1), .y = real};
  refused(OP(device, embedding, &embedding));
  ok(device_synchronize(device));
  void *blocks[] = {real, good, wide, index};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    device_release(device, blocks[i]);
  device_free(device);
}

/* An odd number of them, so that the last shares its word with nobody. */
static void test_unwritten_bf16_is_refused(void **state) {
  (void)state;
  enum { HALVES = N + 1 };
  static const arena_t arena = ARENA_OTHER;
  device_t *device = device_make(true);
  void *half = NULL;
  float host[HALVES] = {0};
  ok(device_alloc(device, &arena, HALVES * dtype_size(DTYPE_BF16), &half));
  refused(half_download(device, host, DTYPE_F32, half, HALVES));
  ok(half_upload(device, half, host, DTYPE_F32, N));
  refused(half_download(device, host, DTYPE_F32, half, HALVES));
  ok(half_download(device, host, DTYPE_F32, half, N));
  ok(half_upload(device, half, host, DTYPE_F32, HALVES));
  ok(half_download(device, host, DTYPE_F32, half, HALVES));
  refused(half_upload(device, half, host, DTYPE_F32, HALVES + 1));
  ok(device_synchronize(device));
  device_release(device, half);
  device_free(device);
}

/* A NaN that was computed is data, not poison. */
static void test_computed_nan_is_downloaded(void **state) {
  (void)state;
  for (int type = PLAIN_FLOAT; type <= PLAIN_DOUBLE; type++) {
    device_t *device = NULL;
    ok(plain_create((plain_type_t)type, true, &device));
    real_t *real = NULL;
    double host[N] = {0};
    ok(real_alloc(device, ARENA_OTHER, N, &real));
    ok(OP(device, fill_real, &(op_fill_real_t){.n = N, .value = (double)NAN, .x = real}));
    ok(real_download(device, host, DTYPE_F64, real, N));
    ok(device_synchronize(device));
    assert_true(isnan(host[0]) && isnan(host[N - 1]));
    device_release(device, real);
    device_free(device);
  }
}

/* ---- Copies ---- */

static void test_download_waits_for_synchronize(void **state) {
  (void)state;
  device_t *device = device_make(true);
  real_t *real = real_make(device, N);
  float host[N] = {0}, second[N] = {0};
  ok(real_download(device, host, DTYPE_F32, real, N));
  for (int i = 0; i < N; i++)
    assert_true(host[i] == 0.0f);
  ok(OP(device, fill_real,
        &(op_fill_real_t){.n = N, .value = 3.0, .x = real})); /* after the download's turn */
  ok(real_download(device, second, DTYPE_F32, real, N));
  ok(device_synchronize(device));
  for (int i = 0; i < N; i++)
    assert_true(host[i] == 1.0f && second[i] == 3.0f);
  host[0] = 7.0f;
  ok(device_synchronize(device)); /* nothing is carried out twice */
  assert_true(host[0] == 7.0f);
  device_release(device, real);
  device_free(device);
}

static void test_pointers_of_the_wrong_side_are_refused(void **state) {
  (void)state;
  device_t *device = device_make(true);
  real_t *real = real_make(device, N), *other = real_make(device, N);
  float host[N] = {0};
  refused(real_upload(device, (real_t *)(void *)host, host, DTYPE_F32, N));
  refused(real_upload(device, real, other, DTYPE_F32, N));
  refused(real_download(device, host, DTYPE_F32, (real_t *)(void *)host, N));
  refused(real_download(device, other, DTYPE_F32, real, N));
  refused(OP(device, add, &(op_add_t){.n = N, .x = (real_t *)(void *)host, .y = real}));
  refused(real_upload(device, real, NULL, DTYPE_F32, N));
  refused(real_upload(device, real, host, DTYPE_I32, N));
  device_release(device, real);
  device_release(device, other);
  device_free(device);
}

static void test_operands_must_lie_in_one_block(void **state) {
  (void)state;
  device_t *device = device_make(true);
  real_t *real = real_make(device, N), *next = real_make(device, N);
  float host[2 * N] = {0};
  refused(OP(device, fill_real, &(op_fill_real_t){.n = N + 1, .value = 0.0, .x = real}));
  refused(OP(device, fill_real, &(op_fill_real_t){.n = 1, .value = 0.0, .x = real_at(device, real, N)}));
  refused(OP(device, fill_real, &(op_fill_real_t){.n = 1, .value = 0.0, .x = real_at(device, real, -1)}));
  ok(OP(device, fill_real, &(op_fill_real_t){.n = 1, .value = 0.0, .x = real_at(device, real, N - 1)}));
  static const int32_t place[] = {1};
  index_t *index = index_make(device, place, 1);
  op_rotary_t rotary = {.rows = 1, .kv_heads = 1, .head_size = 2, .qkv = next, .ld = 4, .base = 1e4};
  rotary.positions = rotary.slots = index;
  rotary.page_size = 5;
  rotary.k_cache = real;
  rotary.v_cache = real_at(device, next, 4);
  refused(OP(device, rotary, &rotary)); /* a page of values is longer than what is left */
  device_release(device, index);
  refused(real_upload(device, real, host, DTYPE_F32, 2 * N));
  refused(real_download(device, host, DTYPE_F32, real, 2 * N));
  device_release(device, real);
  device_release(device, next);
  device_free(device);
}

/* ---- Arguments: checked in every mode ---- */

static void check_indices(device_t *device) {
  static const int32_t repeated[] = {1, 2, 1}, negative[] = {0, -2, 1}, offsets[] = {0, 2, 3},
                       falling[] = {0, 3, 2};
  real_t *from = real_make(device, N), *to = real_make(device, N);
  index_t *index = index_make(device, repeated, 3), *bad = index_make(device, negative, 3);
  index_t *device_falling = index_make(device, falling, 3);
  op_rows_t rows = {.rows = 3, .cols = 2, .from = from, .ld_from = 2, .index = index, .to = to, .ld_to = 2};
  ok(OP(device, rows_gather, &rows));
  refused(OP(device, rows_scatter, &rows)); /* a row is written twice */
  rows.index = bad;
  refused(OP(device, rows_gather, &rows));
  op_rotary_t rotary = {
      .rows = 3, .heads = 1, .head_size = 2, .qkv = to, .ld = 2, .positions = bad, .base = 1e4};
  refused(OP(device, rotary, &rotary));
  rotary.positions = index;
  rotary.head_size = 3;
  refused(OP(device, rotary, &rotary));
  rotary.head_size = 2;
  ok(OP(device, rotary, &rotary));
  rotary = (op_rotary_t){.rows = 1, .kv_heads = 1, .head_size = 2, .qkv = to, .ld = 4, .base = 1e4};
  rotary.positions = rotary.slots = index;
  rotary.k_cache = real_at(device, to, 4);
  rotary.v_cache = from;
  refused(OP(device, rotary, &rotary)); /* pages of 0 */
  rotary.page_size = 2;
  ok(OP(device, rotary, &rotary));
  rotary.k_cache = to;
  refused(OP(device, rotary, &rotary)); /* the cache overlaps the rows */
  sequences_t sequences = sequences_create(device), others;
  ok(sequences_prepare(&sequences, 2, offsets, 1, 1, 1));
  others = sequences;
  others.offsets = device_falling;
  op_attention_t attention = {.sequences = &others};
  attention.q = attention.k = attention.v = from;
  attention.ldq = attention.ldkv = attention.ldo = 1;
  attention.out = to;
  refused(OP(device, attention, &attention)); /* host and device disagree */
  attention.sequences = &sequences;
  ok(OP(device, attention, &attention));
  sequences_free(&sequences);
  void *blocks[] = {from, to, index, bad, device_falling};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    device_release(device, blocks[i]);
}

static void check_overlaps(device_t *device) {
  real_t *x = real_make(device, 2 * N), *y = real_make(device, 2 * N);
  refused(OP(device, add, &(op_add_t){.n = N, .x = x, .y = x}));
  refused(OP(device, copy, &(op_copy_t){.n = N, .x = x, .y = real_at(device, x, N - 1)}));
  ok(OP(device, copy, &(op_copy_t){.n = N, .x = x, .y = real_at(device, x, N)}));
  op_swiglu_backward_t swiglu = {.rows = 1, .cols = N, .gate_up = x, .dgate_up = x, .dy = y, .y = y};
  ok(OP(device, swiglu_backward, &swiglu)); /* as ops.h allows */
  swiglu.y = x;
  refused(OP(device, swiglu_backward, &swiglu));
  refused(OP(device, swiglu, &(op_swiglu_t){.rows = 1, .cols = N, .gate_up = x, .y = x}));
  /* Column blocks of the same rows do not overlap; the same columns do. */
  op_gemm_t gemm = {.m = 3, .n = 2, .k = 2, .a = x, .lda = 4, .b = y, .ldb = 2, .ldc = 4, .alpha = 1.0};
  gemm.c = real_at(device, x, 2);
  ok(OP(device, gemm, &gemm));
  gemm.c = real_at(device, x, 1);
  refused(OP(device, gemm, &gemm));
  device_release(device, x);
  device_release(device, y);
}

static void check_sizes(device_t *device) {
  real_t *x = real_make(device, N), *y = real_make(device, N), *w = real_make(device, N);
  op_gemm_t gemm = {
      .m = 2, .n = 2, .k = 3, .a = x, .lda = 2, .b = y, .ldb = 2, .c = w, .ldc = 2, .alpha = 1.0};
  refused(OP(device, gemm, &gemm)); /* lda */
  gemm.lda = 3;
  ok(OP(device, gemm, &gemm));
  gemm.c = NULL;
  refused(OP(device, gemm, &gemm));
  gemm.m = -1;
  refused(OP(device, gemm, &gemm));
  gemm.m = 0; /* nothing to do: nothing is looked at */
  ok(OP(device, gemm, &gemm));
  refused(OP(device, fill_real, &(op_fill_real_t){.n = N, .value = 0.0, .x = NULL}));
  device_release(device, x);
  device_release(device, y);
  device_release(device, w);
}

static void test_arguments(void **state) {
  (void)state;
  for (int checking = 0; checking < 2; checking++) {
    device_t *device = device_make(checking);
    check_indices(device);
    check_overlaps(device);
    check_sizes(device);
    device_free(device);
  }
}

/* ---- device.c ---- */

static void test_memory_is_counted_by_arena(void **state) {
  (void)state;
  enum { BLOCKS = 300 };
  for (int checking = 0; checking < 2; checking++) {
    device_t *device = device_make(checking);
    size_t cache = memory_usage(ARENA_CACHE).current, features = memory_usage(ARENA_FEATURES).current;
    real_t *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
      ok(real_alloc(device, i % 2 ? ARENA_CACHE : ARENA_FEATURES, (size_t)i + 1, &blocks[i]));
    assert_int_equal(memory_usage(ARENA_FEATURES).current - features,
                     (size_t)BLOCKS / 2 * BLOCKS / 2 * sizeof(float));
    for (int i = 0; i < BLOCKS; i++) /* in another order than that of allocation */
      device_release(device, blocks[(i * 7) % BLOCKS]);
    assert_int_equal(memory_usage(ARENA_FEATURES).current, features);
    assert_int_equal(memory_usage(ARENA_CACHE).current, cache);
    real_t *kept = NULL;
    ok(real_alloc(device, ARENA_CACHE, 0, &kept));
    assert_null(kept);
    device_release(device, NULL);
    device_free(device);
  }
}

static void test_missing_operation_is_named(void **state) {
  (void)state;
  device_t *device = device_make(false);
  ops_t none = {0};
  const ops_t *all = device->ops;
  device->ops = &none;
  refused(OP(device, fill_real, &(op_fill_real_t){.n = 1, .value = 0.0, .x = NULL}));
  refused(OP(device, sum_squares, &(op_sum_squares_t){.n = 1, .x = NULL, .sum = NULL}));
  device->ops = all;
  device_free(device);
}

static void test_huge_size_is_refused(void **state) {
  (void)state;
  device_t *device = device_make(true);
  real_t *real = NULL;
  assert_int_equal(real_alloc(device, ARENA_OTHER, SIZE_MAX / 2, &real), STATUS_MEMORY);
  assert_int_equal(real_alloc(device, ARENA_OTHER, SIZE_MAX / 16, &real), STATUS_MEMORY);
  assert_null(real);
  device_free(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_host_access_faults),
      cmocka_unit_test(test_use_after_free_faults),
      cmocka_unit_test(test_unwritten_memory_is_refused),
      cmocka_unit_test(test_unwritten_bf16_is_refused),
      cmocka_unit_test(test_computed_nan_is_downloaded),
      cmocka_unit_test(test_download_waits_for_synchronize),
      cmocka_unit_test(test_pointers_of_the_wrong_side_are_refused),
      cmocka_unit_test(test_operands_must_lie_in_one_block),
      cmocka_unit_test(test_arguments),
      cmocka_unit_test(test_memory_is_counted_by_arena),
      cmocka_unit_test(test_missing_operation_is_named),
      cmocka_unit_test(test_huge_size_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
