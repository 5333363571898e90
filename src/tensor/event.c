#include "tensor/event.h"

#include "parallel/watchdog.h"
#include "perf/perf.h"

struct device_event {
  device_t *device;
  void *own; /* the device's */
  bool recorded;
  double when; /* perf_now() when it was recorded */
};

status_t device_event_create(device_t *device, device_event_t **out) {
  SCOPED_MEMORY device_event_t *event = NULL;
  *out = NULL;
  TRY(memory_alloc(&event, ARENA_OTHER, 1, sizeof *event));
  event->device = device;
  if (device->event_create) TRY(device->event_create(device, &event->own));
  memory_hand_over(out, &event);
  return STATUS_OK;
}

void device_event_free(device_event_t *event) {
  if (!event) return;
  if (event->device->event_free) event->device->event_free(event->device, event->own);
  memory_free(event);
}

status_t device_event_record(device_event_t *event) {
  if (event->device->event_record) TRY(event->device->event_record(event->device, event->own));
  event->recorded = true;
  event->when = perf_now();
  return STATUS_OK;
}

static status_t event_check(const device_event_t *event) {
  if (event->recorded) return STATUS_OK;
  return error_set(STATUS_INTERNAL, "device '%s': an event was asked about before it was recorded",
                   event->device->name);
}

status_t device_event_query(device_event_t *event, bool *done) {
  *done = true;
  TRY(event_check(event));
  return event->device->event_query ? event->device->event_query(event->device, event->own, done) : STATUS_OK;
}

status_t device_event_wait(device_event_t *event) {
  TRY(event_check(event));
  if (!event->device->event_wait) return STATUS_OK;
  watchdog_enter("wait for a device's event");
  status_code_t status = event->device->event_wait(event->device, event->own);
  watchdog_leave();
  return status;
}

status_t device_event_seconds(device_event_t *from, device_event_t *to, double *seconds) {
  TRY(event_check(from));
  TRY(event_check(to));
  *seconds = to->when - from->when;
  if (!from->device->event_seconds) return STATUS_OK;
  return from->device->event_seconds(from->device, from->own, to->own, seconds);
}
