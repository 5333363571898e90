/* Events: places in the order of a device's work that the host can ask about and wait for, so that it need
 * not wait for everything (device_synchronize) to read what it has downloaded. */
#ifndef TENSOR_EVENT_H
#define TENSOR_EVENT_H

#include "tensor/device.h"

typedef struct device_event device_event_t;

/* An event of DEVICE; it can be recorded again and again. Free with device_event_free, before the device.
 * Local.
 */
status_t device_event_create(device_t *device, device_event_t **out);
/* NULL is fine. */
void device_event_free(device_event_t *event);
SCOPED_POINTER(device_event_free, device_event_t)

/* Puts the event behind all that has been asked of the device so far. Local. */
status_t device_event_record(device_event_t *event);
/* Whether all of that is done; host memory of downloads among it can be read then. Does not wait. Errors:
 * STATUS_INTERNAL where the event was never recorded. Local. */
status_t device_event_query(device_event_t *event, bool *done);
/* Waits for it, watched as device_synchronize is. Errors: as query. Local. */
status_t device_event_wait(device_event_t *event);
/* The device's time from FROM to TO, which is done: what the host takes for calls in between is no part of it
 * as long as the device has enough to do; on a device without events, the host's time. Errors: as query.
 * Local. */
status_t device_event_seconds(device_event_t *from, device_event_t *to, double *seconds);

#endif
