/* The manual page, in roff with the macros of man. */
#include "input/help.h"
#include "input/help_rows.h"
#include "input/settings_table.h"
#include "input/wrapping.h"

#include <string.h>

enum { RANGE_BYTES = 512 };

/* TEXT as it is: no character of it is roff's. */
static void manual_write(FILE *file, const char *text) {
  if (*text == '.' || *text == '\'') fputs("\\&", file);
  for (; *text; text++)
    switch (*text) {
    case '\\':
      fputs("\\e", file);
      break;
    case '-':
      fputs("\\-", file);
      break;
    case '\'':
      fputs("\\(aq", file);
      break;
    case '"':
      fputs("\\(dq", file);
      break;
    default:
      fputc(*text, file);
    }
}

static void manual_write_line(FILE *file, const char *text) {
  manual_write(file, text);
  fputc('\n', file);
}

/* A paragraph under a label in bold. */
static void manual_write_item(FILE *file, const char *label, const char *text) {
  fputs(".TP\n\\fB", file);
  manual_write(file, label);
  fputs("\\fR\n", file);
  manual_write_line(file, text);
}

static void manual_write_items(FILE *file, const help_row_t *rows) {
  for (; rows->form; rows++)
    manual_write_item(file, rows->form, rows->text);
}

/* Lines that stay as they are. */
static void manual_write_lines(FILE *file, const char *const *lines) {
  fputs(".nf\n", file);
  for (; *lines; lines++)
    manual_write_line(file, *lines);
  fputs(".fi\n", file);
}

static void manual_write_setting(FILE *file, const setting_t *row) {
  char range[RANGE_BYTES];
  const char *standard = setting_default(row, TASK_COUNT);
  fputs(".TP\n\\fB", file);
  manual_write(file, row->name);
  fputs("\\fR = ", file);
  manual_write_line(file, standard ? standard : "(required)");
  manual_write_line(file, row->doc);
  setting_describe_range(row, range, sizeof range);
  if (*range) {
    fputs("Values: ", file);
    manual_write(file, range);
    fputs(".\n", file);
  }
  for (int task = 0; task < TASK_COUNT; task++)
    if (row->by_task[task]) {
      fprintf(file, "In task %s: ", task_name(task));
      manual_write(file, row->by_task[task]);
      fputs(".\n", file);
    }
}

static void manual_write_group(FILE *file, const setting_group_t *group) {
  int count;
  const setting_t *rows = settings_table(&count);
  fprintf(file, ".SS &%s\n", group->name);
  manual_write_line(file, group->doc);
  for (int i = 0; i < count; i++)
    if (strcmp(rows[i].group, group->name) == 0) manual_write_setting(file, &rows[i]);
}

static void manual_write_settings(FILE *file) {
  int count;
  const setting_group_t *groups = settings_groups(&count);
  fputs(".SH SETTINGS\nAll of them, with their defaults; a task uses some, which\n"
        "\\fBllava_rlhf \\-\\-print\\-defaults\\fR \\fITASK\\fR writes.\n",
        file);
  for (int i = 0; i < count; i++)
    manual_write_group(file, &groups[i]);
}

static void manual_write_input(FILE *file) {
  fputs(".SH INPUT\nA file of Fortran namelists:\n.PP\n", file);
  manual_write_lines(file, help_example);
  fputs(".SH TASKS\nWhat\n.B job.task\ncan name:\n", file);
  for (int i = 0; i < TASK_COUNT; i++)
    fprintf(file, "%s%s\n", task_name(i), i + 1 < TASK_COUNT ? "," : ".");
}

status_t help_print_manual(FILE *file, const char *version) {
  fprintf(file, ".TH LLAVA_RLHF 1 \"\" \"llava_rlhf %s\" \"User Commands\"\n.SH NAME\nllava_rlhf \\- ",
          version);
  manual_write_line(file, help_purpose);
  fputs(".SH SYNOPSIS\n", file);
  manual_write_lines(file, help_synopses);
  fputs(".SH OPTIONS\n", file);
  manual_write_items(file, help_options);
  manual_write_input(file);
  fputs(".SH EXIT STATUS\n", file);
  manual_write_items(file, help_exits);
  fputs(".PP\n", file);
  manual_write_line(file, help_stopping);
  manual_write_settings(file);
  fputs(".SH SEE ALSO\nWhat is installed in share/doc/llava_rlhf: README.md, docs/running.md, "
        "docs/settings.md.\n",
        file);
  return wrapping_finish(file);
}
