/* What the program says of itself: --help, and the manual page. Options are described here and nowhere else,
 * settings in their table (input/settings_table.h). */
#ifndef INPUT_HELP_H
#define INPUT_HELP_H

#include "base/status.h"

#include <stdio.h>

/* Writes the text of --help. Local. Errors: STATUS_DATA (write failed). */
status_t help_print(FILE *file);

/* Writes the manual page, llava_rlhf(1), in roff for man: options, every setting, exit statuses. VERSION of
 * the program stands in its foot. Local. Errors: STATUS_DATA (write failed). */
status_t help_print_manual(FILE *file, const char *version);

#endif
