#include "record/metric_print.h"

#include "record/metric_table.h"

#include <string.h>

enum { INDENT = 4, COLUMNS = 100 };

static bool is_in(const metric_t *metric, const metric_group_t *group) {
  return strncmp(metric->name, group->prefix, strlen(group->prefix)) == 0;
}

/* What a value is measured in. */
static const char *unit_of(const metric_t *metric) {
  if (metric->format == METRIC_SHARE) return "share";
  return metric->unit ? metric->unit : "";
}

/* ---- For a screen ---- */

/* TEXT in lines of COLUMNS, indented. */
static void metric_print_write_wrapped(FILE *file, const char *text) {
  int column = 0;
  while (*text) {
    int n = (int)strcspn(text, " ");
    if (column > 0 && column + 1 + n > COLUMNS) {
      fputc('\n', file);
      column = 0;
    }
    column += fprintf(file, "%*s%.*s", column > 0 ? 1 : INDENT, "", n, text);
    text += n;
    text += strspn(text, " ");
  }
  fputc('\n', file);
}

static void metric_print_write_text(FILE *file, const metric_t *metric) {
  const char *unit = unit_of(metric);
  fprintf(file, "  %s%s%s%s", metric->name, *unit ? " [" : "", unit, *unit ? "]" : "");
  if (metric->better != BETTER_NEITHER) fprintf(file, ", better %s", better_name(metric->better));
  if (metric->label && *metric->label) fprintf(file, ", on the screen '%s'", metric->label);
  fputc('\n', file);
  metric_print_write_wrapped(file, metric->meaning);
}

/* ---- As a page ---- */

static const char page_head[] = "# Metrics\n"
                                "\n"
                                "Made by `llava_rlhf --print-metrics=markdown` from "
                                "`src/record/metric_table.c`, the only place where a metric's name,\n"
                                "unit and meaning stand; a test compares this page with it.\n"
                                "\n"
                                "`metrics.jsonl` in the run directory has one line per step: `{\"step\": 12, "
                                "\"seconds\": 34.5, \"sft/loss\": 1.25, ...}`,\n"
                                "`seconds` counting from the start of the program. The same names are the "
                                "tags in TensorBoard. Task `evaluate` writes its\n"
                                "numbers to `evaluation.json`, under the part of the name behind the slash; "
                                "those of POPE in the object `pope`, those of\n"
                                "MMHal-Bench in `mmhal`.\n"
                                "\n"
                                "A *share* lies between 0 and 1 and is shown in percent. *Better* says which "
                                "way a value should go, where that can be said\n"
                                "of it alone. *Screen* is the short name in the log.\n";

static void metric_print_write_row(FILE *file, const metric_t *metric) {
  static const char *const arrows[] = {[BETTER_NEITHER] = "", [BETTER_UP] = "up", [BETTER_DOWN] = "down"};
  fprintf(file, "| `%s` | %s | %s | %s | ", metric->name, unit_of(metric), arrows[metric->better],
          metric->label ? metric->label : "");
  for (const char *c = metric->meaning; *c; c++) {
    if (strchr("|*<", *c)) fputc('\\', file);
    fputc(*c, file);
  }
  fputs(" |\n", file);
}

/* ---- Both ---- */

status_t metric_print(FILE *file, bool markdown) {
  int count, group_count;
  const metric_t *table = metric_table(&count);
  const metric_group_t *groups = metric_groups(&group_count);
  if (markdown) fputs(page_head, file);
  for (int g = 0; g < group_count; g++) {
    if (markdown)
      fprintf(file, "\n## %s\n\n| name | unit | better | screen | meaning |\n|---|---|---|---|---|\n",
              groups[g].title);
    else
      fprintf(file, "%s%s\n", g > 0 ? "\n" : "", groups[g].title);
    for (int m = 0; m < count; m++)
      if (is_in(&table[m], &groups[g]))
        (markdown ? metric_print_write_row : metric_print_write_text)(file, &table[m]);
  }
  if (fflush(file) == 0 && !ferror(file)) return STATUS_OK;
  return error_set(STATUS_DATA, "the metrics cannot be written: the disk may be full");
}
