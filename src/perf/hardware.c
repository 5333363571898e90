#include "perf/hardware.h"

#ifdef LLAVA_HAS_PAPI
#include <papi.h>

#include <stdio.h>

/* Part of the counters, which are one of the two globals of the program. */
static struct {
  const char *names[HARDWARE_MOST];
  int count;
  int events;                    /* PAPI's set */
  long long seen[HARDWARE_MOST]; /* at the last look */
} hardware = {.events = PAPI_NULL};

static status_t hardware_refuse(const char *event, int code) {
  return error_set(STATUS_INPUT, "log.hardware: '%s' cannot be counted here (%s); papi_avail lists what can",
                   event, PAPI_strerror(code));
}

static status_t hardware_add(const char *const *names, int count) {
  for (int i = 0; i < count; i++) {
    int code = PAPI_add_named_event(hardware.events, names[i]);
    if (code != PAPI_OK) return hardware_refuse(names[i], code);
    hardware.names[hardware.count++] = names[i];
    hardware.seen[i] = 0;
  }
  int code = PAPI_start(hardware.events);
  return code == PAPI_OK ? STATUS_OK : hardware_refuse(names[0], code);
}

static status_t hardware_open(const char *const *names, int count) {
  int version = PAPI_library_init(PAPI_VER_CURRENT);
  if (version != PAPI_VER_CURRENT)
    return error_set(STATUS_INPUT, "log.hardware: PAPI does not start (%s)",
                     version < 0 ? PAPI_strerror(version) : "the library is of another version");
  int code = PAPI_create_eventset(&hardware.events);
  if (code != PAPI_OK) return hardware_refuse(names[0], code);
  return hardware_add(names, count);
}

status_t hardware_start(const char *const *names, int count) {
  if (count == 0) return STATUS_OK;
  if (count > HARDWARE_MOST)
    return error_set(STATUS_INPUT, "log.hardware names %d events, expected at most %d", count, HARDWARE_MOST);
  status_code_t status = hardware_open(names, count);
  if (status != STATUS_OK) hardware_stop();
  return status;
}

void hardware_stop(void) {
  long long last[HARDWARE_MOST];
  if (hardware.events == PAPI_NULL) return;
  (void)PAPI_stop(hardware.events, last);
  (void)PAPI_cleanup_eventset(hardware.events);
  (void)PAPI_destroy_eventset(&hardware.events);
  hardware.events = PAPI_NULL;
  hardware.count = 0;
}

void hardware_take(double *counts) {
  long long now[HARDWARE_MOST];
  if (hardware.count == 0 || PAPI_read(hardware.events, now) != PAPI_OK) return;
  for (int i = 0; i < hardware.count; i++) {
    counts[i] += (double)(now[i] - hardware.seen[i]);
    hardware.seen[i] = now[i];
  }
}

int hardware_count(void) {
  return hardware.count;
}

const char *hardware_name(int event) {
  return hardware.names[event];
}

const char *hardware_version(void) {
  static char text[32];
  snprintf(text, sizeof text, "%d.%d.%d", PAPI_VERSION_MAJOR(PAPI_VERSION), PAPI_VERSION_MINOR(PAPI_VERSION),
           PAPI_VERSION_REVISION(PAPI_VERSION));
  return text;
}

#else

status_t hardware_start(const char *const *names, int count) {
  if (count == 0) return STATUS_OK;
  return error_set(STATUS_INPUT, "log.hardware = '%s': this program was built without PAPI (LLAVA_RLHF_PAPI)",
                   names[0]);
}

void hardware_stop(void) {}

void hardware_take(double *counts) {
  (void)counts;
}

int hardware_count(void) {
  return 0;
}

const char *hardware_name(int event) {
  (void)event;
  return "";
}

const char *hardware_version(void) {
  return "not built";
}
#endif
