/* Makes the folders that the tests of the program start from, once for all of them (a fixture of ctest). */
#include "cli/ppo_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void make_worlds(void **state) {
  (void)state;
  cli_keep("world");
  ppo_world_make();
  cli_keep("ppo_world");
}

/* Anew, whatever is kept: the program may have changed. */
static int enter(void **state) {
  if (cli_enter(state) != 0) return -1;
  cli_make_world();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(make_worlds)};
  return cmocka_run_group_tests(tests, enter, cli_leave);
}
