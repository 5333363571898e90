/* The SIMD levels of the cpu device: there or refused, and each samples the ids that plain double samples. */
#include "cpu_arrays.h"

#include "tensor/plain/plain.h"

#include <string.h>

static const char *const levels[] = {"generic", "avx2", "avx512", "amx"};

/* Ids sampled on DEVICE from (rows, count) logits, ids of the shard starting at BEGIN. */
static void sample_ids(device_t *device, int64_t rows, int64_t count, int64_t begin, int32_t *ids,
                       float *values) {
  real_t *logits = real_new(device, 9, rows * count);
  wide_t *wide = wide_new(device, rows * count), *records = wide_new(device, rows * VOCAB_RECORD);
  OK(OP(device, widen, &(op_widen_t){.n = rows * count, .from = logits, .to = wide}));
  int32_t samples[64], positions[32];
  assert_true(rows <= 32);
  for (int32_t r = 0; r < 32; r++) {
    samples[2 * r] = 1000003 * r;
    samples[2 * r + 1] = r % 3;
    positions[r] = 17 * r;
  }
  index_t *sample_index = index_new(device, samples, 2 * rows),
          *position_index = index_new(device, positions, rows);
  float numbers[32 * VOCAB_RECORD];
  const vocab_draw_t draw = {
      .seed = 0x123456789abcdefull, .samples = sample_index, .positions = position_index};
  op_vocab_statistics_t op = {
      .shard = {.rows = rows, .ld = count, .begin = begin, .count = count, .logits = wide, .scale = 1.25},
      .draw = &draw,
      .records = records};
  OK(OP(device, vocab_statistics, &op));
  OK(wide_download(device, numbers, DTYPE_F32, records, (size_t)rows * VOCAB_RECORD));
  OK(device_synchronize(device));
  for (int64_t r = 0; r < rows; r++) {
    ids[r] = (int32_t)numbers[r * VOCAB_RECORD + VOCAB_RECORD_ID];
    values[r] = numbers[r * VOCAB_RECORD + VOCAB_RECORD_VALUE];
  }
  void *all[] = {logits, wide, records, sample_index, position_index};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    device_release(device, all[i]);
}

/* Fast noise picks the ids that noise in double picks, on each level. */
static void test_samples(void **context) {
  enum { ROWS = 32, COUNT = 3001, BEGIN = 40000 };
  (void)context;
  int32_t expected[ROWS], found[ROWS];
  float expected_value[ROWS], found_value[ROWS];
  device_t *oracle = NULL;
  OK(plain_create(PLAIN_DOUBLE, false, &oracle));
  sample_ids(oracle, ROWS, COUNT, BEGIN, expected, expected_value);
  device_free(oracle);
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    device_t *device = NULL;
    if (cpu_create(2, levels[i], &device) != STATUS_OK) {
      error_clear();
      continue;
    }
    sample_ids(device, ROWS, COUNT, BEGIN, found, found_value);
    assert_memory_equal(found, expected, sizeof found);
    for (int r = 0; r < ROWS; r++)
      assert_true(fabsf(found_value[r] - expected_value[r]) < 1e-5f);
    device_free(device);
  }
}

static void test_levels(void **context) {
  (void)context;
  device_t *device = NULL;
  assert_int_equal(cpu_create(1, "sse9", &device), STATUS_INPUT);
  assert_null(device);
  error_clear();
  OK(cpu_create(1, "generic", &device));
  assert_string_equal(device->detail, "generic");
  device_free(device);
  int supported = cpu_levels();
  assert_string_equal(cpu_level_name(0), "generic");
  OK(cpu_create(1, NULL, &device));
  assert_string_equal(device->detail, cpu_level_name(supported - 1));
  device_free(device);
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    bool there = false;
    for (int j = 0; j < supported; j++)
      there = there || strcmp(levels[i], cpu_level_name(j)) == 0;
    assert_int_equal(cpu_create(1, levels[i], &device), there ? STATUS_OK : STATUS_INPUT);
    if (there)
      device_free(device);
    else
      error_clear();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_levels), cmocka_unit_test(test_samples)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
