/* The command line. */
#ifndef INPUT_OPTIONS_H
#define INPUT_OPTIONS_H

#include "base/status.h"

#include <stdbool.h>

typedef enum {
  COMMAND_RUN,
  COMMAND_CHECK,
  COMMAND_DRY_RUN,
  COMMAND_SELF_TEST,
  COMMAND_HELP,
  COMMAND_VERSION,
  COMMAND_PRINT_DEFAULTS,
  COMMAND_PRINT_METRICS,
  COMMAND_PRINT_MANUAL,
  COMMAND_REPORT,
  COMMAND_MERGE_TRACE
} command_t;

typedef struct {
  command_t command;
  const char *input;     /* path; NULL where the command takes none. Texts are argv's. */
  const char *task;      /* of --print-defaults, NULL for all settings */
  bool markdown;         /* of --print-metrics */
  const char **run_dirs; /* (run_dir_count): of --report, --merge-trace */
  int run_dir_count;
  const char *output;     /* of the same, NULL where not given */
  const char **overrides; /* (override_count): "group.name=value" */
  int override_count;
} options_t;

/* Reads the command line (see help_print for its form). Free OPTIONS with options_free; on error
 * there is nothing to free. Errors: STATUS_INPUT (names the option and the nearest known one). Local. */
status_t options_parse(int argc, char *const *argv, options_t *options);

void options_free(options_t *options);

#endif
