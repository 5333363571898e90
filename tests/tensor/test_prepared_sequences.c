/* Sequences prepared for attention: the same offsets on both sides, a work list that is all of the work, once
 * uploaded, and nothing left behind. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/kernels.h"
#include "tensor/plain/plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 5, THREADS = 3, HEADS = 4, KV_HEADS = 2, D = 8, POSITIONS = 700 };
static const int32_t offsets[COUNT + 1] = {0, 70, 71, 71, 100, POSITIONS};

static int uploads, allocations;
static device_t own; /* functions of the device that is counted */

static status_t count_upload(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                             size_t n) {
  uploads++;
  return own.upload(device, to, to_type, from, from_type, n);
}

static status_t count_alloc(device_t *device, size_t bytes, void **out) {
  allocations++;
  return own.alloc(device, bytes, out);
}

static void ok(status_code_t status) {
  if (status != STATUS_OK) fail_msg("%s", error_message());
}

static device_t *open_device(bool plain) {
  device_t *device;
  ok(plain ? plain_create(PLAIN_FLOAT, true, &device) : cpu_create(THREADS, NULL, &device));
  own = *device;
  device->upload = count_upload;
  device->alloc = count_alloc;
  uploads = allocations = 0;
  return device;
}

static void check_once(device_t *device) {
  int32_t there[COUNT + 1];
  sequences_t all = sequences_create(device);
  ok(sequences_prepare(&all, COUNT, offsets, HEADS, KV_HEADS, D));
  assert_int_equal(all.longest, 600);
  assert_int_equal(sequences_positions(&all), POSITIONS);
  assert_true(sequences_pairs(&all, false) == 70.0 * 70 + 1 + 29 * 29 + 600 * 600);
  assert_true(sequences_pairs(&all, true) == (70.0 * 71 + 2 + 29 * 30 + 600 * 601) / 2);
  ok(index_download(device, there, all.offsets, COUNT + 1));
  ok(device_synchronize(device));
  assert_memory_equal(there, offsets, sizeof offsets);
  assert_memory_equal(all.offsets_host, offsets, sizeof offsets);
  assert_int_equal(uploads, 1);
  assert_int_equal(allocations, 1);
  ok(sequences_prepare(&all, COUNT, offsets, HEADS, KV_HEADS, D));
  assert_int_equal(uploads, 1);
  ok(sequences_prepare(&all, COUNT, offsets, KV_HEADS, KV_HEADS, D)); /* another base */
  ok(sequences_prepare(&all, COUNT - 1, offsets, KV_HEADS, KV_HEADS, D));
  assert_int_equal(sequences_positions(&all), 100);
  assert_int_equal(all.longest, 70);
  assert_int_equal(uploads, 3);
  assert_int_equal(allocations, 1);
  sequences_free(&all);
}

static void offsets_go_up_once(void **state) {
  (void)state;
  for (int plain = 0; plain < 2; plain++) {
    size_t before = memory_usage(ARENA_SCRATCH).current;
    device_t *device = open_device(plain != 0);
    check_once(device);
    assert_int_equal(memory_usage(ARENA_SCRATCH).current, before);
    device_free(device);
  }
}

/* Each query row of each key-value head is in one task. */
static void the_list_is_all_work(void **state) {
  device_t *device = open_device(false);
  sequences_t all = sequences_create(device);
  int32_t seen[POSITIONS][HEADS] = {{0}};
  (void)state;
  for (int32_t kv_heads = 1; kv_heads <= HEADS; kv_heads *= 2) {
    memset(seen, 0, sizeof seen);
    ok(sequences_prepare(&all, COUNT, offsets, HEADS, kv_heads, D));
    const attention_task_t *tasks = (const attention_task_t *)all.work;
    size_t count = (size_t)all.listed * sizeof(int32_t) / sizeof *tasks;
    assert_true(count > COUNT);
    for (size_t i = 0; i < count; i++)
      for (int32_t t = tasks[i].query_begin; t < tasks[i].query_end; t++)
        seen[tasks[i].begin + t][tasks[i].kv_head]++;
    for (int32_t t = 0; t < POSITIONS; t++)
      for (int32_t h = 0; h < kv_heads; h++)
        assert_int_equal(seen[t][h], 1);
  }
  sequences_free(&all);
  device_free(device);
}

/* Many sequences need more memory; what is no batch is refused, and a batch is taken after it. */
static void any_batch_comes_after_any_other(void **state) {
  enum { MANY = 5000 };
  static const int32_t late[] = {1, 2}, falling[] = {0, 3, 2};
  static int32_t many[MANY + 1];
  (void)state;
  for (int32_t s = 0; s <= MANY; s++)
    many[s] = s;
  for (int plain = 0; plain < 2; plain++) {
    device_t *device = open_device(plain != 0);
    sequences_t all = sequences_create(device);
    ok(sequences_prepare(&all, COUNT, offsets, HEADS, KV_HEADS, D));
    assert_int_equal(sequences_prepare(&all, 1, late, HEADS, KV_HEADS, D), STATUS_INTERNAL);
    assert_int_equal(sequences_prepare(&all, 2, falling, HEADS, KV_HEADS, D), STATUS_INTERNAL);
    ok(sequences_prepare(&all, COUNT, offsets, HEADS, KV_HEADS, D));
    assert_int_equal(all.longest, 600);
    ok(sequences_prepare(&all, MANY, many, HEADS, KV_HEADS, D));
    assert_int_equal(sequences_positions(&all), MANY);
    ok(sequences_prepare(&all, 0, many, HEADS, KV_HEADS, D));
    assert_int_equal(sequences_positions(&all), 0);
    assert_int_equal(allocations, 2);
    sequences_free(&all);
    device_free(device);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(offsets_go_up_once),
      cmocka_unit_test(the_list_is_all_work),
      cmocka_unit_test(any_batch_comes_after_any_other),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
