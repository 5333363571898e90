#include "main/devices.h"

#include "tensor/cpu/cpu.h"
#include "tensor/plain/plain.h"

#include <string.h>

static bool dtype_is(const settings_t *settings, const char *name) {
  return strcmp(settings->parallel.dtype, name) == 0;
}

static status_t devices_refuse_dtype(const settings_t *settings, const char *device, const char *expected) {
  return error_set(STATUS_INPUT, "parallel.dtype = '%s' is not computed by device '%s'; expected %s",
                   settings->parallel.dtype, device, expected);
}

static status_t devices_check_cpu(const settings_t *settings) {
  return dtype_is(settings, "f64") ? devices_refuse_dtype(settings, "cpu", "'auto', 'f32' or 'bf16'")
                                   : STATUS_OK;
}

static status_t devices_create_cpu(const grid_t *grid, const settings_t *settings, device_t **out) {
  TRY(devices_check_cpu(settings));
  return cpu_create(grid->threads, NULL, out);
}

/* It computes in all of them. */
static status_t devices_check_plain(const settings_t *settings) {
  (void)settings;
  return STATUS_OK;
}

static status_t devices_create_plain(const grid_t *grid, const settings_t *settings, device_t **out) {
  (void)grid;
  return plain_create(dtype_is(settings, "f64") ? PLAIN_DOUBLE : PLAIN_FLOAT, settings->parallel.check, out);
}

static const device_entry_t devices[] = {{"cpu", devices_create_cpu}, {"plain", devices_create_plain}};

/* What each of them computes, as far as the settings tell. */
typedef status_t check_t(const settings_t *settings);
static check_t *const checks[] = {devices_check_cpu, devices_check_plain};

const device_entry_t *devices_table(int32_t *count) {
  *count = (int32_t)(sizeof devices / sizeof *devices);
  return devices;
}

status_t devices_check(const settings_t *settings) {
  const device_entry_t *device;
  int32_t count;
  const device_entry_t *all = devices_table(&count);
  TRY(device_choose(settings, all, count, &device));
  return checks[device - all](settings);
}
