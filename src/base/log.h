/* Messages to the screen and the run's log file. One rank speaks (rank 0 of the world) unless a message is
 * about a rank of its own. The log is one of the two globals of the program (the other: the counters). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/status.h"

typedef enum { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG } log_level_t;

/* Says who speaks: messages of ranks other than 0 are dropped below LOG_WARNING and marked "[rank N]" above.
 * Local. */
void log_set_rank(int rank, int size);

/* Least important level that is shown; LOG_INFO at the start. Local. */
void log_set_level(log_level_t level);

/* Writes what follows to PATH as well (opened for appending). Local; rank 0 calls it. */
status_t log_open(const char *path);

/* Closes the log file; no-op if none is open. */
void log_close(void);

/* From now on every message begins with a clock that stands at SECONDS now; at a run's end it stops, so that
 * the last words ("DONE ...") stand at the beginning of their line. Local. */
void log_start_clock(double seconds);
void log_stop_clock(void);

/* One message, a line end is added. Errors and warnings go to stderr, the rest to stdout. Local, thread-safe.
 */
void log_message(log_level_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_message(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_DEBUG, __VA_ARGS__)

/* How far long work has come ("sft  120/500 steps ..."): on a terminal a bar that is drawn in place at most 5
 * times a second and makes room for messages, elsewhere and in the file a plain line at most every 10
 * seconds. The end of work, done == total, has a line only where the work was long enough for one. Rate and
 * time left are added from the time since the first call with a new LABEL. TEXT may be NULL. Local. */
void log_progress(const char *label, long long done, long long total, const char *unit, const char *text);

#endif
