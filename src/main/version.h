/* What --version says, and the one line of it that every run's log begins with. */
#ifndef MAIN_VERSION_H
#define MAIN_VERSION_H

#include "base/status.h"

/* "0.1.0". */
const char *version_number(void);

/* "0.1.0 (commit ..., clean), Release, GNU 12.2.0". */
const char *version_line(void);

/* Writes the text of --version to stdout. Needs no MPI. Local. Errors: STATUS_DATA (write failed). */
status_t version_print(void);

#endif
