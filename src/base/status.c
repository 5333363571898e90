#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = 16384, TRACE_MAX = 4096 };

static _Thread_local char message[MESSAGE_MAX];
static _Thread_local char trace[TRACE_MAX];

static const struct {
  const char *name;
  int exit;
} statuses[STATUS_COUNT] = {
    [STATUS_OK] = {"ok", 0},
    [STATUS_INPUT] = {"input", 2},
    [STATUS_DATA] = {"data", 3},
    [STATUS_NUMERIC] = {"numeric", 4},
    [STATUS_DEVICE] = {"device", 5},
    [STATUS_COMM] = {"communication", 5},
    [STATUS_MEMORY] = {"memory", 5},
    [STATUS_STOPPED] = {"stopped", 10},
    [STATUS_INTERNAL] = {"internal", 1},
};

const char *status_name(status_code_t status) {
  return status < STATUS_COUNT ? statuses[status].name : "unknown";
}

int status_exit(status_code_t status) {
  return status < STATUS_COUNT ? statuses[status].exit : 1;
}

/* Appends to BUFFER of CAPACITY; what does not fit is cut. */
static void status_append(char *buffer, size_t capacity, const char *format, va_list arguments) {
  size_t used = strlen(buffer);
  vsnprintf(buffer + used, capacity - used, format, arguments);
}

static void status_append_trace(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  status_append(trace, sizeof trace, format, arguments);
  va_end(arguments);
}

void error_message_set(const char *format, ...) {
  /* Through a second buffer: an argument may be the earlier message itself. */
  static _Thread_local char fresh[MESSAGE_MAX];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fresh, sizeof fresh, format, arguments);
  va_end(arguments);
  memcpy(message, fresh, strlen(fresh) + 1);
  trace[0] = '\0';
}

status_t error_context(status_code_t status, const char *format, ...) {
  if (status == STATUS_OK) return STATUS_OK;
  size_t used = strlen(message);
  if (used > 0 && used + 4 < sizeof message) memcpy(message + used, "\n  ", 4);
  va_list arguments;
  va_start(arguments, format);
  status_append(message, sizeof message, format, arguments);
  va_end(arguments);
  return status;
}

void error_trace(const char *function, const char *file, int line) {
  status_append_trace("  at %s (%s:%d)\n", function, file, line);
}

const char *error_message(void) {
  return message;
}

const char *error_backtrace(void) {
  return trace;
}

void error_clear(void) {
  message[0] = '\0';
  trace[0] = '\0';
}
