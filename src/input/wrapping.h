/* Texts broken into lines. */
#ifndef INPUT_WRAPPING_H
#define INPUT_WRAPPING_H

#include "base/status.h"

#include <stdio.h>

/* Writes TEXT broken into lines, the first behind FIRST, the others behind PREFIX. Local. */
void wrapping_write(FILE *file, const char *first, const char *prefix, const char *text);

/* After the last text: has all of it been written? Errors: STATUS_DATA. Local. */
status_t wrapping_finish(FILE *file);

#endif
