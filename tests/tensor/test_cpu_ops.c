/* The suite of operations on the cpu device: every SIMD level that this machine has, on one and on two
 * threads. */
#include "tensor/cpu/cpu.h"
#include "tensor/op_suite.h"

#include <stdio.h>
#include <string.h>

/* Runs the suite on one level; returns the failures. Only generic, which every processor has, must be there.
 */
static int run(const char *level, int threads) {
  device_t *device = NULL;
  if (cpu_create(threads, level, &device) != STATUS_OK) {
    printf("level %s not run: %s\n", level, error_message());
    error_clear();
    return strcmp(level, "generic") == 0;
  }
  printf("level %s, %d threads\n", level, threads);
  int failed = op_suite_run(device, (op_suite_tolerances_t){.forward = 1e-5, .gradient = 1e-4});
  device_free(device);
  return failed;
}

int main(void) {
  int failed = 0;
  const char *const levels[] = {"generic", "avx2", "avx512"};
  for (int i = 0; i < 3; i++)
    for (int threads = 1; threads <= 2; threads++)
      failed += run(levels[i], threads);
  return failed;
}
