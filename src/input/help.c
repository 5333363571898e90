#include "input/help.h"

#include "input/help_rows.h"
#include "input/settings_table.h"
#include "input/wrapping.h"

const char help_purpose[] = "aligns a vision-language model with human preferences (SFT, reward model, PPO)";

const char *const help_synopses[] = {
    "mpirun -np N llava_rlhf [--check | --dry-run] [--set group.name=value ...] INPUT.nml",
    "mpirun -np N llava_rlhf --self-test [--set parallel.NAME=value ...]",
    "llava_rlhf --help | --version | --print-defaults [task] | --print-metrics[=markdown] | --print-manual",
    "llava_rlhf --report RUN_DIR [RUN_DIR ...] [--output PATH]",
    "llava_rlhf --merge-trace RUN_DIR [--output PATH]",
    NULL,
};

const help_row_t help_options[] = {
    {"--check", "reads and checks the input, opens no data"},
    {"--dry-run", "opens the files too; prints layout, memory, disk and time per step"},
    {"--self-test",
     "tries the installed program on the ranks it is started on: known answers, collectives, files in "
     "TMPDIR, a tiny model; needs no input; status 0 if all checks pass, else of the first that did not"},
    {"--set group.name=value", "changes a setting of the input; may be repeated, the last one wins"},
    {"--print-defaults",
     "writes an input with every setting, its default and what it means; with a task, only what that "
     "task uses"},
    {"--print-metrics", "writes what is logged: name, unit, meaning; as text or as docs/metrics.md"},
    {"--print-manual", "writes the manual page, for man"},
    {"--report",
     "writes RUN_DIR/report.html of a run, running, finished or dead; of several runs one page that compares "
     "them, report.html here; --output: another path"},
    {"--merge-trace",
     "puts the timelines that log.trace has left, one of each rank, together: RUN_DIR/trace/all.json.gz, for "
     "ui.perfetto.dev; --output: another path"},
    {"--version", "version, compiler, libraries"},
    {"--help", "this text"},
    {NULL, NULL},
};

const help_row_t help_exits[] = {
    {"0", "done"},
    {"1", "a mistake of the program itself"},
    {"2", "input or command line wrong"},
    {"3", "a data, model or checkpoint file missing or broken"},
    {"4", "NaN, infinity or divergence; in the self-test, wrong numbers"},
    {"5", "device or communication failed or timed out"},
    {"10", "stopped cleanly before the end, start again with the same command to continue"},
    {NULL, NULL},
};

const char help_stopping[] =
    "To stop a run: signal USR1, job.max_seconds, or a file EXIT in its run directory.";

const char *const help_example[] = {
    "&job                    ! a comment",
    "  task = 'sft'  run_dir = 'runs/sft'",
    "/",
    "&optim",
    "  lr = 1e-4  betas = 0.9, 0.95",
    "/",
    NULL,
};

static void help_print_rows(FILE *file, const help_row_t *rows, const char *format, const char *indent) {
  for (; rows->form; rows++) {
    char first[64];
    snprintf(first, sizeof first, format, rows->form);
    wrapping_write(file, first, indent, rows->text);
  }
}

static void help_print_tables(FILE *file) {
  int count;
  const setting_group_t *groups = settings_groups(&count);
  fputs("Tasks:", file);
  for (int i = 0; i < TASK_COUNT; i++)
    fprintf(file, " %s", task_name(i));
  fputs("\n\nGroups of settings:\n", file);
  for (int i = 0; i < count; i++)
    fprintf(file, "  &%-12s %s\n", groups[i].name, groups[i].doc);
}

status_t help_print(FILE *file) {
  fprintf(file, "llava_rlhf: %s\n\n", help_purpose);
  for (int i = 0; help_synopses[i]; i++)
    fprintf(file, "  %s\n", help_synopses[i]);
  fputc('\n', file);
  help_print_rows(file, help_options, "  %-22s  ", "                          ");
  fputs("\nThe input is a file of Fortran namelists:\n\n", file);
  for (int i = 0; help_example[i]; i++)
    fprintf(file, "  %s\n", help_example[i]);
  fputc('\n', file);
  help_print_tables(file);
  fputs("\nExit status:\n", file);
  help_print_rows(file, help_exits, "  %-2s  ", "      ");
  fprintf(file, "%s\n", help_stopping);
  return wrapping_finish(file);
}
