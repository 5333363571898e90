/* How far long work has come: when a line about it is due, and what it says. Knows neither clock nor screen,
 * which are log.c's. */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

enum { PROGRESS_LABEL_MAX = 64, PROGRESS_KINDS = 4 };

/* Work under one label. */
typedef struct {
  char label[PROGRESS_LABEL_MAX]; /* "": free */
  long long first_done;
  double started;
  double last_bar, last_plain; /* when the newest bar was drawn, the newest plain line written */
  bool told;                   /* there has been a plain line */
} progress_clock_t;

/* Several kinds of work may be under way at a time, as the answers of a step among its steps. All zero at
 * first. */
typedef struct {
  progress_clock_t clocks[PROGRESS_KINDS];
} progress_t;

/* A call of log_progress. */
typedef struct {
  const char *label;
  long long done, total;
  const char *unit;
  const char *text; /* may be NULL */
} progress_report_t;

/* What is due now. */
typedef struct {
  progress_clock_t clock; /* of the work, as it stands */
  bool bar;               /* on a terminal: the bar is drawn anew */
  bool plain;             /* a plain line */
  bool finished;          /* the bar goes */
} progress_due_t;

/* Takes note of REPORT at NOW (seconds). A bar is due 5 times a second at most, a plain line every 10
 * seconds; the end of work has a line where the work has had one before or has taken as long. Local. */
progress_due_t progress_note(progress_t *progress, const progress_report_t *report, double now);

/* "sft  120/500 steps  loss 0.5  12 steps/s  1 min 20 s left" or, at the end, "...  took 42 s"; cut at SIZE.
 * Local. */
void progress_line(const progress_clock_t *clock, const progress_report_t *report, double now, char *line,
                   size_t size);

/* The same with a bar in it, in fewer than COLUMNS columns. Local. */
void progress_bar(const progress_clock_t *clock, const progress_report_t *report, double now, int columns,
                  char *line, size_t size);

#endif
