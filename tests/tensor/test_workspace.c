/* Workspaces: one block of memory for a table, the largest sizes kept, nothing allocated for a table like one
 * before, every arena counted exactly, and nothing left behind. */
#include "mpi_test.h"
#include "tensor/ops.h"
#include "tensor/plain/plain.h"
#include "tensor/workspace.h"

#include <string.h>

enum { ALIGNMENT = 64 };

static int allocations;
static status_code_t (*allocate)(device_t *device, size_t bytes, void **out);

static status_t counted_alloc(device_t *device, size_t bytes, void **out) {
  allocations++;
  return allocate(device, bytes, out);
}

static status_t no_alloc(device_t *device, size_t bytes, void **out) {
  (void)device;
  *out = NULL;
  return error_set(STATUS_MEMORY, "no %zu bytes", bytes);
}

static device_t *device_open(bool checking) {
  device_t *device;
  assert_ok(plain_create(PLAIN_FLOAT, checking, &device));
  allocate = device->alloc;
  device->alloc = counted_alloc;
  allocations = 0;
  return device;
}

typedef struct {
  real_t *x;
  wide_t *y;
  index_t *rows, *none;
  double *host;
} buffers_t;

static status_t describe(workspace_t *w, int64_t n, bool all, buffers_t *b, bool *fresh) {
  workspace_begin(w);
  workspace_real(w, ARENA_ACTIVATIONS, "x", n, &b->x);
  workspace_wide(w, ARENA_SCRATCH, "y", 3 * n, &b->y);
  if (all) {
    workspace_index(w, ARENA_SCRATCH, "rows", n, &b->rows);
    workspace_index(w, ARENA_SCRATCH, "none", 0, &b->none);
    workspace_host(w, "host", 2 * n, &b->host);
  }
  return workspace_end(w, fresh);
}

static size_t in_use(arena_t arena) {
  return memory_usage(arena).current;
}

/* Buffers lie apart from each other and aligned, all in one block; a device that checks gives each its own.
 */
static void a_table_is_one_block(void **state) {
  (void)state;
  for (int checking = 0; checking < 2; checking++) {
    device_t *device = device_open(checking != 0);
    workspace_t w = workspace_create(device, "test");
    buffers_t b;
    bool fresh;
    size_t activations = in_use(ARENA_ACTIVATIONS), scratch = in_use(ARENA_SCRATCH);
    assert_ok(describe(&w, 10, true, &b, &fresh));
    assert_true(fresh && b.x && b.y && b.rows && !b.none && b.host);
    assert_int_equal(allocations, device->alignment == 0 ? 3 : 1);
    assert_int_equal(in_use(ARENA_ACTIVATIONS) - activations, 10 * 4);
    assert_int_equal(in_use(ARENA_SCRATCH) - scratch, 30 * 4 + 10 * 4);
    if (device->alignment > 0) {
      assert_int_equal((uintptr_t)b.y - (uintptr_t)b.x, ALIGNMENT);
      assert_int_equal((uintptr_t)b.rows - (uintptr_t)b.y, 2 * ALIGNMENT);
    }
    for (int i = 0; i < 20; i++)
      assert_true(b.host[i] == 0.0);
    workspace_free(&w);
    assert_int_equal(in_use(ARENA_ACTIVATIONS), activations);
    assert_int_equal(in_use(ARENA_SCRATCH), scratch);
    assert_true(!b.x && !b.y && !b.rows && !b.host);
    device_free(device);
  }
}

/* A smaller table, and one that stops earlier, find their memory there; each buffer keeps its largest size.
 */
static void the_largest_sizes_are_kept(void **state) {
  buffers_t b, before;
  bool fresh;
  (void)state;
  device_t *device = device_open(false);
  workspace_t w = workspace_create(device, "test");
  assert_ok(describe(&w, 10, true, &b, &fresh));
  int first = allocations;
  before = b;
  assert_ok(describe(&w, 4, true, &b, &fresh));
  assert_true(!fresh && memcmp(&b, &before, sizeof b) == 0);
  assert_ok(describe(&w, 10, false, &b, &fresh));
  assert_true(!fresh && memcmp(&b, &before, sizeof b) == 0);
  assert_int_equal(allocations, first);
  size_t scratch = in_use(ARENA_SCRATCH);
  assert_ok(describe(&w, 11, false, &b, &fresh));
  assert_true(fresh && b.rows && b.host);
  /* x and y have grown; the row numbers, of which nothing was said, have not. */
  assert_int_equal(in_use(ARENA_SCRATCH) - scratch, 3 * 4);
  workspace_free(&w);
  device_free(device);
}

/* The owner may lie elsewhere the next time. */
static void pointers_follow_their_owner(void **state) {
  buffers_t first, second = {0};
  (void)state;
  device_t *device = device_open(false);
  workspace_t w = workspace_create(device, "test");
  assert_ok(describe(&w, 10, true, &first, NULL));
  assert_ok(describe(&w, 10, true, &second, NULL));
  assert_ptr_equal(second.x, first.x);
  assert_ptr_equal(second.host, first.host);
  workspace_free(&w);
  assert_true(!second.x);
  device_free(device);
}

/* Without memory there is an error that names the workspace and its largest buffer, and nothing is counted;
 * with memory again it goes on. */
static void without_memory_nothing_is_left(void **state) {
  buffers_t b;
  (void)state;
  device_t *device = device_open(false);
  workspace_t w = workspace_create(device, "test");
  size_t scratch = in_use(ARENA_SCRATCH);
  device->alloc = no_alloc;
  assert_error(describe(&w, 10, true, &b, NULL), STATUS_MEMORY);
  assert_true(!b.x && !b.y && !b.host);
  assert_int_equal(in_use(ARENA_SCRATCH), scratch);
  device->alloc = counted_alloc;
  assert_ok(describe(&w, 10, true, &b, NULL));
  assert_true(b.x && b.host);
  workspace_free(&w);
  assert_int_equal(in_use(ARENA_SCRATCH), scratch);
  device_free(device);
}

/* Phases with tables of their own share one block, which grows to the larger of them; what of it a table
 * leaves is counted too, so that all arenas together say what is taken. (Under a sanitizer buffers have
 * blocks of their own.) */
static void phases_share_a_block(void **state) {
  buffers_t b;
  bool fresh;
  (void)state;
  device_t *device = device_open(false);
  if (device->alignment == 0) {
    device_free(device);
    return;
  }
  workspace_t w = workspace_create(device, "test");
  size_t before = in_use(ARENA_ACTIVATIONS) + in_use(ARENA_SCRATCH);
  assert_ok(describe(&w, 64, true, &b, &fresh));
  size_t all = in_use(ARENA_ACTIVATIONS) + in_use(ARENA_SCRATCH) - before, bytes = w.device_bytes;
  void *block = w.on_device;
  assert_int_equal(allocations, 1);
  assert_int_equal(all, bytes);
  workspace_restart(&w);
  assert_true(!b.x && !b.y && !b.rows && !b.host);
  assert_ok(describe(&w, 16, false, &b, &fresh));
  assert_true(fresh && b.x && b.y);
  assert_int_equal(allocations, 1);
  assert_int_equal(in_use(ARENA_SCRATCH) + in_use(ARENA_ACTIVATIONS) - before, bytes);
  /* Larger than before, and still no larger than the block. */
  assert_ok(describe(&w, 32, false, &b, &fresh));
  assert_true(fresh && b.x == block);
  assert_int_equal((uintptr_t)b.y - (uintptr_t)b.x, 32 * 4);
  assert_int_equal(allocations, 1);
  workspace_free(&w);
  assert_int_equal(in_use(ARENA_ACTIVATIONS) + in_use(ARENA_SCRATCH), before);
  device_free(device);
}

/* What is held keeps its contents while tables behind it grow, within the block and out of it. */
static void held_buffers_keep_their_contents(void **state) {
  enum { N = 40 };
  double values[N], read[N];
  (void)state;
  for (int i = 0; i < N; i++)
    values[i] = i + 0.5;
  for (int checking = 0; checking < 2; checking++) {
    device_t *device = device_open(checking != 0);
    workspace_t w = workspace_create(device, "test");
    buffers_t b = {0};
    real_t *held;
    bool fresh;
    size_t cache = in_use(ARENA_CACHE);
    assert_ok(describe(&w, 4, true, &b, &fresh));
    workspace_restart(&w);
    workspace_begin(&w);
    workspace_real(&w, ARENA_CACHE, "held", N, &held);
    assert_ok(workspace_hold(&w));
    assert_true(!held);
    assert_ok(describe(&w, 4, true, &b, &fresh));
    assert_true(fresh && held && b.x && b.host);
    assert_int_equal(in_use(ARENA_CACHE) - cache, N * 4);
    assert_ok(real_upload(device, held, values, DTYPE_F64, N));
    for (int64_t n = 4; n <= 400; n *= 10) {
      assert_ok(describe(&w, n, true, &b, &fresh));
      assert_true(fresh == (n > 4));
      assert_ok(OP(device, fill_real, &(op_fill_real_t){.n = n, .value = 7.0, .x = b.x}));
      assert_ok(real_download(device, read, DTYPE_F64, held, N));
      assert_ok(device_synchronize(device));
      assert_memory_equal(read, values, sizeof values);
    }
    workspace_forget(&w);
    assert_true(held && !b.x && !b.host);
    assert_ok(describe(&w, 2, false, &b, &fresh));
    assert_ok(real_download(device, read, DTYPE_F64, held, N));
    assert_ok(device_synchronize(device));
    assert_memory_equal(read, values, sizeof values);
    workspace_restart(&w);
    assert_true(!held && !b.x);
    workspace_free(&w);
    assert_int_equal(in_use(ARENA_CACHE), cache);
    device_free(device);
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_table_is_one_block),
      cmocka_unit_test(the_largest_sizes_are_kept),
      cmocka_unit_test(pointers_follow_their_owner),
      cmocka_unit_test(phases_share_a_block),
      cmocka_unit_test(held_buffers_keep_their_contents),
      cmocka_unit_test(without_memory_nothing_is_left),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
