/* The suite of operations on the cpu device: every SIMD level that this machine has, or those that are
 * named on the command line, on one and on two threads. */
#include "tensor/cpu/cpu.h"
#include "tensor/op_suite.h"

#include <stdio.h>
#include <string.h>

/* Runs the suite on one level, which must be there if it is NEEDED; returns the failures. */
static int run(const char *level, int threads, bool needed) {
  device_t *device = NULL;
  if (cpu_create(threads, level, &device) != STATUS_OK) {
    printf("level %s not run: %s\n", level, error_message());
    error_clear();
    return needed;
  }
  printf("level %s, %d threads\n", level, threads);
  /* Tiles add the products with weights in bf16 in another order than those in float, so that the two are as
   * far from each other as from the oracle. */
  double half = strcmp(level, "amx") == 0 ? 1e-5 : 0.0;
  int failed = op_suite_run(device, (op_suite_tolerances_t){.forward = 1e-5, .gradient = 1e-4, .half = half});
  device_free(device);
  return failed;
}

int main(int argc, char **argv) {
  static const char *const all[] = {"generic", "avx2", "avx512", "amx"};
  int failed = 0, named = argc - 1;
  for (int i = 0; i < (named ? named : (int)(sizeof all / sizeof *all)); i++)
    for (int threads = 1; threads <= 2; threads++)
      failed += run(named ? argv[1 + i] : all[i], threads, named || i == 0);
  return failed;
}
