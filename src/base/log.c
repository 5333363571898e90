#define _GNU_SOURCE
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LABEL_MAX = 64, LINE_MAX_BYTES = 512, CLOCKS_MAX = 4 };

static const double terminal_interval = 0.2; /* seconds between two drawings of a progress line */
static const double plain_interval = 10.0;   /* the same where it is not a terminal */

/* Of what is in progress under a label; several may be at a time, as the answers of a step among its steps.
 */
typedef struct {
  char label[LABEL_MAX]; /* "": free */
  long long first_done;
  double started;
  double last_terminal;
  double last_plain;
} progress_clock_t;

static struct {
  pthread_mutex_t mutex;
  int rank;
  log_level_t level;
  FILE *file;
  bool screen_known, screen_terminal;
  bool line_open; /* the terminal's last line is a progress line */
  progress_clock_t clocks[CLOCKS_MAX];
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

/* Closes the file; the mutex is held. */
static void close_file(void) {
  if (logger.file) fclose(logger.file);
  logger.file = NULL;
}

status_t log_open(const char *path) {
  FILE *file = fopen(path, "a");
  if (!file)
    return error_set(STATUS_DATA, "cannot open the log file '%s' for appending: %s", path, strerror(errno));
  pthread_mutex_lock(&logger.mutex);
  close_file();
  logger.file = file;
  pthread_mutex_unlock(&logger.mutex);
  return STATUS_OK;
}

void log_close(void) {
  pthread_mutex_lock(&logger.mutex);
  close_file();
  pthread_mutex_unlock(&logger.mutex);
}

/* Whether the screen is a terminal. Open MPI's mpirun gives rank 0 a pseudo-terminal whatever its own output
 * is: there, mpirun's output counts. */
static bool find_terminal(void) {
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
  if (!logger.screen_known) logger.screen_terminal = find_terminal();
  logger.screen_known = true;
  return logger.screen_terminal;
}

/* Takes the progress line off the terminal so that a message can stand there. The mutex is held. */
static void clear_line(void) {
  if (!logger.line_open) return;
  fputs("\r\033[K", stdout);
  fflush(stdout);
  logger.line_open = false;
}

/* One message to one stream. */
static void write_message(FILE *stream, log_level_t level, const char *format, va_list arguments) {
  static const char *const prefixes[] = {"error: ", "warning: ", "", ""};
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
    clear_line();
    va_start(arguments, format);
    write_message(level <= LOG_WARNING ? stderr : stdout, level, format, arguments);
    va_end(arguments);
    if (logger.file) {
      va_start(arguments, format);
      write_message(logger.file, level, format, arguments);
      va_end(arguments);
    }
  }
  pthread_mutex_unlock(&logger.mutex);
}

/* Seconds as "4.2 s", "3 min 05 s" or "2 h 05 min". */
static void format_duration(char *text, size_t size, double seconds) {
  long long whole = (long long)(seconds + 0.5);
  if (seconds < 59.5)
    snprintf(text, size, "%.0f s", seconds);
  else if (whole < 3600)
    snprintf(text, size, "%lld min %02lld s", whole / 60, whole % 60);
  else
    snprintf(text, size, "%lld h %02lld min", whole / 3600, whole % 3600 / 60);
}

static void format_progress(const progress_clock_t *clock, char *line, size_t size, long long done,
                            long long total, const char *unit, const char *text, double now) {
  double elapsed = now - clock->started;
  double rate = elapsed > 0 ? (double)(done - clock->first_done) / elapsed : 0;
  int width = snprintf(NULL, 0, "%lld", total);
  size_t used = (size_t)snprintf(line, size, "%-10s %*lld/%lld %s", clock->label, width, done, total, unit);
  if (text && used < size) used += (size_t)snprintf(line + used, size - used, "  %s", text);
  if (rate > 0 && used < size)
    used +=
        (size_t)snprintf(line + used, size - used, rate < 1000 ? "  %.3g %s/s" : "  %.0f %s/s", rate, unit);
  if (used >= size) return;
  char duration[32];
  if (done >= total) {
    format_duration(duration, sizeof duration, elapsed);
    snprintf(line + used, size - used, "  took %s", duration);
  } else if (rate > 0) {
    format_duration(duration, sizeof duration, (double)(total - done) / rate);
    snprintf(line + used, size - used, "  %s left", duration);
  }
}

/* The clock of LABEL; a new label takes a free one, or that which was started first. The mutex is held. */
static progress_clock_t *find_clock(const char *label, long long done, double now) {
  progress_clock_t *found = &logger.clocks[0];
  for (int i = 0; i < CLOCKS_MAX; i++) {
    progress_clock_t *clock = &logger.clocks[i];
    if (clock->label[0] && strncmp(clock->label, label, LABEL_MAX - 1) == 0) {
      if (done >= clock->first_done) return clock;
      found = clock;
      break;
    }
    if (found->label[0] && (!clock->label[0] || clock->started < found->started)) found = clock;
  }
  *found = (progress_clock_t){
      .first_done = done, .started = now, .last_terminal = now - terminal_interval, .last_plain = now};
  snprintf(found->label, sizeof found->label, "%s", label);
  return found;
}

void log_progress(const char *label, long long done, long long total, const char *unit, const char *text) {
  pthread_mutex_lock(&logger.mutex);
  if (logger.rank == 0 && logger.level >= LOG_INFO) {
    double now = now_seconds();
    progress_clock_t *clock = find_clock(label, done, now);
    bool finished = done >= total;
    bool terminal = screen_is_terminal();
    bool draw = finished || now - clock->last_terminal >= terminal_interval;
    bool plain = finished || now - clock->last_plain >= plain_interval;
    char line[LINE_MAX_BYTES];
    if ((terminal && draw) || plain) format_progress(clock, line, sizeof line, done, total, unit, text, now);
    if (terminal && draw) {
      fprintf(stdout, "\r\033[K%s%s", line, finished ? "\n" : "");
      fflush(stdout);
      logger.line_open = !finished;
      clock->last_terminal = now;
    }
    if (plain) {
      if (!terminal) fprintf(stdout, "%s\n", line), fflush(stdout);
      if (logger.file) fprintf(logger.file, "%s\n", line), fflush(logger.file);
      clock->last_plain = now;
    }
    if (finished) clock->label[0] = '\0';
  }
  pthread_mutex_unlock(&logger.mutex);
}
