#define _GNU_SOURCE
#include "base/log.h"

#include "base/progress.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 512, COLUMNS_ASSUMED = 80, CLOCK_MAX_BYTES = 32 };

static struct {
  pthread_mutex_t mutex;
  int rank;
  log_level_t level;
  FILE *file;
  bool screen_known, screen_terminal;
  bool line_open;  /* the terminal's last line is a progress line */
  bool clock_runs; /* messages begin with the time since clock_start */
  double clock_start;
  progress_t progress;
} logger = {.mutex = PTHREAD_MUTEX_INITIALIZER, .level = LOG_INFO};

static double now_seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void log_set_rank(int rank, int size) {
  (void)size;
  pthread_mutex_lock(&logger.mutex);
  logger.rank = rank;
  pthread_mutex_unlock(&logger.mutex);
}

void log_set_level(log_level_t level) {
  pthread_mutex_lock(&logger.mutex);
  logger.level = level;
  pthread_mutex_unlock(&logger.mutex);
}

void log_start_clock(double seconds) {
  pthread_mutex_lock(&logger.mutex);
  logger.clock_runs = true;
  logger.clock_start = now_seconds() - seconds;
  pthread_mutex_unlock(&logger.mutex);
}

void log_stop_clock(void) {
  pthread_mutex_lock(&logger.mutex);
  logger.clock_runs = false;
  pthread_mutex_unlock(&logger.mutex);
}

/* Closes the file; the mutex is held. */
static void log_close_file(void) {
  if (logger.file) fclose(logger.file);
  logger.file = NULL;
}

status_t log_open(const char *path) {
  FILE *file = fopen(path, "a");
  if (!file)
    return error_set(STATUS_DATA, "cannot open the log file '%s' for appending: %s", path, strerror(errno));
  pthread_mutex_lock(&logger.mutex);
  log_close_file();
  logger.file = file;
  pthread_mutex_unlock(&logger.mutex);
  return STATUS_OK;
}

void log_close(void) {
  pthread_mutex_lock(&logger.mutex);
  log_close_file();
  pthread_mutex_unlock(&logger.mutex);
}

/* Whether the screen is a terminal. Open MPI's mpirun gives rank 0 a pseudo-terminal whatever its own output
 * is: there, mpirun's output counts. */
static bool log_find_terminal(void) {
  if (isatty(STDOUT_FILENO) != 1) return false;
  if (!getenv("OMPI_COMM_WORLD_SIZE")) return true;
  char path[64], target[256];
  snprintf(path, sizeof path, "/proc/%ld/fd/1", (long)getppid());
  ssize_t length = readlink(path, target, sizeof target - 1);
  if (length < 0) return false;
  target[length] = '\0';
  return strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
}

static bool screen_is_terminal(void) {
  if (!logger.screen_known) logger.screen_terminal = log_find_terminal();
  logger.screen_known = true;
  return logger.screen_terminal;
}

/* Takes the progress line off the terminal so that a message can stand there. The mutex is held. */
static void log_clear_line(void) {
  if (!logger.line_open) return;
  fputs("\r\033[K", stdout);
  fflush(stdout);
  logger.line_open = false;
}

/* What a line begins with: "[  12.3 s] " or, from 1000 seconds on, "[ 1:02:03] ". The mutex is held. */
static void format_clock(char text[CLOCK_MAX_BYTES]) {
  double seconds = now_seconds() - logger.clock_start;
  long long whole = (long long)seconds;
  *text = '\0';
  if (!logger.clock_runs) return;
  if (seconds < 999.95)
    snprintf(text, CLOCK_MAX_BYTES, "[%6.1f s] ", seconds);
  else
    snprintf(text, CLOCK_MAX_BYTES, "[%2lld:%02lld:%02lld] ", whole / 3600, whole % 3600 / 60, whole % 60);
}

/* One message to one stream. */
static void log_write_message(FILE *stream, const char *clock, log_level_t level, const char *format,
                              va_list arguments) {
  static const char *const prefixes[] = {"error: ", "warning: ", "", ""};
  fputs(clock, stream);
  if (logger.rank != 0) fprintf(stream, "[rank %d] ", logger.rank);
  fputs(prefixes[level], stream);
  vfprintf(stream, format, arguments);
  fputc('\n', stream);
  fflush(stream);
}

void log_message(log_level_t level, const char *format, ...) {
  va_list arguments;
  pthread_mutex_lock(&logger.mutex);
  if (level <= logger.level && (logger.rank == 0 || level <= LOG_WARNING)) {
    char clock[CLOCK_MAX_BYTES];
    log_clear_line();
    format_clock(clock);
    va_start(arguments, format);
    log_write_message(level <= LOG_WARNING ? stderr : stdout, clock, level, format, arguments);
    va_end(arguments);
    if (logger.file) {
      va_start(arguments, format);
      log_write_message(logger.file, clock, level, format, arguments);
      va_end(arguments);
    }
  }
  pthread_mutex_unlock(&logger.mutex);
}

static int screen_columns(void) {
  struct winsize size;
  bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return known ? size.ws_col : COLUMNS_ASSUMED;
}

/* The mutex is held. */
static void log_draw_bar(const progress_due_t *due, const progress_report_t *report, double now) {
  char line[LINE_MAX_BYTES];
  progress_bar(&due->clock, report, now, screen_columns(), line, sizeof line);
  fprintf(stdout, "\r\033[K%s", line);
  fflush(stdout);
  logger.line_open = true;
}

/* The mutex is held. */
static void log_write_plain(const progress_due_t *due, const progress_report_t *report, double now) {
  char line[LINE_MAX_BYTES], clock[CLOCK_MAX_BYTES];
  format_clock(clock);
  progress_line(&due->clock, report, now, line, sizeof line);
  if (due->finished || !screen_is_terminal()) {
    log_clear_line();
    fprintf(stdout, "%s%s\n", clock, line);
    fflush(stdout);
  }
  if (!logger.file) return;
  fprintf(logger.file, "%s%s\n", clock, line);
  fflush(logger.file);
}

void log_progress(const char *label, long long done, long long total, const char *unit, const char *text) {
  pthread_mutex_lock(&logger.mutex);
  if (logger.rank == 0 && logger.level >= LOG_INFO) {
    double now = now_seconds();
    const progress_report_t report = {label, done, total, unit, text};
    progress_due_t due = progress_note(&logger.progress, &report, now);
    if (due.finished) log_clear_line();
    if (due.plain) log_write_plain(&due, &report, now);
    if (due.bar && screen_is_terminal()) log_draw_bar(&due, &report, now);
  }
  pthread_mutex_unlock(&logger.mutex);
}
