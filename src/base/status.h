/* Status codes, error messages and the early-return macro. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stddef.h>

/* The one list of outcomes. status_name() and status_exit() give each its name and exit status. */
typedef enum {
  STATUS_OK = 0,
  STATUS_INPUT,    /* the input file or command line is wrong */
  STATUS_DATA,     /* a data, model or checkpoint file is missing, broken or does not fit */
  STATUS_NUMERIC,  /* NaN or infinity, divergence */
  STATUS_DEVICE,   /* a device, or an operation it lacks */
  STATUS_COMM,     /* communication failed or timed out */
  STATUS_MEMORY,   /* memory could not be had */
  STATUS_STOPPED,  /* stopped cleanly before the end */
  STATUS_INTERNAL, /* a bug of ours */
  STATUS_COUNT
} status_code_t;

/* The result of everything that can fail; the compiler warns where it is ignored. */
#define status_t __attribute__((warn_unused_result)) status_code_t

/* Lower-case name of a status ("data"). Local. */
const char *status_name(status_code_t status);

/* Exit status of the program for a status (docs/running.md: 0, 2, 3, 4, 5, 10; 1 for a bug of ours). Local.
 */
int status_exit(status_code_t status);

/* Sets this thread's error message (printf style) and is STATUS, so that callers write
 * `return error_set(STATUS_DATA, "...")`. A message says what was found, what was expected, where, and what
 * to do. Replaces an earlier message of the thread. A macro, so that the compiler sees which status comes
 * back. Local. */
#define error_set(status, ...) (error_message_set(__VA_ARGS__), (status_code_t)(status))
void error_message_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Appends one line of context ("while ...") to this thread's message, unless STATUS is STATUS_OK, and returns
 * STATUS. Local. */
status_t error_context(status_code_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends "at function (file:line)" to this thread's trace (shown with log level debug). Used by TRY. Local.
 */
void error_trace(const char *function, const char *file, int line);

/* This thread's message with its context lines, "" if there is none; valid until the thread's next error_*.
 */
const char *error_message(void);

/* This thread's trace, "" if there is none. */
const char *error_backtrace(void);

/* Forgets this thread's message and trace: the error has been dealt with. Local. */
void error_clear(void);

/* Returns early from a function of type status_t if EXPR is not STATUS_OK. What a function
 * owns it declares SCOPED (base/memory.h), so that it is released on this way out too. */
#define TRY(expr)                                                                                            \
  do {                                                                                                       \
    status_code_t try_status_ = (expr);                                                                      \
    if (try_status_ != STATUS_OK) {                                                                          \
      error_trace(__func__, __FILE__, __LINE__);                                                             \
      return try_status_;                                                                                    \
    }                                                                                                        \
  } while (0)

#endif
