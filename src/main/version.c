#include "main/version.h"

#include "build_info.h"
#include "io/h5.h"
#include "main/devices.h"
#include "perf/hardware.h"
#include "tensor/cpu/cpu.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>

const char *version_number(void) {
  return BUILD_VERSION;
}

const char *version_line(void) {
  return BUILD_VERSION " (commit " BUILD_COMMIT ", " BUILD_TREE "), " BUILD_TYPE ", " BUILD_COMPILER;
}

static void version_print_devices(void) {
  int32_t count;
  const device_entry_t *devices = devices_table(&count);
  printf("devices     ");
  for (int32_t d = 0; d < count; d++)
    printf("%s%s", d > 0 ? ", " : "", devices[d].name);
  printf("\n");
}

/* The level that this processor would get. */
static status_t version_print_simd(void) {
  device_t *device;
  TRY(cpu_create(1, NULL, &device));
  printf("SIMD level  %s\n", device->detail);
  device_free(device);
  return STATUS_OK;
}

/* MPI's own description, up to the end of its first line. */
static void version_print_mpi(void) {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  printf("MPI         %.*s\n", (int)strcspn(text, "\n"), text);
}

status_t version_print(void) {
  char hdf5[H5_VERSION_TEXT], cuda[320];
  h5_version(hdf5);
  printf("llava_rlhf  %s\n", BUILD_VERSION);
  printf("commit      %s (%s)\n", BUILD_COMMIT, BUILD_TREE);
  printf("compiler    %s\n", BUILD_COMPILER);
  printf("build type  %s\n", BUILD_TYPE);
  version_print_mpi();
  printf("HDF5        %s\n", hdf5);
  printf("BLAS        %s\n", cpu_blas_version());
  printf("PAPI        %s\n", hardware_version());
  TRY(version_print_simd());
  version_print_devices();
  devices_describe_cuda(cuda, sizeof cuda);
  printf("CUDA        %s\n", cuda);
  if (fflush(stdout) != 0 || ferror(stdout)) return error_set(STATUS_DATA, "the screen cannot be written");
  return STATUS_OK;
}
