/* The plain device in float against the one in double, with and without the checking mode. */
#include "tensor/op_suite.h"
#include "tensor/plain/plain.h"

#include <stdio.h>

static int run(bool checking) {
  device_t *device = NULL;
  if (plain_create(PLAIN_FLOAT, checking, &device) != STATUS_OK) {
    fprintf(stderr, "%s\n", error_message());
    return 1;
  }
  int failed = op_suite_run(device, (op_suite_tolerances_t){.forward = 1e-5, .gradient = 1e-4});
  device_free(device);
  return failed;
}

int main(void) {
  return run(false) + run(true);
}
