/* The devices of this build. */
#ifndef MAIN_DEVICES_H
#define MAIN_DEVICES_H

#include "run/session.h"

/* All devices (*COUNT); the first is what parallel.device = 'auto' means. */
const device_entry_t *devices_table(int32_t *count);

#endif
