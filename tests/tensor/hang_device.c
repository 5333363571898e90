/* Run by test_device_waits under mpirun: hang_device CASE TIMEOUT. A device that never gets done with what
 * CASE waits for; the watchdog is to end the run with 5. Exits with 9 where the last words do not name call
 * and region.
 */
#include "parallel/watchdog.h"
#include "perf/perf.h"
#include "tensor/event.h"
#include "tensor/plain/plain.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static status_t never(device_t *device) {
  while (device)
    pause();
  return STATUS_OK;
}

static status_t never_event(device_t *device, void *own) {
  (void)own;
  return never(device);
}

static status_t never_reduced(device_t *device, device_request_t *request) {
  (void)request;
  return never(device);
}

static const struct {
  const char *name, *call;
} cases[] = {{"synchronize", "'wait for the device'"},
             {"event", "'wait for a device's event'"},
             {"reduce_scatter", "'end of the device's reduce-scatter'"}};

static void check_words(void *context, status_code_t status, const char *message) {
  const char *call = context;
  if (status != STATUS_COMM || !strstr(message, call) || !strstr(message, "region decode")) _exit(9);
}

static status_t wait_for(device_t *device, comm_t *world, const char *name) {
  SCOPED(device_event_free_at) device_event_t *event = NULL;
  device_request_t *request = NULL;
  wide_t *data = NULL;
  float zero = 0.0f;
  TRY(device_event_create(device, &event));
  TRY(device_event_record(event));
  TRY(wide_alloc(device, ARENA_OTHER, (size_t)comm_size(world), &data));
  for (int r = 0; r < comm_size(world); r++)
    TRY(wide_upload(device, wide_at(device, data, r), &zero, DTYPE_F32, 1));
  perf_begin(REGION_DECODE);
  if (strcmp(name, "synchronize") == 0) return device_synchronize(device);
  if (strcmp(name, "event") == 0) return device_event_wait(event);
  TRY(wide_reduce_scatter_begin(device, world, data, 1, &request));
  return wide_reduce_scatter_end(device, request);
}

int main(int argc, char **argv) {
  comm_t *world = NULL;
  device_t *device = NULL;
  if (comm_init(&argc, &argv, &world) != STATUS_OK || argc != 3) return 1;
  status_code_t status = watchdog_start(world, atof(argv[2]));
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (strcmp(argv[1], cases[i].name) == 0) watchdog_on_end(check_words, (void *)cases[i].call);
  if (status == STATUS_OK) status = plain_create(PLAIN_FLOAT, false, &device);
  if (status == STATUS_OK) {
    device->synchronize = never;
    device->event_wait = never_event;
    device->reduce_scatter_end = never_reduced;
    status = wait_for(device, world, argv[1]);
  }
  comm_abort(status == STATUS_OK ? 0 : 1);
}
