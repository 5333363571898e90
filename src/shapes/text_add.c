#include "shapes/text_add.h"

#include "shapes/phrases.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void text_add(char *text, const char *format, ...) {
  size_t used = strlen(text);
  va_list arguments;
  va_start(arguments, format);
  int written = vsnprintf(text + used, PHRASE_MAX - used, format, arguments);
  va_end(arguments);
  assert(written >= 0 && used + (size_t)written < PHRASE_MAX);
  (void)written;
}
