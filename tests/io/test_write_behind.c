/* Ranges of a file that a thread writes: as many buffers as the bound allows, on any disk, and all bytes in
 * their places. */
#include "io/write_behind.h"

#include "io/descriptor.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROUNDS = 9, BYTES = 2 << 20, TAIL = 100 };

/* Writes ROUNDS buffers, each full of its number, and asks how many there were. WAITING: bytes that may. */
static int buffers_used(bool direct, int64_t waiting) {
  char path[] = "/tmp/llava_behind_XXXXXX", *buffer, *seen[ROUNDS];
  int descriptor = mkstemp(path), used = 0;
  write_behind_t *behind;
  assert_true(descriptor >= 0);
  assert_int_equal(write_behind_create(path, descriptor, direct, waiting, &behind), STATUS_OK);
  for (int i = 0; i < ROUNDS; i++) {
    int64_t bytes = i + 1 < ROUNDS ? BYTES : TAIL;
    write_piece_t piece = {0, bytes, (int64_t)i * BYTES};
    assert_int_equal(write_behind_buffer(behind, bytes, &buffer), STATUS_OK);
    memset(buffer, i + 1, (size_t)bytes);
    bool again = false;
    for (int s = 0; s < used; s++)
      again = again || seen[s] == buffer;
    if (!again) seen[used++] = buffer;
    assert_int_equal(write_behind_put(behind, &piece, 1), STATUS_OK);
  }
  write_behind_seal(behind);
  assert_int_equal(write_behind_wait(behind), STATUS_OK);
  assert_true(write_behind_is_done(behind));
  write_behind_free(behind);
  char *found = malloc(BYTES);
  for (int i = 0; i < ROUNDS; i++) {
    size_t n, bytes = i + 1 < ROUNDS ? BYTES : TAIL;
    assert_int_equal(descriptor_read_at(descriptor, found, BYTES, (int64_t)i * BYTES, &n), 0);
    assert_int_equal(n, bytes);
    for (size_t b = 0; b < bytes; b++)
      assert_int_equal(found[b], i + 1);
  }
  free(found);
  close(descriptor);
  unlink(path);
  return used;
}

/* One that is written, one that is filled, and those that may wait. */
static void bound_is_used(void **state) {
  (void)state;
  for (int direct = 0; direct < 2; direct++) {
    assert_int_equal(buffers_used(direct, 0), 2);
    assert_int_equal(buffers_used(direct, 3 * BYTES), 5);
    assert_int_equal(buffers_used(direct, INT64_C(100) * BYTES), ROUNDS);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bound_is_used),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
