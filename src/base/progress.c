#include "base/progress.h"

#include <stdio.h>
#include <string.h>

enum { BAR_COLUMNS = 24 };
static const double bar_interval = 0.2;
static const double plain_interval = 10.0;

/* The clock of LABEL; a new label takes a free one, or that which was started first. */
static progress_clock_t *progress_find_clock(progress_t *progress, const char *label, long long done,
                                             double now) {
  progress_clock_t *found = &progress->clocks[0];
  for (int i = 0; i < PROGRESS_KINDS; i++) {
    progress_clock_t *clock = &progress->clocks[i];
    if (clock->label[0] && strncmp(clock->label, label, PROGRESS_LABEL_MAX - 1) == 0) {
      if (done >= clock->first_done) return clock;
      found = clock;
      break;
    }
    if (found->label[0] && (!clock->label[0] || clock->started < found->started)) found = clock;
  }
  *found = (progress_clock_t){
      .first_done = done, .started = now, .last_bar = now - bar_interval, .last_plain = now};
  snprintf(found->label, sizeof found->label, "%s", label);
  return found;
}

progress_due_t progress_note(progress_t *progress, const progress_report_t *report, double now) {
  progress_clock_t *clock = progress_find_clock(progress, report->label, report->done, now);
  progress_due_t due = {.finished = report->done >= report->total};
  due.bar = !due.finished && now - clock->last_bar >= bar_interval;
  due.plain = now - clock->last_plain >= plain_interval || (due.finished && clock->told);
  if (due.bar) clock->last_bar = now;
  if (due.plain) clock->last_plain = now;
  clock->told = clock->told || due.plain;
  due.clock = *clock;
  if (due.finished) clock->label[0] = '\0';
  return due;
}

/* Seconds as "4 s", "3 min 05 s" or "2 h 05 min". */
static void format_duration(char *text, size_t size, double seconds) {
  long long whole = (long long)(seconds + 0.5);
  if (seconds < 59.5)
    snprintf(text, size, "%.0f s", seconds);
  else if (whole < 3600)
    snprintf(text, size, "%lld min %02lld s", whole / 60, whole % 60);
  else
    snprintf(text, size, "%lld h %02lld min", whole / 3600, whole % 3600 / 60);
}

/* BAR goes between label and numbers. */
static void format_line(const progress_clock_t *clock, const progress_report_t *report, const char *bar,
                        double now, char *line, size_t size) {
  double elapsed = now - clock->started;
  double rate = elapsed > 0 ? (double)(report->done - clock->first_done) / elapsed : 0;
  int width = snprintf(NULL, 0, "%lld", report->total);
  size_t used = (size_t)snprintf(line, size, "%-10s %s%*lld/%lld %s", clock->label, bar, width, report->done,
                                 report->total, report->unit);
  if (report->text && used < size) used += (size_t)snprintf(line + used, size - used, "  %s", report->text);
  if (rate > 0 && used < size)
    used += (size_t)snprintf(line + used, size - used, rate < 1000 ? "  %.3g %s/s" : "  %.0f %s/s", rate,
                             report->unit);
  if (used >= size) return;
  char duration[32];
  if (report->done >= report->total) {
    format_duration(duration, sizeof duration, elapsed);
    snprintf(line + used, size - used, "  took %s", duration);
  } else if (rate > 0) {
    format_duration(duration, sizeof duration, (double)(report->total - report->done) / rate);
    snprintf(line + used, size - used, "  %s left", duration);
  }
}

void progress_line(const progress_clock_t *clock, const progress_report_t *report, double now, char *line,
                   size_t size) {
  format_line(clock, report, "", now, line, size);
}

void progress_bar(const progress_clock_t *clock, const progress_report_t *report, double now, int columns,
                  char *line, size_t size) {
  char bar[BAR_COLUMNS + 4] = "[";
  double share = report->total > 0 ? (double)report->done / (double)report->total : 1.0;
  int filled = (int)(share * BAR_COLUMNS);
  for (int i = 0; i < BAR_COLUMNS; i++)
    bar[1 + i] = i < filled ? '#' : '.';
  memcpy(bar + 1 + BAR_COLUMNS, "] ", 3);
  size_t room = columns > 0 && (size_t)columns < size ? (size_t)columns : size;
  format_line(clock, report, bar, now, line, room);
}
