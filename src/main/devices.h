/* The devices of this build. */
#ifndef MAIN_DEVICES_H
#define MAIN_DEVICES_H

#include "session/session.h"

/* All devices (*COUNT); the first is what parallel.device = 'auto' means. */
const device_entry_t *devices_table(int32_t *count);

/* Those of a dry run that assumes a GPU (parallel.gpu_memory; *COUNT): 'cuda' without a GPU in any build, and
 * the CPU's, which the assumed GPU takes the place of too. */
const device_entry_t *devices_assumed_table(int32_t *count);

/* Does this build have a device that computes what the settings ask for? Errors: STATUS_INPUT. Local. */
status_t devices_check(const settings_t *settings);

/* The device that tells what is right: plain, in double. Local. */
status_t devices_create_oracle(device_t **out);

/* What this build has for GPUs, and with which libraries, or that it has nothing, in a line cut to CAPACITY.
 * Local. */
void devices_describe_cuda(char *text, size_t capacity);

#endif
