#define _GNU_SOURCE
#include "run/report_html.h"

#include "run/report_page.h"

#include <stdlib.h>
#include <string.h>

/* What a task is called for people. */
static const char *title_of(const char *task) {
  static const char *const titles[][2] = {
      {"world", "The shapes world"},
      {"prepare", "Preparing data"},
      {"import", "Importing weights"},
      {"export", "Exporting weights"},
      {"pretrain", "Pretraining"},
      {"sft", "Supervised fine-tuning"},
      {"rm", "Reward model"},
      {"ppo", "Reinforcement learning from human feedback"},
      {"generate", "Generating answers"},
      {"annotate", "Annotating pairs"},
      {"score", "Scoring answers"},
      {"evaluate", "Evaluation"},
      {"bench", "Speed of this machine"},
  };
  for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
    if (strcmp(titles[i][0], task) == 0) return titles[i][1];
  return task;
}

static void write_fact(FILE *file, const char *name, const char *text) {
  if (!*text) return;
  fprintf(file, "<div><dt>%s</dt><dd>", name);
  html_text(file, text);
  fputs("</dd></div>\n", file);
}

/* "2024-05-01T12:34:56Z" as "2024-05-01 12:34 UTC". */
static void write_date(FILE *file, const char *name, const char *text) {
  char date[32];
  if (strlen(text) < 16) return;
  snprintf(date, sizeof date, "%.10s %.5s UTC", text, text + 11);
  write_fact(file, name, date);
}

static void write_layout(FILE *file, const json_t *run) {
  char text[128];
  double ranks = report_number(run, "ranks", 0.0), threads = report_number(run, "threads", 0.0);
  if (ranks <= 0.0) return;
  snprintf(text, sizeof text, "%.0f rank%s: %.0f data-parallel x %.0f tensor-parallel, %.0f thread%s each",
           ranks, ranks == 1.0 ? "" : "s", report_number(run, "dp", 1.0), report_number(run, "tp", 1.0),
           threads, threads == 1.0 ? "" : "s");
  write_fact(file, "Layout", text);
}

static void write_machine(FILE *file, const json_t *run) {
  char text[256];
  double nodes = report_number(run, "nodes", 1.0);
  snprintf(text, sizeof text, "%s (%s)", report_text(run, "device"), report_text(run, "device_detail"));
  if (*report_text(run, "device")) write_fact(file, "Device", text);
  snprintf(text, sizeof text, "%s", report_text(run, "host"));
  if (nodes > 1.0) snprintf(text, sizeof text, "%s and %.0f more", report_text(run, "host"), nodes - 1.0);
  write_fact(file, "Host", text);
}

/* How the run stands, for a small badge: a class and a word. */
static void write_state(FILE *file, const char *state) {
  static const char *const words[][2] = {{"done", "finished"},
                                         {"stopped", "stopped before its end"},
                                         {"failed", "failed"},
                                         {"running", "running"}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(words[i][0], state) == 0)
      fprintf(file, "<span class=\"state %s\">%s</span>", state, words[i][1]);
}

static void write_header(FILE *file, const char *run_dir, const json_t *run) {
  const char *state = report_text(run, "state"), *reason = report_text(run, "reason");
  fputs("<header><p class=\"brand\">llava_rlhf</p><h1>", file);
  html_text(file, title_of(report_text(run, "task")));
  fputs("</h1><p class=\"where\">", file);
  write_state(file, state);
  fputs("<code>", file);
  html_text(file, run_dir);
  fputs("</code></p>", file);
  if (*reason) {
    fputs("<p class=\"reason\">", file);
    html_text(file, reason);
    fputs("</p>", file);
  }
  fputs("<dl class=\"facts\">\n", file);
  write_date(file, "Started", report_text(run, "started"));
  write_layout(file, run);
  write_machine(file, run);
  write_fact(file, "Version", report_text(run, "build"));
  fputs("</dl></header>\n", file);
}

static void write_settings(FILE *file, const char *input) {
  if (!*input) return;
  fputs("<section><details><summary>Settings</summary><pre class=\"card\">", file);
  html_text(file, input);
  fputs("</pre></details></section>\n", file);
}

static void write_page(FILE *file, const char *run_dir, report_data_t *data) {
  const json_t *run = data->run.root;
  fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
        file);
  html_text(file, title_of(report_text(run, "task")));
  fputs(" - ", file);
  html_text(file, run_dir);
  fputs("</title>\n<style>", file);
  report_style(file);
  fputs("</style></head>\n<body><main>\n", file);
  write_header(file, run_dir, run);
  report_tiles(file, data);
  report_evaluation(file, data);
  report_charts(file, data);
  report_samples(file, data);
  report_times(file, data);
  write_settings(file, data->input);
  fputs(
      "<footer>Curves of many steps show means over stretches of steps; the pale band is the range within "
      "them. "
      "Point at a curve for its numbers; all of them are in metrics.jsonl.</footer>\n</main></body></html>\n",
      file);
}

static status_t write_report(const char *run_dir, report_data_t *data) {
  char path[FILE_MAX_PATH], *text = NULL;
  size_t n = 0;
  TRY(file_join(path, run_dir, "report.html", NULL));
  FILE *file = open_memstream(&text, &n);
  if (!file) return error_set(STATUS_MEMORY, "no memory for report.html");
  write_page(file, run_dir, data);
  bool bad = ferror(file) != 0;
  if (fclose(file) != 0 || bad) {
    free(text);
    return error_set(STATUS_MEMORY, "no memory for report.html");
  }
  status_code_t status = file_replace(path, text, n);
  free(text);
  return status;
}

status_t report_html_write(const char *run_dir) {
  report_data_t data;
  status_code_t status = report_data_read(run_dir, &data);
  if (status == STATUS_OK) status = write_report(run_dir, &data);
  report_data_free(&data);
  return status;
}
