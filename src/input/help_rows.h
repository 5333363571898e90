/* What --help and the manual page have in common, for input/help*.c. */
#ifndef INPUT_HELP_ROWS_H
#define INPUT_HELP_ROWS_H

/* Tables end with a row of NULL. */
typedef struct {
  const char *form; /* "--set group.name=value" */
  const char *text; /* one paragraph */
} help_row_t;

extern const char help_purpose[];         /* what the program is, in a line */
extern const char *const help_synopses[]; /* ways to call it, "mpirun -np N llava_rlhf INPUT.nml" */
extern const help_row_t help_options[];
extern const help_row_t help_exits[];    /* exit statuses */
extern const char help_stopping[];       /* how a run is stopped */
extern const char *const help_example[]; /* lines of an input */

#endif
