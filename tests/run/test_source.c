/* data.prefetch is the memory for images that are decoded ahead of need. */
#include "run/source.h"

#include "base/memory.h"
#include "mpi_test.h"
#include "rollout/task_fixture.h"

#include <stdio.h>

enum { TICKETS = 10, SIZE = 336, TICKET_BYTES = 3 * SIZE * SIZE * sizeof(float) };

/* Asks for TICKETS images and takes the tickets' pixels for what memory grew by; what a thread resizes with
 * is less than a ticket. */
static int64_t tickets_held(source_t *source) {
  loader_ticket_t *tickets[TICKETS];
  size_t before = memory_usage(ARENA_FEATURES).current;
  for (int64_t t = 0; t < TICKETS; t++)
    assert_ok(loader_request(source->loader, &t, 1, SIZE, IMAGE_PAD, &tickets[t]));
  size_t held = memory_usage(ARENA_FEATURES).current - before;
  for (int t = 0; t < TICKETS; t++)
    loader_release(source->loader, tickets[t]);
  return (int64_t)(held / TICKET_BYTES);
}

/* Task: as many tickets as fit in data.prefetch hold memory, but always one. */
static status_t check_prefetch(session_t *session) {
  model_t model = {0};
  source_t source;
  const settings_t *settings = session->settings;
  int64_t fit = (settings->data.prefetch << 20) / TICKET_BYTES;
  if (fit < 1) fit = 1;
  if (fit > TICKETS) fit = TICKETS;
  assert_ok(source_open(session, &model, "data.dataset", settings->data.dataset, &source));
  assert_int_equal(tickets_held(&source), fit);
  source_close(&source);
  return STATUS_OK;
}

static void run_with(const char *prefetch) {
  char input[512];
  snprintf(input, sizeof input,
           "&job task='score' run_dir='@/source%s' /\n&model base='@/model.h5' /\n"
           "&data dataset='@/world/eval.h5' max_len=200 %s%s /\n",
           prefetch, *prefetch ? "prefetch=" : "", prefetch);
  assert_ok(fixture_run(fixture(), mpi_test_world(), 1, input, check_prefetch));
}

static void prefetch_is_memory(void **state) {
  (void)state;
  run_with("1");
  run_with("3");
  run_with("8");
  run_with("");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(fixture_set_up), cmocka_unit_test(prefetch_is_memory),
                                     cmocka_unit_test(fixture_tear_down)};
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
